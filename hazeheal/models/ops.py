"""Operations with hand-written gradients: layer normalization and depthwise convolution.

Both compute the gradients that TensorFlow would derive, up to rounding, in less time on CPUs (docs/performance.md).
"""

import tensorflow as tf

# Whether `depthwise` is traced for a CPU. None means: if TensorFlow sees no GPU. Set it to trace a function on one
# machine and compile it for another.
target_is_cpu: bool | None = None


def layer_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *, epsilon: float) -> tf.Tensor:
    """Normalizes each pixel over its channels (Ba et al. 2016), in float32.

    Computes (x - mean) / sqrt(variance + epsilon) * scale + offset for x of any float type, `[B, H, W, C]`, and
    scale and offset in float32, `[C]`. On a CPU, the forward and the backward pass are bound by memory. The derived
    gradient takes about twenty passes over the tensor, this one about a dozen.
    """

    @tf.custom_gradient
    def norm(x, scale, offset):
        centered = tf.cast(x, tf.float32)
        centered -= tf.reduce_mean(centered, axis=-1, keepdims=True)
        rate = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True) + epsilon)
        unit = centered * rate

        def gradients(upstream):
            upstream = tf.cast(upstream, tf.float32)
            to_scale = upstream * unit
            to_unit = upstream * scale
            along_mean = tf.reduce_mean(to_unit, axis=-1, keepdims=True)
            along_unit = tf.reduce_mean(to_scale * scale, axis=-1, keepdims=True)
            to_x = (to_unit - (along_mean + unit * along_unit)) * rate
            sums = (tf.reduce_sum(gradient, axis=[0, 1, 2]) for gradient in (to_scale, upstream))
            return tf.cast(to_x, x.dtype), *sums

        return tf.cast(unit * scale + offset, x.dtype), gradients

    return norm(x, scale, offset)


def depthwise(x: tf.Tensor, kernel: tf.Tensor, *, strides: list[int]) -> tf.Tensor:
    """Depthwise convolution with padding `same`. On a CPU, the gradients of bfloat16 are computed in float32.

    oneDNN has a fast bfloat16 kernel only for the forward pass. Its reference code for the backward pass takes five
    times as long as float32 with the casts. GPUs and XLA have kernels for both.
    """
    on_cpu = not tf.config.list_logical_devices("GPU") if target_is_cpu is None else target_is_cpu
    if x.dtype != tf.bfloat16 or not on_cpu:
        return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME")

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradients(upstream):
            common = {"out_backprop": tf.cast(upstream, tf.float32), "strides": strides, "padding": "SAME"}
            to_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x), filter=tf.cast(kernel, tf.float32), **common
            )
            to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=tf.cast(x, tf.float32), filter_sizes=tf.shape(kernel), **common
            )
            # The operation does not infer a static shape for open sides.
            return tf.cast(tf.ensure_shape(to_x, x.shape), x.dtype), tf.cast(to_kernel, kernel.dtype)

        return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME"), gradients

    return convolve(x, kernel)
