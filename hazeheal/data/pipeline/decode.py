"""Encoded images of a record -> uint8 tensors: the whole, or one window of it."""

import tensorflow as tf

from hazeheal.data import records


def split_record(payload):
    """The encoded hazy and clear image of a record."""
    spec = records.feature_spec()
    features = tf.io.parse_single_example(payload, {name: spec[name] for name in ("hazy", "clear")})
    return features["hazy"], features["clear"]


# INTEGER_ACCURATE is what PIL uses, so that training sees the pixels that the conversion saw; it takes
# as long as TensorFlow's default, which differs.
DCT = "INTEGER_ACCURATE"

# Columns decoded on either side of a crop of a JPEG and thrown away: the decoder interpolates color from
# neighboring columns, and where it has none its outermost column differs from that of the whole image.
MARGIN = 2


def decode_crop(encoded, y, x, *, size, width):
    """uint8 [size, size, 3] at (y, x) of an image `width` wide; of a JPEG, little more is decoded."""
    return tf.ensure_shape(
        decode_window(encoded, y, x, rows=size, columns=size, width=width), [size, size, 3]
    )


def decode_window(encoded, y, x, *, rows, columns, width):
    """uint8 [rows, columns, 3], as `decode_crop`, of sides that may be tensors."""
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


def resized(image, size):
    """uint8 [size, size, 3] of uint8 [H, W, 3], antialiased, as a network's view of it is (`models.view`)."""
    image = tf.image.resize(image, [size, size], antialias=True)
    image = tf.cast(tf.clip_by_value(image + 0.5, 0.0, 255.0), tf.uint8)
    return tf.ensure_shape(image, [size, size, 3])


def decode_whole(encoded, size):
    """uint8 [H, W, 3]; the size that the index gives is compared."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT),
        lambda: tf.io.decode_png(encoded, channels=3),
    )
    message = "the image has not the size that the index gives"
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(image)[:2], size, message)]):
        return tf.ensure_shape(image, [None, None, 3])
