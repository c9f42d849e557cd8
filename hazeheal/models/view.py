"""The view: the generator sees a reduced image and applies what it finds to the image itself.

Estimating the haze takes the whole scene, and the haze varies smoothly; the detail is in the image already. So the
network gets the whole image as view_size x view_size pixels, whatever its size and shape. The maps that its head
outputs (K and B of the scattering model, or a residual) are enlarged to the size of the image and applied to its
pixels, as in HDRnet (Gharbi et al. 2017). All images then have the size of the training images for the network, and a
large one takes hardly longer than a small one.

The reduction is linear with a triangle filter as wide as a pixel of the view: one matrix product along each side,
equal to `tf.image.resize(antialias=True)`. The enlargement is bilinear. Between equal sizes both are the identity.
"""

from types import ModuleType

import keras
import numpy as np
import tensorflow as tf

from hazeheal.models.rearrange import Shape, to_pixels


def resampling(
    outputs: int | tf.Tensor,
    inputs: int | tf.Tensor,
    *,
    part: slice | None = None,
    lib: ModuleType = tf,
) -> np.ndarray | tf.Tensor:
    """Returns the matrix of a linear resampling of one side, with antialiasing if it reduces.

    Args:
        outputs: Length of the resampled side in pixels: an integer, or an int32 scalar if `lib` is `tf`.
        inputs: Length of the original side, likewise.
        part: With `np`: return only these columns of the matrix.
        lib: `tf` to compute on the device, `np` to compute on the host.

    Returns:
        `[outputs, inputs]` float32. Each row sums to 1.
    """
    on_host = lib is np

    def real(x):
        return np.float32(x) if on_host else tf.cast(x, tf.float32)

    def positions(count):
        return np.arange(count, dtype=np.float32) if on_host else real(tf.range(count))

    ratio = real(inputs) / real(outputs)
    width = lib.maximum(ratio, real(1))
    centers = ((positions(outputs) + 0.5) * ratio - 0.5)[:, None]

    def weights(at):
        return lib.maximum(real(0), 1 - lib.abs(at[None, :] - centers) / width)

    if not on_host:
        matrix = weights(positions(inputs))
        return matrix / tf.reduce_sum(matrix, 1, keepdims=True)
    # The sum of each whole row, from the inputs near its center: `part` may not include them.
    nearby = np.floor(centers) + np.arange(-np.ceil(width), np.ceil(width) + 2, dtype=np.float32)
    inside = (nearby >= 0) & (nearby < inputs)
    total = (np.maximum(0, 1 - np.abs(nearby - centers) / width) * inside).sum(1, keepdims=True)
    return weights(positions(inputs)[part or slice(None)]) / total


@keras.saving.register_keras_serializable("hazeheal")
class View(keras.layers.Layer):
    """Reduces `[B, H, W, C]` float32 to `[B, size, size, C]`, for any H and W."""

    def __init__(self, size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Reduces `[B, H, W, C]`."""
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

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Returns `[B, size, size, C]`."""
        return (shape[0], self.size, self.size, shape[3])


@keras.saving.register_keras_serializable("hazeheal")
class Maps(keras.layers.Layer):
    """Converts the head's output on patches, `[B, h, w, p^2 C]`, to maps of the view, `[B, size, size, C]`.

    For the output `scattering`, the first three channels are K and the last three are B.
    """

    def __init__(self, size: int, *, kind: str, patch_size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.kinds = 2 if kind == "scattering" else 1
        self.patch_size = patch_size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rearranges the patches into pixels and crops the padding."""
        maps = [to_pixels(part, self.patch_size) for part in tf.split(inputs, self.kinds, axis=-1)]
        return tf.concat(maps, axis=-1)[:, : self.size, : self.size]

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Returns `[B, size, size, 6]` for the output `scattering`, else `[B, size, size, 3]`."""
        return (shape[0], self.size, self.size, 3 * self.kinds)


@keras.saving.register_keras_serializable("hazeheal", name="Laid")  # the name in .keras files of version 0.1
class ApplyMaps(keras.layers.Layer):
    """Enlarges maps to the size of an image x and applies them: x + K x - B, or x + residual.

    The inputs are the maps, `[B, size, size, 6]` or `[B, size, size, 3]`, and the image, `[B, H, W, 3]`.
    """

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Applies the first of [maps, image] to the second."""
        maps, image = inputs
        # TensorFlow's CPU kernel is specialized for three channels, and takes twice as long for six.
        parts = tf.split(maps, maps.shape[3] // 3, axis=-1)
        if maps.shape[1:3] != image.shape[1:3]:
            parts = [tf.image.resize(part, tf.shape(image)[1:3]) for part in parts]
        if len(parts) == 1:
            return image + parts[0]
        k, b = parts
        return image + k * image - b

    def compute_output_shape(self, shapes: list[Shape]) -> Shape:
        """Returns the shape of the image."""
        return shapes[1]
