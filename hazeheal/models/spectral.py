"""A convolution under spectral normalization, whose forward pass never writes its kernel."""

import keras
import tensorflow as tf

from hazeheal.models.layers import derived_seed, scaled_normal


@keras.saving.register_keras_serializable("hazeheal")
class SpectralConv2D(keras.layers.Layer):
    """A convolution by W / sigma(W), sigma the largest singular value of W as [h w c_in, c_out] (Miyato et al. 2018).

    One power iteration a training step: v = W u / |W u|, u' = W^T v / |W^T v|, sigma = v^T W u'. The
    gradient flows through W / sigma, with u and v held constant. The kernel itself is never written: Keras's
    SpectralNormalization overwrites it at each training call, which rounds it to bfloat16 on the way. `u` is
    a non-trainable variable, assigned in training only, so that under `stateless_call` it becomes an output.

    Sigma is float32 to the bit that matters: sums of products instead of matrix products, since GPUs
    may run those in TF32 with 10 bits of mantissa.

    Args:
        filters: Channels of the output.
        size, strides: Of the kernel; padding is `same`.
        seed, path: For the initial values.
    """

    def __init__(self, filters, size, *, strides, seed, path, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.size = size
        self.strides = strides
        self.seed = seed
        self.path_ = path

    def build(self, shape):
        fan_in = self.size * self.size * shape[-1]
        common = {"dtype": "float32", "autocast": False}
        self.kernel = self.add_weight(
            shape=(self.size, self.size, shape[-1], self.filters),
            initializer=scaled_normal(seed=self.seed, path=f"{self.path_}/kernel", fan_in=fan_in, gain=1.0),
            name="kernel",
            **common,
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias", **common)
        self.u = self.add_weight(
            shape=(self.filters,), initializer=self._initial_u, trainable=False, name="u", **common
        )

    def _initial_u(self, shape, dtype=None):
        seed = derived_seed(self.seed, f"{self.path_}/u")
        return _unit(keras.initializers.RandomNormal(stddev=1.0, seed=seed)(shape, dtype="float32"))

    def call(self, inputs, training=False):
        kernel = tf.convert_to_tensor(self.kernel)
        matrix = tf.reshape(kernel, [-1, self.filters])
        fixed = tf.stop_gradient(matrix)
        u = tf.stop_gradient(tf.convert_to_tensor(self.u))
        v = _unit(tf.reduce_sum(fixed * u, axis=1))
        if training:
            u = _unit(tf.reduce_sum(fixed * v[:, tf.newaxis], axis=0))
            self.u.assign(u)
        sigma = tf.reduce_sum(v * tf.reduce_sum(matrix * u, axis=1))
        kernel = tf.cast(kernel / tf.maximum(sigma, 1e-12), self.compute_dtype)
        x = tf.nn.conv2d(inputs, kernel, strides=self.strides, padding="SAME")
        return x + tf.cast(tf.convert_to_tensor(self.bias), self.compute_dtype)

    def compute_output_shape(self, shape):
        sides = [None if side is None else -(-side // self.strides) for side in shape[1:3]]
        return (shape[0], *sides, self.filters)


def _unit(vector):
    return vector * tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(vector)), 1e-24))
