"""The view: the generator sees a reduced image and applies what it finds to the image itself.

Estimating the haze takes the whole scene, and the haze varies smoothly; the detail is in the image already. So the
network gets the whole image as view_size x view_size pixels, whatever its size and shape. The maps that its head
outputs (K and B of the scattering model, or a residual) are enlarged to the size of the image and applied to its
pixels, as in HDRnet (Gharbi et al. 2017). A large image takes hardly longer than a small one.

The reduction is linear with a triangle filter as wide as a pixel of the view: one matrix product along each side,
equal to `tf.image.resize(antialias=True)`. The enlargement is bilinear, by the same kind of matrices. Between equal
sizes both are the identity.
"""

from collections.abc import Sequence

import tensorflow as tf

from hazeheal.models.rearrange import to_pixels
from hazeheal.utils.import_keras import keras


def resampling(outputs: int | tf.Tensor, inputs: int | tf.Tensor, *, antialias: bool = True) -> tf.Tensor:
    """Returns the matrix of a linear resampling of one side from `inputs` to `outputs` pixels.

    It is `[outputs, inputs]` float32, and each row sums to 1. Without `antialias` a row has at most two values, as in
    `tf.image.resize`.
    """
    ratio = tf.cast(inputs, tf.float32) / tf.cast(outputs, tf.float32)
    centers = (tf.range(outputs, dtype=tf.float32) + 0.5) * ratio - 0.5
    distances = tf.abs(tf.range(inputs, dtype=tf.float32) - centers[:, tf.newaxis])
    matrix = tf.maximum(0.0, 1 - distances / (tf.maximum(ratio, 1.0) if antialias else 1.0))
    return matrix / tf.reduce_sum(matrix, 1, keepdims=True)


@keras.saving.register_keras_serializable("hazeheal")
class View(keras.layers.Layer):
    """Reduces `[B, H, W, C]` float32 to `[B, size, size, C]`, for any H and W."""

    def __init__(self, size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Reduces both sides."""
        if inputs.shape[1:3] == [self.size, self.size]:
            return inputs
        batch, height, width = (inputs.shape[axis] or tf.shape(inputs)[axis] for axis in range(3))
        channels, size = inputs.shape[3], self.size
        x = tf.reshape(inputs, [batch, height, width * channels])
        x = tf.matmul(resampling(size, height), x)  # [B, size, W C]
        # With the channels before the width, the second reduction is one large matrix product per image.
        x = tf.transpose(tf.reshape(x, [batch, size, width, channels]), [0, 1, 3, 2])
        x = tf.reshape(x, [batch, size * channels, width])
        x = tf.matmul(x, resampling(size, width), transpose_b=True)
        return tf.transpose(tf.reshape(x, [batch, size, channels, size]), [0, 1, 3, 2])


@keras.saving.register_keras_serializable("hazeheal")
class Maps(keras.layers.Layer):
    """Converts the head's output on patches, `[B, h, w, p^2 C]`, to maps of the view, `[B, size, size, C]`.

    For the output `scattering`, the first three channels are K and the last three are B. With `bins` the maps have one
    position per patch, and six channels for each bin: all of K, then all of B.
    """

    def __init__(self, size: int, *, kind: str, patch_size: int, bins: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.bins = bins
        self.kinds = 2 if kind == "scattering" else 1
        self.patch_size = patch_size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rearranges the patches into pixels, unless there are bins, and crops the padding."""
        if self.bins:
            side = -(-self.size // self.patch_size)
            return inputs[:, :side, :side]
        maps = [to_pixels(part, self.patch_size) for part in tf.split(inputs, self.kinds, axis=-1)]
        return tf.concat(maps, axis=-1)[:, : self.size, : self.size]


@keras.saving.register_keras_serializable("hazeheal", name="Laid")  # the name in .keras files of version 0.1
class ApplyMaps(keras.layers.Layer):
    """Enlarges maps to the size of an image and applies them (`apply_parts`).

    The inputs are the maps, `[B, size, size, C]`, and the image, `[B, H, W, 3]`.
    """

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Applies the first of [maps, image] to the second."""
        # With the channels first, everything vectorizes along the rows of the image. On CPUs this takes half the time of
        # tf.image.resize, whose gradient is slow, and of products of one channel with three.
        maps, image = (tf.transpose(x, [0, 3, 1, 2]) for x in inputs)
        if maps.shape[2:] != image.shape[2:]:
            down, across = (
                resampling(*(x.shape[axis] or tf.shape(x)[axis] for x in (image, maps)), antialias=False)
                for axis in (2, 3)
            )
            maps = tf.matmul(down, tf.matmul(maps, across, transpose_b=True))
        restored = apply_parts(tf.split(maps, maps.shape[1] // 3, axis=1), image, axis=1)
        return tf.transpose(restored, [0, 2, 3, 1])


def apply_parts(parts: Sequence[tf.Tensor], image: tf.Tensor, *, axis: int = -1) -> tf.Tensor:
    """Applies maps of the size of an image x to it: x + K x - B, or x + residual.

    With several bins, K and B of a pixel are interpolated between the two bins that are nearest in brightness to its
    darkest channel: a bilateral grid (Chen et al. 2007), so that the coarse maps follow the edges of the image.

    Args:
        parts: `[..., 3]` float32 each: the residual; K and B; or K of all bins, then B of all bins.
        image: `[..., 3]` float32 in [-1, 1].
        axis: That of the channels, if it is not the last one.
    """
    if len(parts) == 1:
        return image + parts[0]
    bins = len(parts) // 2
    if bins > 1:
        place = (tf.clip_by_value(tf.reduce_min(image, axis, keepdims=True), -1, 1) + 1) * ((bins - 1) / 2)
        weights = [tf.maximum(0.0, 1 - tf.abs(place - level)) for level in range(bins)]
        parts = [_weighted(weights, group) for group in (parts[:bins], parts[bins:])]
    k, b = parts
    return image + k * image - b


def _weighted(weights, parts):
    return tf.add_n([weight * part for weight, part in zip(weights, parts, strict=True)])
