"""Decodes the images of a record to uint8 tensors: whole images, or the same random crop of both."""

import functools
from collections.abc import Callable

import tensorflow as tf

from hazeheal.data import records
from hazeheal.data.pipeline import augment

# The method of PIL, so that training sees the pixels that the conversion saw. TensorFlow's default takes as long and
# gives other pixels.
DCT = "INTEGER_ACCURATE"

# Extra columns that are decoded on both sides of a JPEG crop and dropped. The decoder interpolates color from
# neighboring columns, so the outermost column of a crop would differ from that of the whole image.
MARGIN = 2


def split_record(payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the encoded hazy and clear image of a serialized record, string scalars."""
    spec = records.feature_spec()
    features = tf.io.parse_single_example(payload, {name: spec[name] for name in ("hazy", "clear")})
    return features["hazy"], features["clear"]


def random_crops(
    payload: tf.Tensor, size: tf.Tensor, *, crop_size: int, window_min: float, seed: augment.Seed
) -> tuple[Callable[[], tf.Tensor], Callable[[], tf.Tensor]]:
    """Draws a crop of a pair, and returns functions that decode it from the hazy and from the clear image.

    Args:
        payload: The serialized record, a string scalar.
        size: The (height, width) of its images.
        crop_size: Side of the crop in pixels, S.
        window_min: If above 0, the crop is a window of at least this share of each side, resized to `crop_size`.
        seed: Two integers.

    Returns:
        Two functions without arguments that return uint8 `[S, S, 3]`.
    """
    height, width = tf.unstack(size)
    if window_min:
        y, x, rows, columns = augment.random_window(height, width, least=window_min, seed=seed)

        def decode(encoded):
            window = decode_window(encoded, y, x, rows=rows, columns=columns, width=width)
            return resize(window, crop_size)
    else:
        y, x = augment.random_crop_window(height, width, size=crop_size, seed=seed)

        def decode(encoded):
            return decode_crop(encoded, y, x, size=crop_size, width=width)

    hazy, clear = split_record(payload)
    return functools.partial(decode, hazy), functools.partial(decode, clear)


def decode_crop(encoded: tf.Tensor, y: tf.Tensor, x: tf.Tensor, *, size: int, width: tf.Tensor) -> tf.Tensor:
    """Decodes a square crop; of a JPEG, little more than the crop is decoded.

    Args:
        encoded: The image file, a string scalar.
        y: Top row of the crop.
        x: Left column of the crop.
        size: Side of the crop in pixels.
        width: Width of the whole image in pixels.

    Returns:
        uint8 `[size, size, 3]`.
    """
    window = decode_window(encoded, y, x, rows=size, columns=size, width=width)
    return tf.ensure_shape(window, [size, size, 3])


def decode_window(
    encoded: tf.Tensor,
    y: tf.Tensor,
    x: tf.Tensor,
    *,
    rows: int | tf.Tensor,
    columns: int | tf.Tensor,
    width: tf.Tensor,
) -> tf.Tensor:
    """Decodes a window of `rows` x `columns` pixels as `decode_crop` does: uint8 `[rows, columns, 3]`."""
    left = tf.maximum(x - MARGIN, 0)
    right = tf.minimum(x + columns + MARGIN, width)
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.slice(
            tf.image.decode_and_crop_jpeg(encoded, [y, left, rows, right - left], channels=3, dct_method=DCT),
            [0, x - left, 0],
            [rows, columns, 3],
        ),
        lambda: tf.slice(tf.io.decode_png(encoded, channels=3), [y, x, 0], [rows, columns, 3]),
    )


def decode_image(encoded: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes a whole image.

    Args:
        encoded: The image file, a string scalar.
        size: The expected (height, width); another size is an error.

    Returns:
        uint8 `[H, W, 3]`.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT),
        lambda: tf.io.decode_png(encoded, channels=3),
    )
    message = "the size of the image is not the one in the index"
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(image)[:2], size, message)]):
        return tf.ensure_shape(image, [None, None, 3])


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes an image to a square, antialiased, as networks with a view do (`hazeheal.models.view`).

    Args:
        image: uint8 `[H, W, 3]`.
        size: Side of the result in pixels.

    Returns:
        uint8 `[size, size, 3]`.
    """
    image = to_uint8(tf.image.resize(image, [size, size], antialias=True))
    return tf.ensure_shape(image, [size, size, 3])


def to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Rounds a float32 image of about 0 to 255 to uint8."""
    return tf.cast(tf.clip_by_value(image + 0.5, 0.0, 255.0), tf.uint8)
