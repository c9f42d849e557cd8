"""Conversion between pixel values and the numbers that the networks compute with."""

from collections.abc import Callable

import tensorflow as tf


def normalize(image: tf.Tensor, *, white: int = 255) -> tf.Tensor:
    """Converts pixel values of any type in [0, white] to float32 in [-1, 1]."""
    return tf.cast(image, tf.float32) / (white / 2) - 1.0


def denormalize(tensor: tf.Tensor, *, white: int = 255) -> tf.Tensor:
    """Converts float32 in [-1, 1] to float32 in [0, white]. Clips, but does not round."""
    return tf.clip_by_value((tensor + 1.0) * (white / 2), 0.0, white)


def to_uint8(tensor: tf.Tensor) -> tf.Tensor:
    """Converts float32 in [-1, 1] to uint8 in [0, 255]. Clips and rounds."""
    return tf.cast(tf.round(denormalize(tensor)), tf.uint8)


def restore_pixels(generator: Callable[[tf.Tensor], tf.Tensor], hazy: tf.Tensor, *, white: int = 255) -> tf.Tensor:
    """Applies a generator to pixel values of any type in [0, white], `[B, H, W, 3]`.

    Returns float32 in [0, white], clipped but not rounded. `white` is 65535 for images of 16 bits.
    """
    return denormalize(generator(normalize(hazy, white=white)), white=white)


def restore_uint8(generator: Callable[[tf.Tensor], tf.Tensor], hazy: tf.Tensor) -> tf.Tensor:
    """Applies a generator to `[B, H, W, 3]` uint8 images, as `restore_pixels` does, and rounds to uint8."""
    return to_uint8(generator(normalize(hazy)))
