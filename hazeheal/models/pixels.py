"""From an image's whole numbers to what the networks compute with, and back."""

import tensorflow as tf


def normalize(image, *, white=255):
    """Values in [0, white], of any type, to float32 in [-1, 1]."""
    return tf.cast(image, tf.float32) / (white / 2) - 1.0


def in_range(tensor, *, white=255):
    """float32 in [-1, 1], clipped, to float32 in [0, white]; not rounded yet."""
    return tf.clip_by_value((tensor + 1.0) * (white / 2), 0.0, white)


def to_uint8(tensor):
    """float32 in [-1, 1], clipped, to uint8 in [0, 255], rounded."""
    return tf.cast(tf.round(in_range(tensor)), tf.uint8)
