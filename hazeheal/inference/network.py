"""A generator on one device: compiled functions from integer pixels to float pixels."""

import functools
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from hazeheal.models.pixels import restore_pixels

# {type of the images: (type in which the device receives them, white)}. Few GPU operations support uint16.
INPUT_TYPES = {"uint8": ("uint8", 255), "uint16": ("float32", 65535)}


class Network:
    """A generator's functions on one device: those of `make_functions`, or those of an export (`load_model`)."""

    def __init__(self, functions: Mapping[str, Callable], *, device: str | None = None) -> None:
        """Wraps functions for a device such as `GPU:0`; None lets TensorFlow choose."""
        self.device = device
        self._functions = functions

    def restore(self, batch: np.ndarray) -> np.ndarray:
        """Restores `[B, H, W, 3]` uint8 or uint16 to float32 in [0, 255] or [0, 65535], not rounded."""
        received, _ = INPUT_TYPES[batch.dtype.name]
        function = self._functions[f"restore_{batch.dtype.name}"]
        with tf.device(self.device):
            return function(tf.convert_to_tensor(batch.astype(received, copy=False))).numpy()

    def maps(self, view: np.ndarray) -> np.ndarray:
        """Returns the maps that a generator with a view applies to an image, before they are enlarged.

        From a view `[1, S, S, 3]` float32 in [-1, 1], they are `[S, S, 6]`, K and B of the output `scattering`, or
        `[S, S, 3]` for the output `residual`.
        """
        with tf.device(self.device):
            return self._functions["maps"](tf.convert_to_tensor(view)).numpy()[0]


def make_functions(
    generator: keras.Model, *, device: str | None = None, copy: bool = False
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """Makes the functions of a generator: `restore_uint8`, `restore_uint16` and, with a view, `maps`.

    Each is compiled at its first call. White is a constant of each function, which makes the arithmetic
    bit-identical to that of validation.

    Args:
        generator: A model of `build_generator`.
        device: The device of the copied weights.
        copy: Whether to copy the current weights to the device. Otherwise the functions use the generator's own
            variables, and later changes to them.
    """
    values = None
    if copy:
        with tf.device(device):
            values = {v.path: tf.Variable(tf.convert_to_tensor(v)) for v in generator.variables}

    forward, functions = _forward(generator, values), {}
    for name, (received, white) in INPUT_TYPES.items():
        restore = functools.partial(restore_pixels, forward, white=white)
        functions[f"restore_{name}"] = _compiled(restore, [None, None, None, 3], received, "hazy")
    if "maps" in [layer.name for layer in generator.layers]:
        maps = keras.Model(generator.input, generator.get_layer("maps").output)
        size = generator.get_layer("view").size
        functions["maps"] = _compiled(_forward(maps, values), [1, size, size, 3], "float32", "view")
    return functions


def _compiled(function, shape, dtype, name):
    """A tf.function of one argument."""
    spec = tf.TensorSpec(shape, dtype, name)
    return tf.function(function, input_signature=[spec], autograph=False)


def _forward(model, values):
    """The forward pass of a model with `values`, {path: variable}; with its own variables if `values` is None."""
    if values is None:
        return functools.partial(model, training=False)

    def forward(x):
        weights = [values[variable.path].read_value() for variable in model.trainable_variables]
        return model.stateless_call(weights, [], x, training=False)[0]

    return forward
