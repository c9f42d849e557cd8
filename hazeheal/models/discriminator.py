"""The discriminator: a PatchGAN (Isola et al. 2017) with spectral normalization, conditioned on the hazy image."""

import tensorflow as tf

from hazeheal.models import ops
from hazeheal.models.input_gradient import record
from hazeheal.models.layers import derived_seed, scaled_normal
from hazeheal.models.rearrange import Shape
from hazeheal.utils.import_keras import keras


def build_discriminator(*, width: int = 64, dtype: str = "float32", seed: int = 0) -> keras.Model:
    """Builds the discriminator, a Keras functional model for any height and width.

    Args:
        width: Channels of the first convolution. The others have 2, 4, 8 and 8 times as many, the last one 1.
        dtype: Keras dtype policy, except for the last convolution, which is float32.
        seed: The initial values are a function of the seed and the names of the variables.

    Returns:
        A model from [hazy, image], each `[B, H, W, 3]` float32 in [-1, 1], to logits
        `[B, ceil(H / 16), ceil(W / 16), 1]` float32. A positive logit classifies its patch as real (clear). Each
        training call runs one power iteration of the spectral norms.

    Raises:
        ValueError: `width` is less than 1.
    """
    if width < 1:
        raise ValueError(f"discriminator width is {width}: must be 1 or more")
    hazy = keras.Input((None, None, 3), name="hazy", dtype="float32")
    image = keras.Input((None, None, 3), name="image", dtype="float32")
    x = keras.layers.Concatenate(name="pair", dtype=dtype)([hazy, image])
    for i, (multiple, strides) in enumerate([(1, 2), (2, 2), (4, 2), (8, 2), (8, 1)]):
        common = {"seed": seed, "path": f"conv_{i}", "name": f"conv_{i}", "dtype": dtype}
        x = SpectralConv2D(multiple * width, 4, strides=strides, **common)(x)
        x = keras.layers.Activation(leaky_relu, name=f"leaky_{i}", dtype=dtype)(x)
    logits = SpectralConv2D(1, 4, strides=1, seed=seed, path="logits", name="logits", dtype="float32")(x)
    return keras.Model([hazy, image], logits, name="discriminator")


@keras.saving.register_keras_serializable("hazeheal")
def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """LeakyReLU with slope 0.2. With tf.nn.leaky_relu in bfloat16, the graph optimizer fails ("remapper failed")."""
    y = tf.maximum(x, 0.2 * x)
    record(lambda upstream, images: tf.cast(tf.where(y[images] >= 0, upstream, 0.2 * upstream), y.dtype))
    return y


@keras.saving.register_keras_serializable("hazeheal")
class SpectralConv2D(keras.layers.Layer):
    """A convolution with kernel W / sigma(W), sigma the largest singular value of W (Miyato et al. 2018).

    W is taken as the matrix `[h w c_in, c_out]`. Each training call runs one power iteration:
    v = W u / |W u|, u' = W^T v / |W^T v|, sigma = v^T W u'. The gradient flows through W / sigma, with u and v held
    constant.

    The kernel is never written: Keras's SpectralNormalization overwrites it at each training call, which also rounds
    it to bfloat16. `u` is a non-trainable variable that only training calls assign, so `stateless_call` returns it.
    Sigma is computed in full float32, by sums of products: GPUs may run matrix products in TF32, with 10 bits of
    mantissa. Padding is `same`. `seed` and `path` determine the initial values.
    """

    def __init__(self, filters: int, size: int, *, strides: int, seed: int, path: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.size = size
        self.strides = strides
        self.seed = seed
        self.path_ = path

    def build(self, shape: Shape) -> None:
        """Creates the kernel, the bias and the vector u."""
        fan_in = self.size * self.size * shape[-1]
        common = {"dtype": "float32", "autocast": False}
        init = scaled_normal(seed=self.seed, path=f"{self.path_}/kernel", fan_in=fan_in, gain=1.0)
        kernel_shape = (self.size, self.size, shape[-1], self.filters)
        self.kernel = self.add_weight(shape=kernel_shape, initializer=init, name="kernel", **common)
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias", **common)
        self.u = self.add_weight(
            shape=(self.filters,), initializer=self._initial_u, trainable=False, name="u", **common
        )

    def _initial_u(self, shape, dtype=None):
        seed = derived_seed(self.seed, f"{self.path_}/u")
        vector = keras.initializers.RandomNormal(stddev=1.0, seed=seed)(shape, dtype="float32")
        return vector * tf.math.rsqrt(_square(vector))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Convolves `[B, H, W, C]`; in training, also runs a power iteration and assigns u."""
        kernel, u = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.u)
        kernel, new_u = normalize_kernel(kernel, tf.stop_gradient(u), iterate=training)
        if training:
            self.u.assign(new_u)
        kernel = tf.cast(kernel, self.compute_dtype)
        bias = tf.cast(tf.convert_to_tensor(self.bias), self.compute_dtype)
        record(lambda upstream, images: ops.conv_input_gradient(upstream, inputs[images], kernel, strides=self.strides))
        return ops.conv_same(inputs, kernel, bias, strides=self.strides)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Returns `[B, ceil(H / strides), ceil(W / strides), filters]`."""
        sides = [None if side is None else -(-side // self.strides) for side in shape[1:3]]
        return (shape[0], *sides, self.filters)


def normalize_kernel(kernel: tf.Tensor, u: tf.Tensor, *, iterate: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Divides a kernel by an estimate of its largest singular value.

    With u and v constant, sigma = v^T W u' has the gradient v u'^T. Its value needs no product of its own: v is t = W u
    scaled to length 1, and after an iteration u' is r = W^T t scaled to length 1, so sigma is |r| / |t|; without one it
    is |t|.

    Args:
        kernel: W, float32 `[h, w, c_in, c_out]`, taken as the matrix `[h w c_in, c_out]`.
        u: float32 `[c_out]`, of length 1.
        iterate: Whether u moves by one power iteration.

    Returns:
        (W / sigma, the new u).
    """

    @tf.custom_gradient
    def normalize(kernel):
        t = tf.reduce_sum(kernel * u, axis=3)  # [h, w, c_in]: the rows of the matrix
        square = _square(t)
        v, new_u, sigma = t * tf.math.rsqrt(square), u, tf.sqrt(square)
        if iterate:
            r = tf.reduce_sum(kernel * t[..., tf.newaxis], axis=[0, 1, 2])
            new_u, sigma = r * tf.math.rsqrt(_square(r)), tf.sqrt(_square(r)) * tf.math.rsqrt(square)

        def gradient(upstream, _):
            along = tf.reduce_sum(upstream * kernel) / sigma
            return (upstream - along * v[..., tf.newaxis] * new_u) / sigma

        return (kernel / sigma, new_u), gradient

    return normalize(kernel)


def _square(vector):
    """The squared length of a vector, with a minimum that keeps its inverse finite."""
    return tf.maximum(tf.reduce_sum(tf.square(vector)), 1e-24)
