"""Layers that pad, crop and rearrange pixels. They have no variables."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from hazeheal.utils.import_keras import keras

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("hazeheal")
class MirrorPad(keras.layers.Layer):
    """Pads `[B, H, W, C]` at the bottom and the right to multiples of `multiple`, mirrored at the last pixel.

    The padding gathers pixels by index, so any side from 1 up can be padded by any amount. `tf.pad` with REFLECT
    fails if the padding is as long as the side, and its dynamic form does not convert to TFLite.
    """

    def __init__(self, multiple: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pads `[B, H, W, C]`."""
        x = inputs
        for axis in (1, 2):
            side = x.shape[axis]
            if side is None:
                side = tf.shape(x)[axis]
                # Not -(-side // multiple): ONNX divides negative integers differently.
                padded = (side + self.multiple - 1) // self.multiple * self.multiple
                x = tf.gather(x, mirrored_indices(tf.range(padded), side, largest=tf.maximum), axis=axis)
            elif side % self.multiple:
                padded = -(-side // self.multiple) * self.multiple
                x = tf.gather(x, mirrored_indices(np.arange(padded), side), axis=axis)
        return x


@keras.saving.register_keras_serializable("hazeheal")
class CropTo(keras.layers.Layer):
    """Crops the first of two images to the size of the second, from the upper left corner."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Crops the first of [image, like]."""
        x, like = inputs
        height, width = (like.shape[axis] or tf.shape(like)[axis] for axis in (1, 2))
        return x[:, :height, :width]


@keras.saving.register_keras_serializable("hazeheal")
class Patches(keras.layers.Layer):
    """Pixel unshuffle, `[B, H, W, C]` to `[B, H / size, W / size, size^2 C]` (Shi et al. 2016).

    The pixels of each patch become the channels of one position. The result is that of tf.nn.space_to_depth in half
    the time: its CPU kernel copies pixel by pixel.
    """

    def __init__(self, size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rearranges `[B, H, W, C]`; H and W must be multiples of `size`."""
        batch, height, width, channels = _dimensions(inputs)
        size = self.size
        x = tf.reshape(inputs, [batch, height // size, size, width // size, size * channels])
        x = tf.transpose(x, [0, 1, 3, 2, 4])
        return tf.reshape(x, [batch, height // size, width // size, size * size * channels])


@keras.saving.register_keras_serializable("hazeheal")
class Pixels(keras.layers.Layer):
    """Pixel shuffle, the inverse of `Patches`: `[B, H, W, size^2 C]` to `[B, size H, size W, C]`."""

    def __init__(self, size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rearranges `[B, H, W, size^2 C]`."""
        return to_pixels(inputs, self.size)


def to_pixels(patches: tf.Tensor, size: int) -> tf.Tensor:
    """Pixel shuffle, `[B, H, W, size^2 C]` to `[B, size H, size W, C]`."""
    batch, height, width, channels = _dimensions(patches)
    x = tf.reshape(patches, [batch, height, width, size, channels // size])
    x = tf.transpose(x, [0, 1, 3, 2, 4])
    return tf.reshape(x, [batch, height * size, width * size, channels // size**2])


def doubled(x: tf.Tensor) -> tf.Tensor:
    """Repeats each pixel of `[B, H, W, C]` in both directions: `[B, 2 H, 2 W, C]`."""
    batch, height, width, channels = _dimensions(x)
    rows = tf.concat([x, x], axis=-1)  # both pixels of a row side by side
    both = tf.concat([tf.reshape(rows, [batch, height, 1, 2 * width * channels])] * 2, axis=2)
    return tf.reshape(both, [batch, 2 * height, 2 * width, channels])


def _dimensions(tensor):
    """The dimensions of a tensor: integers if they are static, else scalar tensors."""
    static, dynamic = tensor.shape.as_list(), tf.shape(tensor)
    return [dynamic[axis] if side is None else side for axis, side in enumerate(static)]


def mirrored_indices(
    positions: np.ndarray | tf.Tensor, side: int | tf.Tensor, *, largest: Callable = max
) -> np.ndarray | tf.Tensor:
    """Maps positions, integers from 0 up, into a row of `side` pixels that is mirrored at both ends without end.

    The result is a triangle wave. Pass `largest=tf.maximum` if `side` is a tensor.
    """
    last = side - 1
    return last - abs(positions % largest(2 * last, 1) - last)
