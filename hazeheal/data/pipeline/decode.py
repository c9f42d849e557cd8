"""Decodes the images of records to uint8 tensors: whole images, or windows of them."""

import tensorflow as tf

# The method of PIL, so that training sees the pixels that the conversion saw. TensorFlow's default takes as long and
# gives other pixels.
DCT = "INTEGER_ACCURATE"

# Extra columns that are decoded on both sides of a JPEG crop and dropped. The decoder interpolates color from
# neighboring columns, so the outermost column of a crop would differ from that of the whole image.
MARGIN = 2


def split_records(payloads: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the encoded hazy and clear images of serialized records, string `[B]` each."""
    image = tf.io.FixedLenFeature([], tf.string)
    features = tf.io.parse_example(payloads, {"hazy": image, "clear": image})
    return features["hazy"], features["clear"]


def with_margins(windows: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Returns the windows that are decoded of JPEG files, to cut `windows` from.

    Args:
        windows: int32 `[B, 4]`: (y, x, rows, columns).
        sizes: int32 `[B, 2]`: height and width of each image.

    Returns:
        int32 `[B, 4]`: the same with `MARGIN` more columns on each side, as far as the image goes.
    """
    y, x, rows, columns = tf.unstack(windows, axis=1)
    left = tf.maximum(x - MARGIN, 0)
    right = tf.minimum(x + columns + MARGIN, sizes[:, 1])
    return tf.stack([y, left, rows, right - left], axis=1)


def decode_window(encoded: tf.Tensor, window: tf.Tensor, outer: tf.Tensor) -> tf.Tensor:
    """Decodes a window of an image file, a string scalar, to uint8 `[rows, columns, 3]`.

    Of a JPEG, little more than the window is decoded. `window` is int32 `[4]` and `outer` the window of `with_margins`.
    """
    corner, size = window[:2], tf.concat([window[2:], [3]], axis=0)
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.slice(
            tf.image.decode_and_crop_jpeg(encoded, outer, channels=3, dct_method=DCT),
            tf.concat([corner - outer[:2], [0]], axis=0),
            size,
        ),
        lambda: tf.slice(tf.io.decode_png(encoded, channels=3), tf.concat([corner, [0]], axis=0), size),
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
    """Resizes a uint8 image to `[size, size, C]`, antialiased, as networks with a view do (`models.view`)."""
    return to_uint8(tf.image.resize(image, [size, size], antialias=True))


def to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Rounds a float32 image of about 0 to 255 to uint8."""
    return tf.cast(tf.clip_by_value(image + 0.5, 0.0, 255.0), tf.uint8)
