"""Building blocks of the generator and the discriminator.

Three rules hold for all of them. Every variable is float32, whatever the precision. Norms and pooling compute their
statistics in float32. Initial values are a function of a seed and the variable's path in the network, so every
process of a job starts from the same bits.
"""

import math
import zlib

import tensorflow as tf

from hazeheal.models import ops
from hazeheal.models.averages import spatial_mean
from hazeheal.models.rearrange import Shape
from hazeheal.utils.import_keras import keras

NORMS = ("none", "layer")
EDGES = ("zero", "repeat")  # what convolutions see beyond the edges of a map
EPSILON = 1e-6  # added to the variance in a norm


def scaled_normal(*, seed: int, path: str, fan_in: int, gain: float = 2.0) -> keras.initializers.Initializer:
    """Returns a truncated normal initializer of variance gain / fan_in (He et al. 2015).

    Keras's HeNormal derives the fan from the shape of the kernel, which is right only for a plain convolution. For a
    depthwise kernel it counts all channels, for a transposed one the outputs. Both would shrink the signal many times
    in a network without norms.

    The seed of the network and the path of the kernel in it, such as `encoder_0/strided`, determine the values.
    `fan_in` is the number of inputs that reach one output. The gain is 2 before a ReLU or swish, 1 otherwise.
    """
    truncation = 0.87962566103423978  # standard deviation of a unit normal that is truncated at two sigma
    stddev = math.sqrt(gain / fan_in) / truncation
    return keras.initializers.TruncatedNormal(stddev=stddev, seed=derived_seed(seed, path))


def derived_seed(seed: int, path: str) -> int:
    """Returns a seed of 31 bits for the variable at `path`: the same on every process and Python version."""
    return zlib.crc32(f"{seed}/{path}".encode()) & 0x7FFFFFFF


def conv(
    filters: int,
    size: int,
    channels: int,
    *,
    seed: int,
    path: str,
    dtype: str | keras.DTypePolicy,
    strides: int = 1,
    gain: float = 2.0,
    edges: str = "zero",
) -> "Conv":
    """Returns a convolution with bias and padding `same` and its variables, named after the last part of `path`."""
    init = scaled_normal(seed=seed, path=path, fan_in=size * size * channels, gain=gain)
    common = {"padding": "same", "kernel_initializer": init, "dtype": dtype, "name": path.split("/")[-1]}
    layer = Conv(filters, size, strides=strides, edges=edges, **common)
    layer.build((None, None, None, channels))
    return layer


def norm_layer(kind: str, channels: int, *, name: str, dtype: keras.DTypePolicy) -> "Norm":
    """Returns a `Norm` of this kind with its variables."""
    layer = Norm(kind, name=name, dtype=dtype)
    layer.build((None, None, None, channels))
    return layer


def halved(shape: Shape, filters: int) -> Shape:
    """Returns the output shape of a layer of stride 2 with padding `same`, given its input shape `[B, H, W, C]`."""
    return (shape[0], *(None if side is None else -(-side // 2) for side in shape[1:3]), filters)


@keras.saving.register_keras_serializable("hazeheal")
class Norm(keras.layers.Layer):
    """Layer normalization over the channels of each pixel (`ops.layer_norm`), or nothing.

    The normalization is local, and the same in training and inference (NAFNet, Chen et al. 2022). Of the kind `none`,
    the layer returns its input and has no variables.
    """

    def __init__(self, kind: str, **kwargs) -> None:
        super().__init__(**kwargs)
        if kind not in NORMS:
            raise ValueError(f"norm is {kind!r}: must be one of {', '.join(NORMS)}")
        self.kind = kind

    def build(self, shape: Shape) -> None:
        """Creates a scale and an offset for each channel."""
        if self.kind == "none":
            return
        common = {"shape": (shape[-1],), "dtype": "float32", "autocast": False}
        self.scale = self.add_weight(initializer="ones", name="scale", **common)
        self.offset = self.add_weight(initializer="zeros", name="offset", **common)

    def call(self, inputs: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """Adds a bias `[C]` to `[B, H, W, C]` and normalizes."""
        inputs, bias = (tf.cast(x, self.compute_dtype) for x in (inputs, bias))
        if self.kind == "none":
            return tf.nn.bias_add(inputs, bias)
        scale, offset = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.offset)
        return ops.layer_norm(inputs, bias, scale, offset, epsilon=EPSILON)


def normalized(layer: "Conv | Depthwise | Up", norm: Norm, inputs: tf.Tensor) -> tf.Tensor:
    """Applies a convolution and a norm. The norm adds the bias: its gradient is cheaper there (`ops.layer_norm`)."""
    if norm.kind == "none":
        return layer(inputs)
    return norm(layer.convolve(inputs), tf.convert_to_tensor(layer.bias))


class WithEdges:
    """Adds the argument `edges`, one of `EDGES`, to a layer of Keras."""

    def __init__(self, *args, edges: str = "zero", **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.edges = edges

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return super().get_config() | {"edges": self.edges}


@keras.saving.register_keras_serializable("hazeheal")
class Conv(WithEdges, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with padding `same`, computed by `ops.conv_same`, with `edges` of `EDGES`."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[B, H, W, C]` and adds the bias."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return ops.conv_same(inputs, kernel, bias, strides=self.strides[0], edges=self.edges)

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves without a bias."""
        kernel = tf.convert_to_tensor(self.kernel)
        return ops.conv_same(inputs, kernel, None, strides=self.strides[0], edges=self.edges)


@keras.saving.register_keras_serializable("hazeheal")
class Depthwise(WithEdges, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with padding `same` and without dilation, computed by `ops.depthwise`."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[B, H, W, C]` and adds the bias."""
        return self.convolve(inputs) + tf.convert_to_tensor(self.bias)

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves without a bias."""
        kernel = tf.convert_to_tensor(self.kernel)
        return ops.depthwise(inputs, kernel, strides=self.strides[0], edges=self.edges)


@keras.saving.register_keras_serializable("hazeheal")
class Up(WithEdges, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` of stride 2 and 4x4 taps with padding `same`."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Doubles the sides of `[B, H, W, C]` and adds the bias."""
        return tf.nn.bias_add(self.convolve(inputs), tf.convert_to_tensor(self.bias))

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        """Doubles the sides without a bias."""
        if self.edges == "repeat":
            inputs = ops.repeat_edges(inputs, 1, 1)
        batch, height, width = (inputs.shape[axis] or tf.shape(inputs)[axis] for axis in range(3))
        shape = [batch, 2 * height, 2 * width, self.filters]
        outputs = tf.nn.conv2d_transpose(inputs, tf.convert_to_tensor(self.kernel), shape, 2, "SAME")
        return outputs[:, 2:-2, 2:-2] if self.edges == "repeat" else outputs


@keras.saving.register_keras_serializable("hazeheal")
class Dense(keras.layers.Layer):
    """A 1x1 convolution of one position (`ops.dense`), in float32 under every policy.

    `gain` is that of `scaled_normal`; `seed` and `path` determine the initial values.
    """

    def __init__(self, filters: int, *, seed: int, path: str, gain: float = 2.0, **kwargs) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.filters = filters
        self.seed = seed
        self.path_ = path
        self.gain = gain

    def build(self, shape: Shape) -> None:
        """Creates the kernel and the bias."""
        init = scaled_normal(seed=self.seed, path=self.path_, fan_in=shape[-1], gain=self.gain)
        self.kernel = self.add_weight(shape=(1, 1, shape[-1], self.filters), initializer=init, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps `[B, 1, 1, C]` to `[B, 1, 1, filters]`."""
        return ops.dense(inputs, tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias))


@keras.saving.register_keras_serializable("hazeheal")
class SqueezeExcite(keras.layers.Layer):
    """Scales each channel by a gate in (0, 1) that is computed from the averages of all channels (Hu et al. 2018).

    `squeezed` is the number of channels of the hidden layer. `seed` and `path` determine the initial values.
    """

    def __init__(self, squeezed: int, *, seed: int, path: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.squeezed = squeezed
        self.seed = seed
        self.path_ = path

    def build(self, shape: Shape) -> None:
        """Creates the two 1x1 convolutions."""
        channels = shape[-1]
        self.reduce = Dense(self.squeezed, seed=self.seed, path=f"{self.path_}/reduce", name="reduce")
        self.expand = Dense(channels, seed=self.seed, path=f"{self.path_}/expand", gain=1.0, name="expand")
        self.reduce.build((None, 1, 1, channels))
        self.expand.build((None, 1, 1, self.squeezed))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Scales the channels of `[B, H, W, C]`; the gate is computed in float32."""
        gate = tf.nn.silu(self.reduce(spatial_mean(tf.cast(inputs, tf.float32))))
        return ops.scale_channels(inputs, tf.sigmoid(self.expand(gate)))


@keras.saving.register_keras_serializable("hazeheal")
class MBConv(keras.layers.Layer):
    """Inverted bottleneck (Sandler et al. 2018; Tan and Le 2019): expand 4 times, depthwise, gate, project.

    With stride 1 and equal numbers of input and output channels, the input is added to the output. `norm`,
    `se_ratio` and `edges` are those of `generator.build_generator`. `seed` and `path` determine the initial values.
    """

    def __init__(
        self,
        filters: int,
        *,
        strides: int,
        norm: str,
        se_ratio: float,
        seed: int,
        path: str,
        edges: str = "zero",
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.norm = norm
        self.se_ratio = se_ratio
        self.seed = seed
        self.path_ = path
        self.edges = edges

    def build(self, shape: Shape) -> None:
        """Creates the layers for inputs of shape `[B, H, W, C]`."""
        channels = shape[-1]
        wide = 4 * channels
        common = {"seed": self.seed, "dtype": self.dtype_policy}
        self.expand = conv(wide, 1, channels, path=f"{self.path_}/expand", **common)
        self.expand_norm = norm_layer(self.norm, wide, name="expand_norm", dtype=self.dtype_policy)
        init = scaled_normal(seed=self.seed, path=f"{self.path_}/depthwise", fan_in=9)
        depthwise = {"padding": "same", "depthwise_initializer": init, "dtype": self.dtype_policy}
        self.depthwise = Depthwise(3, strides=self.strides, edges=self.edges, name="depthwise", **depthwise)
        self.depthwise.build((None, None, None, wide))
        self.depthwise_norm = norm_layer(self.norm, wide, name="depthwise_norm", dtype=self.dtype_policy)
        self.gate = None
        if self.se_ratio:
            squeezed = max(8, int(channels * self.se_ratio))
            self.gate = SqueezeExcite(squeezed, path=f"{self.path_}/gate", name="gate", **common)
            self.gate.build((None, None, None, wide))
        self.project = conv(self.filters, 1, wide, path=f"{self.path_}/project", gain=1.0, **common)
        self.project_norm = norm_layer(self.norm, self.filters, name="project_norm", dtype=self.dtype_policy)
        self.residual = self.strides == 1 and self.filters == channels

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps `[B, H, W, C]` to `[B, ceil(H / strides), ceil(W / strides), filters]`."""
        x = tf.nn.silu(normalized(self.expand, self.expand_norm, inputs))
        x = tf.nn.silu(normalized(self.depthwise, self.depthwise_norm, x))
        if self.gate is not None:
            x = self.gate(x)
        x = normalized(self.project, self.project_norm, x)
        return inputs + x if self.residual else x

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Returns the shape of the result of `call`."""
        return halved(shape, self.filters) if self.strides == 2 else (*shape[:3], self.filters)
