"""The generator: a U-Net whose encoder stages fuse a strided convolution and an MBConv.

    hazy [B, H, W, 3] in [-1, 1]  ->  restored [B, H, W, 3] float32

    pad -> patches -> stem -> encoder_0 .. encoder_{d-1} -> bottom_0, bottom_1 -> decoder_{d-1} .. decoder_0
        -> head -> output -> pixels -> crop

With a view_size, the same network runs on a reduced image (`view`):

    view -> pad -> ... -> head -> maps -> apply_maps

The names of the variables, such as `encoder_0/mbconv/expand/kernel`, are part of the checkpoint format.
"""

import tensorflow as tf

from hazeheal.models import ops
from hazeheal.models.layers import EDGES, NORMS, MBConv, Up, conv, halved, norm_layer, normalized, scaled_normal
from hazeheal.models.rearrange import CropTo, MirrorPad, Patches, Pixels, Shape, doubled
from hazeheal.models.receptive_field import multiple
from hazeheal.models.view import ApplyMaps, Maps, View
from hazeheal.utils.import_keras import keras

OUTPUTS = ("residual", "scattering")
UPSAMPLINGS = ("transposed", "nearest")


def build_generator(
    *,
    width: int = 64,
    depth: int = 5,
    norm: str = "layer",
    output: str = "residual",
    se_ratio: float = 0.25,
    patch_size: int = 1,
    view_size: int = 0,
    bins: int = 0,
    edges: str = "zero",
    upsampling: str = "transposed",
    dtype: str = "float32",
    seed: int = 0,
) -> keras.Model:
    """Builds the generator, a Keras functional model for any height and width from 1 up.

    Args:
        width: Scales all channel counts: the stem has width / 2 channels, encoder stage i width * min(2^i, 8).
        depth: Number of halvings. Sides are padded to multiples of `receptive_field.multiple`.
        norm: `none` or `layer` (`layers.Norm`).
        output: How the restored image x' follows from the hazy image x and the output of the head. The head starts
            at zero in both cases, so training starts from exactly the hazy image, whatever the seed. The restored
            image is not clipped.
            `residual`: x' = x + R, with R of three channels.
            `scattering`: x' = x + K x - B, with K and B of three channels each. This is the scattering model
            x = J t + A (1 - t) solved for J, with K = 1 / t - 1 and B = A K (AOD-Net, Li et al. 2017).
        se_ratio: Channels of squeeze-excite over its input channels, with a minimum of 8 channels. 0 disables
            squeeze-excite; see `receptive_field.is_local`.
        patch_size: The network gets each patch of patch_size^2 pixels as the channels of one position, and its head
            outputs the pixels of a patch as channels (pixel unshuffle and shuffle, Shi et al. 2016). With 2 it takes
            about a quarter of the time.
        view_size: The network gets the image reduced to view_size x view_size pixels, and the output of the head is
            enlarged and applied to the image (`view`). 0: the network gets the image itself.
        bins: With a view and the output `scattering`, the head outputs K and B once per patch and for each of `bins`
            levels of brightness; a pixel gets those of its own brightness (`view.apply_parts`). 0: K and B for each
            pixel of the view.
        edges: What convolutions see beyond the edges: `zero`, or `repeat`, the outermost pixels.
        upsampling: How the decoder doubles the sides: `transposed`, a transposed convolution, or `nearest`, a 1x1
            convolution whose pixels are repeated. With the latter and edges=`repeat`, a hazy image of one color gives
            a restored image of one color.
        dtype: Keras dtype policy: float32, mixed_bfloat16 or mixed_float16. The head is always float32.
        seed: The initial values are a function of the seed and the names of the variables.

    Returns:
        A model from `[B, H, W, 3]` float32 in [-1, 1] to `[B, H, W, 3]` float32.

    Raises:
        ValueError: An argument is out of range.
    """
    if width % 2:
        raise ValueError(f"width is {width}: must be even")
    least = {"width": (width, 2), "depth": (depth, 1), "se_ratio": (se_ratio, 0)}
    least |= {"patch_size": (patch_size, 1), "view_size": (view_size, 0)}
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise ValueError(f"{name} is {value}: must be {minimum} or more")
    chosen = {"norm": (norm, NORMS), "output": (output, OUTPUTS)}
    chosen |= {"edges": (edges, EDGES), "upsampling": (upsampling, UPSAMPLINGS)}
    for name, (value, choices) in chosen.items():
        if value not in choices:
            raise ValueError(f"{name} is {value!r}: must be one of {', '.join(choices)}")
    if bins and not (view_size and output == "scattering"):
        raise ValueError(f"bins is {bins}: must be 0 without a view_size and output=scattering")

    block = {"norm": norm, "se_ratio": se_ratio, "edges": edges, "seed": seed, "dtype": dtype}
    hazy = keras.Input((None, None, 3), name="hazy", dtype="float32")
    # The image itself is float32 under every policy: bfloat16 has 8 significant bits.
    seen = View(view_size, name="view", dtype="float32")(hazy) if view_size else hazy
    padded = MirrorPad(multiple(depth, patch_size), name="pad", dtype="float32")(seen)
    if patch_size > 1:
        padded = Patches(patch_size, name="patches", dtype="float32")(padded)
    x = conv(width // 2, 3, padded.shape[-1], seed=seed, path="stem", edges=edges, dtype=dtype)(padded)
    x = keras.layers.Activation("silu", name="stem_swish", dtype=dtype)(x)
    skips = []
    for i in range(depth):
        skips.append(x)
        x = EncoderStage(width * min(2**i, 8), name=f"encoder_{i}", **block)(x)
    for i in range(2):
        x = MBConv(x.shape[-1], strides=1, path=f"bottom_{i}", name=f"bottom_{i}", **block)(x)
    for i in reversed(range(depth)):
        stage = {"norm": norm, "edges": edges, "upsampling": upsampling, "seed": seed, "dtype": dtype}
        x = DecoderStage(**stage, name=f"decoder_{i}")([x, skips[i]])
    values = 3 * (bins or patch_size**2)
    x = Head(values, kind=output, edges=edges, seed=seed, dtype="float32", name="head")(x)
    if view_size:
        x = Maps(view_size, kind=output, patch_size=patch_size, bins=bins, name="maps", dtype="float32")(x)
        x = ApplyMaps(name="apply_maps", dtype="float32")([x, hazy])
        return keras.Model(hazy, x, name="generator")
    # Applied on the patches: only the result is rearranged, and not K and B, which are twice as large.
    x = Output(output, name="output", dtype="float32")([x, padded])
    if patch_size > 1:
        x = Pixels(patch_size, name="pixels", dtype="float32")(x)
    restored = CropTo(name="crop", dtype="float32")([x, hazy])
    return keras.Model(hazy, restored, name="generator")


@keras.saving.register_keras_serializable("hazeheal")
class EncoderStage(keras.layers.Layer):
    """Halves the sides with a strided convolution and with an MBConv, and fuses the two with a 1x1 convolution."""

    def __init__(self, filters: int, *, norm: str, se_ratio: float, seed: int, edges: str = "zero", **kwargs) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.norm = norm
        self.se_ratio = se_ratio
        self.seed = seed
        self.edges = edges

    def build(self, shape: Shape) -> None:
        """Creates the layers for inputs of shape `[B, H, W, C]`."""
        common = {"seed": self.seed, "dtype": self.dtype_policy}
        block = {"norm": self.norm, "se_ratio": self.se_ratio, "edges": self.edges, **common}
        path = f"{self.name}/strided"
        self.strided = conv(self.filters, 3, shape[-1], strides=2, path=path, edges=self.edges, **common)
        self.strided_norm = norm_layer(self.norm, self.filters, name="strided_norm", dtype=self.dtype_policy)
        self.mbconv = MBConv(self.filters, strides=2, path=f"{self.name}/mbconv", name="mbconv", **block)
        self.fuse = conv(self.filters, 1, 2 * self.filters, path=f"{self.name}/fuse", **common)
        self.mbconv.build(shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps `[B, H, W, C]` to `[B, ceil(H / 2), ceil(W / 2), filters]`."""
        a = tf.nn.silu(normalized(self.strided, self.strided_norm, inputs))
        b = self.mbconv(inputs)
        return tf.nn.silu(self.fuse(tf.concat([a, b], axis=-1)))

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Returns the shape of the result of `call`."""
        return halved(shape, self.filters)


@keras.saving.register_keras_serializable("hazeheal")
class DecoderStage(keras.layers.Layer):
    """Doubles the sides (`upsampling`, one of `UPSAMPLINGS`) and merges the skip connection of that size."""

    def __init__(self, *, norm: str, seed: int, edges: str = "zero", upsampling: str = "transposed", **kwargs) -> None:
        super().__init__(**kwargs)
        self.norm = norm
        self.seed = seed
        self.edges = edges
        self.upsampling = upsampling

    def build(self, shapes: list[Shape]) -> None:
        """Creates the layers for the inputs of `call`."""
        below, skip = shapes
        filters = skip[-1]
        path = f"{self.name}/up"
        if self.upsampling == "nearest":
            self.up = conv(filters, 1, below[-1], seed=self.seed, path=path, dtype=self.dtype_policy)
        else:
            # 2x2 of the 4x4 taps reach one output.
            init = scaled_normal(seed=self.seed, path=path, fan_in=4 * below[-1])
            common = {"padding": "same", "kernel_initializer": init, "dtype": self.dtype_policy}
            self.up = Up(filters, 4, strides=2, edges=self.edges, name="up", **common)
            self.up.build(below)
        self.up_norm = norm_layer(self.norm, filters, name="up_norm", dtype=self.dtype_policy)
        path = f"{self.name}/merge"
        common = {"seed": self.seed, "edges": self.edges, "dtype": self.dtype_policy}
        self.merge = conv(filters, 3, 2 * filters, path=path, **common)
        self.merge_norm = norm_layer(self.norm, filters, name="merge_norm", dtype=self.dtype_policy)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Merges `[B, H / 2, W / 2, C]` with a skip connection `[B, H, W, C']` into `[B, H, W, C']`."""
        below, skip = inputs
        x = ops.relu(normalized(self.up, self.up_norm, below))
        if self.upsampling == "nearest":
            x = doubled(x)
        return ops.relu(normalized(self.merge, self.merge_norm, tf.concat([x, skip], axis=-1)))

    def compute_output_shape(self, shapes: list[Shape]) -> Shape:
        """Returns the shape of the skip connection."""
        return shapes[1]


@keras.saving.register_keras_serializable("hazeheal")
class Head(keras.layers.Layer):
    """The last convolution, which starts at zero. Its output is the residual, or K and B (`kind`, one of OUTPUTS).

    `values` is the number of restored values at one position: three for each pixel of its patch. `seed` is not used;
    stored .keras files have it.
    """

    def __init__(self, values: int, *, kind: str, seed: int = 0, edges: str = "zero", **kwargs) -> None:
        super().__init__(**kwargs)
        self.values = values
        self.kind = kind
        self.seed = seed
        self.edges = edges
        self.maps = 2 * values if kind == "scattering" else values

    def build(self, shape: Shape) -> None:
        """Creates a 3x3 kernel and a bias."""
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], self.maps), initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(self.maps,), initializer="zeros", name="bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps `[B, H, W, C]` to the residual `[B, H, W, values]`, or to K and B `[B, H, W, 2 values]`."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        if self.kind == "scattering":
            kernel, bias = self._grouped(kernel), self._grouped(bias)
        return ops.conv_same(inputs, kernel, bias, strides=1, edges=self.edges)

    def _grouped(self, weights):
        """Reorders output channels so that all of K comes before all of B.

        In the variables, K and B alternate, three channels of each per pixel. Reordering the weights costs nothing;
        reordering the output would cost a pass over it.
        """
        shape = weights.shape.as_list()
        pairs = tf.reshape(weights, [-1, self.values // 3, 2, 3])
        return tf.reshape(tf.transpose(pairs, [0, 2, 1, 3]), shape)


@keras.saving.register_keras_serializable("hazeheal")
class Output(keras.layers.Layer):
    """Computes the restored image from [output of the head, hazy image], both on patches."""

    def __init__(self, kind: str, **kwargs) -> None:
        super().__init__(**kwargs)
        if kind not in OUTPUTS:  # a .keras file of version 0.1 may have another kind
            raise ValueError(f"output is {kind!r}: must be one of {', '.join(OUTPUTS)}")
        self.kind = kind

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the restored image, of the shape of the hazy image."""
        x, hazy = inputs
        if self.kind == "scattering":
            k, b = tf.split(x, 2, axis=-1)
            return hazy + k * hazy - b
        return hazy + x
