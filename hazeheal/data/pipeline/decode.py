"""Decodes the images of a record to uint8 tensors: whole images, or the same random crop of both."""

import functools
from collections.abc import Callable

import tensorflow as tf

from hazeheal.data.pipeline import augment

# The method of PIL, so that training sees the pixels that the conversion saw. TensorFlow's default takes as long and
# gives other pixels.
DCT = "INTEGER_ACCURATE"

# Extra columns that are decoded on both sides of a JPEG crop and dropped. The decoder interpolates color from
# neighboring columns, so the outermost column of a crop would differ from that of the whole image.
MARGIN = 2


def split_record(payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the encoded hazy and clear image of a serialized record, string scalars."""
    image = tf.io.FixedLenFeature([], tf.string)
    features = tf.io.parse_single_example(payload, {"hazy": image, "clear": image})
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
    else:
        y, x = augment.random_crop_window(height, width, size=crop_size, seed=seed)
        rows = columns = crop_size

    def decode(encoded):
        crop = decode_window(encoded, y, x, rows=rows, columns=columns, width=width)
        return resize(crop, crop_size) if window_min else tf.ensure_shape(crop, [crop_size, crop_size, 3])

    hazy, clear = split_record(payload)
    return functools.partial(decode, hazy), functools.partial(decode, clear)


def decode_window(
    encoded: tf.Tensor,
    y: tf.Tensor,
    x: tf.Tensor,
    *,
    rows: int | tf.Tensor,
    columns: int | tf.Tensor,
    width: tf.Tensor,
) -> tf.Tensor:
    """Decodes the window `[y : y + rows, x : x + columns]` of an image file of known width, a string scalar.

    Of a JPEG, little more than the window is decoded.
    """
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
    """Decodes a whole image file, a string scalar, of the expected (height, width) to uint8 `[H, W, 3]`."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT),
        lambda: tf.io.decode_png(encoded, channels=3),
    )
    message = "the size of the image is not the one in the index"
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(image)[:2], size, message)]):
        return tf.ensure_shape(image, [None, None, 3])


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes a uint8 image to `[size, size, 3]`, antialiased, as networks with a view do (`models.view`)."""
    image = to_uint8(tf.image.resize(image, [size, size], antialias=True))
    return tf.ensure_shape(image, [size, size, 3])


def to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Rounds a float32 image of about 0 to 255 to uint8."""
    return tf.cast(tf.clip_by_value(image + 0.5, 0.0, 255.0), tf.uint8)
