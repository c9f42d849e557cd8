"""The layers that the two networks are made of, where Keras's own would not do.

Three rules hold in all of them. Every variable is float32 whatever the precision; statistics (norms,
pooling) are reduced in float32; and initial values are a pure function of a seed and of the
layer's place in the network, so that every process of a job starts from the same bits.
"""

import math
import zlib

import keras
import numpy as np
import tensorflow as tf

from hazeheal.models.depthwise import Depthwise
from hazeheal.models.ops import layer_norm

NORMS = ("none", "layer", "instance", "group", "batch")


def scaled_normal(*, seed, path, fan_in, gain=2.0):
    """A truncated normal of variance gain / fan_in (He et al. 2015), seeded by `seed` and `path`.

    Keras's own HeNormal reads the fan off the kernel's shape, which is right for a plain convolution only:
    for a depthwise kernel it counts all channels, for a transposed one the outputs. Both would shrink the
    signal many times over in a network without norms.

    Args:
        seed: The seed of the network.
        path: The place of the kernel in the network, such as `encoder_0/strided`.
        fan_in: How many inputs reach one output.
        gain: 2 before a ReLU or swish, 1 before anything linear; 0 gives zeros.
    """
    if not gain:
        return keras.initializers.Zeros()
    truncation = 0.87962566103423978  # standard deviation of a normal that is cut off at two sigma
    stddev = math.sqrt(gain / fan_in) / truncation
    return keras.initializers.TruncatedNormal(stddev=stddev, seed=derived_seed(seed, path))


def derived_seed(seed, path):
    """A seed of 31 bits for the variable at `path`: the same on every process and Python version."""
    return zlib.crc32(f"{seed}/{path}".encode()) & 0x7FFFFFFF


def conv(filters, size, channels, *, seed, path, dtype, strides=1, gain=2.0):
    """A convolution with bias and padding `same`, named by the last part of `path`."""
    init = scaled_normal(seed=seed, path=path, fan_in=size * size * channels, gain=gain)
    return keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        kernel_initializer=init,
        dtype=dtype,
        name=path.split("/")[-1],
    )


def halved(shape, filters):
    """The shape after a stride of 2 with padding `same`. Layers that tell their shape need no trial run."""
    return (shape[0], *(None if side is None else -(-side // 2) for side in shape[1:3]), filters)


@keras.saving.register_keras_serializable("hazeheal")
class Norm(keras.layers.Layer):
    """Normalization of [B, H, W, C], statistics in float32, with a scale and an offset a channel.

    layer     over the channels of each pixel (NAFNet, Chen et al. 2022): local, and the same in training
    instance  over the pixels of each channel
    group     over the pixels and channels of each of 8 groups (or of the largest divisor of C below)
    batch     over pixels and batch; moving statistics, non-trainable, are used outside of training

    Args:
        kind: One of the above, or `none`, which passes its input on and has no variables.
        momentum: How much of the moving statistics a training step keeps (batch only).
        epsilon: Added to the variance.
    """

    def __init__(self, kind, *, momentum=0.95, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        if kind not in NORMS:
            raise ValueError(f"norm is {kind!r}: must be one of {', '.join(NORMS)}")
        self.kind = kind
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, shape):
        channels = shape[-1]
        self.groups = math.gcd(channels, 8)

        def variable(name, initial, trainable=True):
            return self.add_weight(
                shape=(channels,),
                initializer=initial,
                trainable=trainable,
                autocast=False,
                dtype="float32",
                name=name,
            )

        if self.kind != "none":
            self.scale = variable("scale", "ones")
            self.offset = variable("offset", "zeros")
        if self.kind == "batch":
            self.moving_mean = variable("moving_mean", "zeros", trainable=False)
            self.moving_variance = variable("moving_variance", "ones", trainable=False)

    def call(self, inputs, training=False):
        if self.kind == "none":
            return inputs
        if self.kind == "layer":
            values = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.offset)
            return layer_norm(tf.cast(inputs, self.compute_dtype), *values, epsilon=self.epsilon)
        x = tf.cast(inputs, tf.float32)
        if self.kind == "group":
            size = tf.shape(x)
            split = tf.concat([size[:3], [self.groups, x.shape[-1] // self.groups]], axis=0)
            grouped = tf.reshape(x, split)
            mean, variance = tf.nn.moments(grouped, axes=[1, 2, 4], keepdims=True)
            x = tf.reshape((grouped - mean) * tf.math.rsqrt(variance + self.epsilon), size)
            return tf.cast(x * self.scale + self.offset, self.compute_dtype)
        if self.kind == "batch" and not training:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
        else:
            axes = {"instance": [1, 2], "batch": [0, 1, 2]}[self.kind]
            mean, variance = tf.nn.moments(x, axes=axes, keepdims=True)
            if self.kind == "batch":
                self._move(self.moving_mean, mean)
                self._move(self.moving_variance, variance)
        x = (x - mean) * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast(x * self.scale + self.offset, self.compute_dtype)

    def _move(self, moving, value):
        value = tf.reshape(tf.stop_gradient(value), [-1])
        moving.assign(self.momentum * moving + (1.0 - self.momentum) * value)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("hazeheal")
class SqueezeExcite(keras.layers.Layer):
    """Scales each channel by a gate in (0, 1) computed from all channel means (Hu et al. 2018).

    Args:
        squeezed: Width of the layer in between.
        seed, path: For the initial values.
    """

    def __init__(self, squeezed, *, seed, path, **kwargs):
        super().__init__(**kwargs)
        self.squeezed = squeezed
        self.seed = seed
        self.path_ = path

    def build(self, shape):
        common = {"seed": self.seed, "dtype": self.dtype_policy}
        channels = shape[-1]
        self.reduce = conv(self.squeezed, 1, channels, path=f"{self.path_}/reduce", **common)
        self.expand = conv(channels, 1, self.squeezed, path=f"{self.path_}/expand", gain=1.0, **common)
        self.reduce.build((None, 1, 1, channels))
        self.expand.build((None, 1, 1, self.squeezed))

    def call(self, inputs):
        mean = tf.reduce_mean(tf.cast(inputs, tf.float32), axis=[1, 2], keepdims=True)
        gate = tf.nn.silu(self.reduce(tf.cast(mean, self.compute_dtype)))
        return inputs * tf.sigmoid(self.expand(gate))


@keras.saving.register_keras_serializable("hazeheal")
class MBConv(keras.layers.Layer):
    """Inverted bottleneck (Sandler et al. 2018; Tan and Le 2019): expand 4 times, depthwise, gate, project.

    With stride 1 and as many channels out as in, the input is added to the output.

    Args:
        filters: Channels of the output.
        strides: 1 or 2, of the depthwise convolution.
        norm: One of NORMS.
        se_ratio: Channels of the squeeze-excite over the channels of the input (8 at least); 0: without.
        seed, path: For the initial values.
    """

    def __init__(self, filters, *, strides, norm, se_ratio, seed, path, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.norm = norm
        self.se_ratio = se_ratio
        self.seed = seed
        self.path_ = path

    def build(self, shape):
        channels = shape[-1]
        wide = 4 * channels
        common = {"seed": self.seed, "dtype": self.dtype_policy}
        self.expand = conv(wide, 1, channels, path=f"{self.path_}/expand", **common)
        self.expand_norm = Norm(self.norm, name="expand_norm", dtype=self.dtype_policy)
        self.depthwise = Depthwise(
            3,
            strides=self.strides,
            padding="same",
            depthwise_initializer=scaled_normal(seed=self.seed, path=f"{self.path_}/depthwise", fan_in=9),
            dtype=self.dtype_policy,
            name="depthwise",
        )
        self.depthwise_norm = Norm(self.norm, name="depthwise_norm", dtype=self.dtype_policy)
        self.gate = None
        if self.se_ratio:
            squeezed = max(8, int(channels * self.se_ratio))
            self.gate = SqueezeExcite(squeezed, path=f"{self.path_}/gate", name="gate", **common)
        self.project = conv(self.filters, 1, wide, path=f"{self.path_}/project", gain=1.0, **common)
        self.project_norm = Norm(self.norm, name="project_norm", dtype=self.dtype_policy)
        self.residual = self.strides == 1 and self.filters == channels

        self.expand.build(shape)
        for layer in (self.expand_norm, self.depthwise, self.depthwise_norm, self.gate, self.project):
            if layer is not None:
                layer.build((None, None, None, wide))
        self.project_norm.build((None, None, None, self.filters))

    def call(self, inputs, training=False):
        x = tf.nn.silu(self.expand_norm(self.expand(inputs), training=training))
        x = tf.nn.silu(self.depthwise_norm(self.depthwise(x), training=training))
        if self.gate is not None:
            x = self.gate(x)
        x = self.project_norm(self.project(x), training=training)
        return inputs + x if self.residual else x

    def compute_output_shape(self, shape):
        return halved(shape, self.filters) if self.strides == 2 else (*shape[:3], self.filters)


@keras.saving.register_keras_serializable("hazeheal")
class MirrorPad(keras.layers.Layer):
    """Pads [B, H, W, C] at the bottom and the right to multiples of `multiple`, mirrored at the last pixel.

    The mirrored rows are gathered by index, a triangle wave, so that any side from 1 up can be padded by
    any amount: `tf.pad` REFLECT fails where the padding is as long as the side, and its dynamic form does
    not convert to TFLite.
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs):
        x = inputs
        for axis in (1, 2):
            side = x.shape[axis]
            if side is None:
                side = tf.shape(x)[axis]
                # Not -(-side // multiple): of what is below 0, ONNX's division of integers is another.
                padded = (side + self.multiple - 1) // self.multiple * self.multiple
                x = tf.gather(x, mirrored_indices(tf.range(padded), side, largest=tf.maximum), axis=axis)
            elif side % self.multiple:
                padded = -(-side // self.multiple) * self.multiple
                x = tf.gather(x, mirrored_indices(np.arange(padded), side), axis=axis)
        return x

    def compute_output_shape(self, shape):
        sides = [None if side is None else -(-side // self.multiple) * self.multiple for side in shape[1:3]]
        return (shape[0], *sides, shape[3])


@keras.saving.register_keras_serializable("hazeheal")
class Patches(keras.layers.Layer):
    """[B, H, W, C] to [B, H / size, W / size, size^2 C]: each patch of pixels becomes the channels of one position.

    It is tf.nn.space_to_depth in half the time: that one's kernel for CPUs copies pixel by pixel.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        batch, height, width, channels = _sides(inputs)
        size = self.size
        x = tf.reshape(inputs, [batch, height // size, size, width // size, size * channels])
        x = tf.transpose(x, [0, 1, 3, 2, 4])
        return tf.reshape(x, [batch, height // size, width // size, size * size * channels])

    def compute_output_shape(self, shape):
        sides = [None if side is None else side // self.size for side in shape[1:3]]
        return (shape[0], *sides, shape[3] * self.size**2)


@keras.saving.register_keras_serializable("hazeheal")
class Pixels(keras.layers.Layer):
    """The inverse of `Patches`: [B, H, W, size^2 C] to [B, size H, size W, C]."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        return to_pixels(inputs, self.size)

    def compute_output_shape(self, shape):
        sides = [None if side is None else side * self.size for side in shape[1:3]]
        return (shape[0], *sides, shape[3] // self.size**2)


def to_pixels(patches, size):
    """[B, H, W, size^2 C] to [B, size H, size W, C]: the channels of each position become a patch of pixels."""
    batch, height, width, channels = _sides(patches)
    x = tf.reshape(patches, [batch, height, width, size, channels // size])
    x = tf.transpose(x, [0, 1, 3, 2, 4])
    return tf.reshape(x, [batch, height * size, width * size, channels // size**2])


def _sides(tensor):
    """The shape of [B, H, W, C]: numbers where they are known, tensors where not."""
    known, found = tensor.shape.as_list(), tf.shape(tensor)
    return [found[axis] if side is None else side for axis, side in enumerate(known)]


def mirrored_indices(positions, side, *, largest=max):
    """Where each of `positions` (integers from 0 up) lies in a row of `side` pixels that is mirrored on and on."""
    last = side - 1
    return last - abs(positions % largest(2 * last, 1) - last)
