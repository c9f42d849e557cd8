"""A network that looks at a reduced view of the image, and lays what it finds on the image itself.

How much haze there is takes a look at the whole scene, and varies smoothly; the detail is in the image already. So
the network is given the whole image as view_size x view_size pixels, whatever its size and shape, and what its head
says there (K and B of the scattering model, or what is to be added) is enlarged to the image's size and applied to
its own pixels, as in HDRnet (Gharbi et al. 2017). All images then look to the network as those of its training
did, and a large one costs hardly more than a small one.

The reduction is linear with a triangle as wide as a pixel of the view, by one matrix along each side, as
`tf.image.resize(antialias=True)` has it; the enlargement is bilinear. Between equal sizes both are the identity.
"""

import keras
import numpy as np
import tensorflow as tf

from hazeheal.models.layers import to_pixels

REDUCED_OUTPUTS = ("residual", "scattering")  # what can be laid on an image of another size


def resampling(outputs, inputs, *, part=None, lib=tf):
    """The matrix of a linear resampling of one side, antialiased where it reduces.

    Args:
        outputs, inputs: Pixels of the side, integers; with `tf` also int32 scalars.
        part: A slice of the inputs: those columns of the matrix alone. With `np`.
        lib: `tf`, or `np` for numbers on the host.

    Returns:
        float32 [outputs, inputs], of rows that sum to 1.
    """
    on_host = lib is np

    def real(x):
        return np.float32(x) if on_host else tf.cast(x, tf.float32)

    def places(count):
        return np.arange(count, dtype=np.float32) if on_host else real(tf.range(count))

    ratio = real(inputs) / real(outputs)
    width = lib.maximum(ratio, real(1))
    centers = ((places(outputs) + 0.5) * ratio - 0.5)[:, None]

    def weights(inputs):
        return lib.maximum(real(0), 1 - lib.abs(inputs[None, :] - centers) / width)

    if not on_host:
        found = weights(places(inputs))
        return found / tf.reduce_sum(found, 1, keepdims=True)
    # Of all inputs, without a matrix of them: those that a row looks at.
    nearby = np.floor(centers) + np.arange(-np.ceil(width), np.ceil(width) + 2, dtype=np.float32)
    inside = (nearby >= 0) & (nearby < inputs)
    total = (np.maximum(0, 1 - np.abs(nearby - centers) / width) * inside).sum(1, keepdims=True)
    return weights(places(inputs)[part or slice(None)]) / total


@keras.saving.register_keras_serializable("hazeheal")
class View(keras.layers.Layer):
    """[B, H, W, C] float32 to [B, size, size, C], whatever H and W."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        if inputs.shape[1:3] == [self.size, self.size]:
            return inputs
        batch, height, width = (inputs.shape[axis] or tf.shape(inputs)[axis] for axis in range(3))
        channels, size = inputs.shape[3], self.size
        x = tf.reshape(inputs, [batch, height, width * channels])
        x = tf.matmul(resampling(size, height), x)  # [B, size, W C]
        # One large product: with the channels behind, it would be one of three columns for each row.
        x = tf.transpose(tf.reshape(x, [batch, size, width, channels]), [0, 1, 3, 2])
        x = tf.reshape(x, [batch, size * channels, width])
        x = tf.matmul(x, resampling(size, width), transpose_b=True)
        return tf.transpose(tf.reshape(x, [batch, size, channels, size]), [0, 1, 3, 2])

    def compute_output_shape(self, shape):
        return (shape[0], self.size, self.size, shape[3])


@keras.saving.register_keras_serializable("hazeheal")
class Maps(keras.layers.Layer):
    """The head's output on patches to maps of the view's pixels: [B, h, w, p^2 C] to [B, size, size, C].

    For `scattering` K stands before B, three channels each.
    """

    def __init__(self, size, *, kind, patch_size, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.kinds = 2 if kind == "scattering" else 1
        self.patch_size = patch_size

    def call(self, inputs):
        maps = [to_pixels(part, self.patch_size) for part in tf.split(inputs, self.kinds, axis=-1)]
        return tf.concat(maps, axis=-1)[:, : self.size, : self.size]

    def compute_output_shape(self, shape):
        return (shape[0], self.size, self.size, 3 * self.kinds)


@keras.saving.register_keras_serializable("hazeheal")
class Laid(keras.layers.Layer):
    """The maps of the view, enlarged to the image's size and laid on its pixels: x + K x - B, or x + the map."""

    def call(self, inputs):
        maps, image = inputs
        # Three channels at a time: TensorFlow's kernel for CPUs is made for these, and takes twice as long for six.
        parts = tf.split(maps, maps.shape[3] // 3, axis=-1)
        if maps.shape[1:3] != image.shape[1:3]:
            parts = [tf.image.resize(part, tf.shape(image)[1:3]) for part in parts]
        if len(parts) == 1:
            return image + parts[0]
        k, b = parts
        return image + k * image - b

    def compute_output_shape(self, shapes):
        return shapes[1]
