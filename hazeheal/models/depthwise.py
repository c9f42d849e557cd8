"""A depthwise convolution whose gradients are computed in float32 where bfloat16 has no kernel for them.

oneDNN has fast kernels for the depthwise convolution of bfloat16 forwards alone: backwards it takes its reference code, five
times as slow as float32 with its casts (docs/performance.md). GPUs, and XLA, have kernels of their own.
"""

import keras
import tensorflow as tf

for_cpu = None  # None: where TensorFlow sees no GPU. Who traces a step for another machine says for which.


@keras.saving.register_keras_serializable("hazeheal")
class Depthwise(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with padding `same` and no dilation; the same values, and gradients as above."""

    def call(self, inputs):
        strides = [1, *self.strides, 1]
        outputs = depthwise(inputs, tf.convert_to_tensor(self.kernel), strides=strides)
        return outputs + tf.convert_to_tensor(self.bias)


def depthwise(x, kernel, *, strides):
    """A depthwise convolution with padding `same`.

    Args:
        x: float [B, H, W, C].
        kernel: [size, size, C, 1], of the type of x.
        strides: [1, s, s, 1].

    Returns:
        [B, ceil(H / s), ceil(W / s), C], of the type of x.
    """
    on_cpu = not tf.config.list_logical_devices("GPU") if for_cpu is None else for_cpu
    if x.dtype != tf.bfloat16 or not on_cpu:
        return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME")
    return _with_float32_gradients(strides)(x, kernel)


def _with_float32_gradients(strides):
    @tf.custom_gradient
    def convolve(x, kernel):
        def gradients(above):
            exact = tf.cast(x, tf.float32), tf.cast(kernel, tf.float32)
            above = tf.cast(above, tf.float32)
            common = {"out_backprop": above, "strides": strides, "padding": "SAME"}
            to_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x), filter=exact[1], **common
            )
            to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=exact[0], filter_sizes=tf.shape(kernel), **common
            )
            # The input's shape is lost where its sides are open.
            return tf.cast(tf.ensure_shape(to_x, x.shape), x.dtype), tf.cast(to_kernel, kernel.dtype)

        return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME"), gradients

    return convolve
