"""The generator: a U-Net with two ways down, a strided convolution and an MBConv, fused at every stage.

    hazy [B, H, W, 3] in [-1, 1]  ->  restored [B, H, W, 3] float32

    pad -> patches -> stem -> encoder_0 .. encoder_{d-1} -> bottom_0, bottom_1 -> decoder_{d-1} .. decoder_0
        -> head -> output -> pixels -> crop

and with a view_size, before and after the same network (`view`),

    view -> pad -> ... -> head -> maps -> laid

The names of its variables (`encoder_0/mbconv/expand/kernel`) are part of the checkpoint format.
"""

import keras
import tensorflow as tf

from hazeheal.models.layers import (
    NORMS,
    MBConv,
    MirrorPad,
    Norm,
    Patches,
    Pixels,
    conv,
    halved,
    scaled_normal,
)
from hazeheal.models.view import REDUCED_OUTPUTS, Laid, Maps, View

OUTPUTS = ("residual", "direct", "scattering")


def build_generator(
    *,
    width=64,
    depth=5,
    norm="layer",
    output="residual",
    se_ratio=0.25,
    patch_size=1,
    view_size=0,
    dtype="float32",
    seed=0,
):
    """Builds the generator, a Keras functional model with height and width open.

    Args:
        width: Scales all channel counts: the stem has width / 2, encoder stage i has width * min(2^i, 8).
        depth: Number of halvings. Sides are padded to multiples of `multiple`, so any from 1 up will do.
        norm: none, layer, instance, group or batch; see `layers.Norm`.
        output: `residual`: the head's output is added to the hazy image, and is not bounded (whoever
            makes an image of it clips). The head starts at zero: training then starts from exactly the
            hazy image, whatever the seed, and not from noise laid over it.
            `direct`: tanh of the head.
            `scattering`: x + K x - B of the hazy image x, with K and B from the head, three channels each: what
            the scattering model x = J t + A (1 - t) is when it is solved for J, with K = 1 / t - 1 and
            B = A K (AOD-Net, Li et al. 2017). The head starts at zero here too.
        se_ratio: Squeeze-excite channels over input channels, 8 at least; 0 turns squeeze-excite off, and
            with norm none, layer or batch a restored pixel then depends on its neighborhood alone.
        patch_size: The network sees each patch of patch_size^2 pixels as the channels of one position, and its
            head gives the pixels of a patch as channels (pixel unshuffle and shuffle, Shi et al. 2016): of a
            patch_size of 2 it takes about a quarter of the time.
        view_size: The network sees the image as view_size x view_size pixels, whatever its size, and what its head
            says is enlarged and laid on the image (`view`); not with output `direct`. 0: it sees the image's own.
        dtype: Keras dtype policy: float32, mixed_bfloat16 or mixed_float16. The head is float32 in all.
        seed: The initial values are a function of it and of the names of the variables.

    Returns:
        A keras.Model from [B, H, W, 3] float32 in [-1, 1] to [B, H, W, 3] float32.

    Raises:
        ValueError: An argument is out of range.
    """
    if width < 2 or width % 2:
        raise ValueError(f"width is {width}: must be an even number from 2 up")
    if depth < 1:
        raise ValueError(f"depth is {depth}: must be 1 or more")
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}: must be one of {', '.join(NORMS)}")
    if output not in OUTPUTS:
        raise ValueError(f"output is {output!r}: must be one of {', '.join(OUTPUTS)}")
    if se_ratio < 0:
        raise ValueError(f"se_ratio is {se_ratio}: must be 0 or more; 0 turns squeeze-excite off")
    if patch_size < 1:
        raise ValueError(f"patch_size is {patch_size}: must be 1 or more")
    if view_size < 0:
        raise ValueError(f"view_size is {view_size}: must be 0 or more; 0 turns the view off")
    if view_size and output not in REDUCED_OUTPUTS:
        raise ValueError(
            f"output is {output!r}: must be one of {', '.join(REDUCED_OUTPUTS)} with a view_size"
        )

    block = {"norm": norm, "se_ratio": se_ratio, "seed": seed, "dtype": dtype}
    hazy = keras.Input((None, None, 3), name="hazy", dtype="float32")
    # float32, whatever the policy: an image rounded to bfloat16 has 8 bits less its sign and exponent.
    seen = View(view_size, name="view", dtype="float32")(hazy) if view_size else hazy
    padded = MirrorPad(multiple(depth, patch_size), name="pad", dtype="float32")(seen)
    if patch_size > 1:
        padded = Patches(patch_size, name="patches", dtype="float32")(padded)
    x = conv(width // 2, 3, padded.shape[-1], seed=seed, path="stem", dtype=dtype)(padded)
    x = keras.layers.Activation("silu", name="stem_swish", dtype=dtype)(x)
    skips = []
    for i in range(depth):
        skips.append(x)
        x = EncoderStage(width * min(2**i, 8), name=f"encoder_{i}", **block)(x)
    for i in range(2):
        x = MBConv(x.shape[-1], strides=1, path=f"bottom_{i}", name=f"bottom_{i}", **block)(x)
    for i in reversed(range(depth)):
        x = DecoderStage(norm=norm, seed=seed, dtype=dtype, name=f"decoder_{i}")([x, skips[i]])
    x = Head(3 * patch_size**2, kind=output, seed=seed, dtype="float32", name="head")(x)
    if view_size:
        x = Maps(view_size, kind=output, patch_size=patch_size, name="maps", dtype="float32")(x)
        x = Laid(name="laid", dtype="float32")([x, hazy])
        return keras.Model(hazy, x, name="generator")
    # On the patches: half the values to move that K and B of single pixels would be.
    x = Output(output, name="output", dtype="float32")([x, padded])
    if patch_size > 1:
        x = Pixels(patch_size, name="pixels", dtype="float32")(x)
    restored = CropTo(name="crop", dtype="float32")([x, hazy])
    return keras.Model(hazy, restored, name="generator")


def multiple(depth, patch_size=1):
    """Pixels of which the sides of what the network works on are multiples."""
    return patch_size * 2**depth


def receptive_field(depth, patch_size=1):
    """How far a pixel of a local generator sees (`is_local`); of any other, how far its convolutions reach.

    Counted backwards through the network, along one side. The strided kernels of three reach from 2 p to
    2 p + 2, as padding `same` puts its one pixel behind; that is why both numbers differ.

    Args:
        depth: Number of halvings.
        patch_size: A patch sees others as a pixel would, and all pixels of a patch see the same.

    Returns:
        (before, after): a restored pixel p depends on the pixels p - before .. p + after of the hazy image,
        and for some p on both of these.
    """
    spans = [_seen(position, depth) for position in range(2**depth)]
    before = max(position - low for position, (low, _) in enumerate(spans))
    after = max(high - position for position, (_, high) in enumerate(spans))
    inside = patch_size - 1
    return patch_size * before + inside, patch_size * after + inside


def _seen(pixel, depth):
    low, high, skips = pixel - 1, pixel + 1, []  # the head
    for _ in range(depth):
        low, high = low - 1, high + 1  # merge, of the stage below and the skip
        skips.append((low, high))
        low, high = -(-(low - 2) // 2), (high + 1) // 2  # up: 2x2 of its 4x4 taps reach any one pixel
    low, high = low - 2, high + 2  # two MBConvs at the bottom
    for skip_low, skip_high in reversed(skips):
        low, high = min(2 * low, skip_low), max(2 * high + 2, skip_high)
    return low - 1, high + 1  # the stem


def is_local(*, norm, se_ratio, view_size=0):
    """Whether a restored pixel depends on its neighborhood alone, and on nothing gathered over the image."""
    return norm in ("none", "layer", "batch") and not se_ratio and not view_size


@keras.saving.register_keras_serializable("hazeheal")
class EncoderStage(keras.layers.Layer):
    """Halves the sides in two ways, a strided convolution and an MBConv, and fuses them with a 1x1 convolution."""

    def __init__(self, filters, *, norm, se_ratio, seed, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.norm = norm
        self.se_ratio = se_ratio
        self.seed = seed

    def build(self, shape):
        common = {"seed": self.seed, "dtype": self.dtype_policy}
        self.strided = conv(self.filters, 3, shape[-1], strides=2, path=f"{self.name}/strided", **common)
        self.strided_norm = Norm(self.norm, name="strided_norm", dtype=self.dtype_policy)
        self.mbconv = MBConv(
            self.filters,
            strides=2,
            norm=self.norm,
            se_ratio=self.se_ratio,
            path=f"{self.name}/mbconv",
            name="mbconv",
            **common,
        )
        self.fuse = conv(self.filters, 1, 2 * self.filters, path=f"{self.name}/fuse", **common)
        self.strided.build(shape)
        self.strided_norm.build((None, None, None, self.filters))
        self.mbconv.build(shape)
        self.fuse.build((None, None, None, 2 * self.filters))

    def call(self, inputs, training=False):
        a = tf.nn.silu(self.strided_norm(self.strided(inputs), training=training))
        b = self.mbconv(inputs, training=training)
        return tf.nn.silu(self.fuse(tf.concat([a, b], axis=-1)))

    def compute_output_shape(self, shape):
        return halved(shape, self.filters)


@keras.saving.register_keras_serializable("hazeheal")
class DecoderStage(keras.layers.Layer):
    """Doubles the sides with a transposed convolution and merges the skip of that size."""

    def __init__(self, *, norm, seed, **kwargs):
        super().__init__(**kwargs)
        self.norm = norm
        self.seed = seed

    def build(self, shapes):
        below, skip = shapes
        filters = skip[-1]
        self.up = keras.layers.Conv2DTranspose(
            filters,
            4,
            strides=2,
            padding="same",
            # Of the 4x4 taps, 2x2 reach any one output.
            kernel_initializer=scaled_normal(seed=self.seed, path=f"{self.name}/up", fan_in=4 * below[-1]),
            dtype=self.dtype_policy,
            name="up",
        )
        self.up_norm = Norm(self.norm, name="up_norm", dtype=self.dtype_policy)
        self.merge = conv(
            filters, 3, 2 * filters, seed=self.seed, path=f"{self.name}/merge", dtype=self.dtype_policy
        )
        self.merge_norm = Norm(self.norm, name="merge_norm", dtype=self.dtype_policy)
        self.up.build(below)
        self.up_norm.build(skip)
        self.merge.build((None, None, None, 2 * filters))
        self.merge_norm.build(skip)

    def call(self, inputs, training=False):
        below, skip = inputs
        x = tf.nn.relu(self.up_norm(self.up(below), training=training))
        x = tf.concat([x, skip], axis=-1)
        return tf.nn.relu(self.merge_norm(self.merge(x), training=training))

    def compute_output_shape(self, shapes):
        return shapes[1]


@keras.saving.register_keras_serializable("hazeheal")
class Head(keras.layers.Layer):
    """A convolution to what `Output` makes the restored values of: one map for each of them, for `scattering` two.

    Args:
        values: Restored values at a position, three for each pixel of its patch.
        kind: One of OUTPUTS.
        seed: For the initial values; all but `direct` start at zero.
    """

    def __init__(self, values, *, kind, seed, **kwargs):
        super().__init__(**kwargs)
        self.values = values
        self.kind = kind
        self.seed = seed
        self.maps = 2 * values if kind == "scattering" else values

    def build(self, shape):
        gain = 1.0 if self.kind == "direct" else 0.0
        init = scaled_normal(seed=self.seed, path="head", fan_in=9 * shape[-1], gain=gain)
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], self.maps), initializer=init, name="kernel")
        self.bias = self.add_weight(shape=(self.maps,), initializer="zeros", name="bias")

    def call(self, inputs):
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        if self.kind == "scattering":
            kernel, bias = self._apart(kernel), self._apart(bias)
        return tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME"), bias)

    def _apart(self, weights):
        """Weights of K and B in turns, three channels of each a pixel, to all of K's before all of B's.

        The variables have the former order. To move weights costs nothing; to move maps of the image's size does.
        """
        shape = weights.shape.as_list()
        pairs = tf.reshape(weights, [-1, self.values // 3, 2, 3])
        return tf.reshape(tf.transpose(pairs, [0, 2, 1, 3]), shape)

    def compute_output_shape(self, shape):
        return (*shape[:3], self.maps)


@keras.saving.register_keras_serializable("hazeheal")
class Output(keras.layers.Layer):
    """Makes the restored values of the head's output and the hazy ones."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, inputs):
        x, hazy = inputs
        if self.kind == "scattering":
            k, b = tf.split(x, 2, axis=-1)
            return hazy + k * hazy - b
        return hazy + x if self.kind == "residual" else tf.tanh(x)

    def compute_output_shape(self, shapes):
        return shapes[1]


@keras.saving.register_keras_serializable("hazeheal")
class CropTo(keras.layers.Layer):
    """Crops an image to the size of another, from the upper left corner."""

    def call(self, inputs):
        x, like = inputs
        height, width = (like.shape[axis] or tf.shape(like)[axis] for axis in (1, 2))
        return x[:, :height, :width]

    def compute_output_shape(self, shapes):
        return shapes[1]
