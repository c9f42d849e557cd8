"""A generator on one device: compiled functions from integer pixels to float pixels."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from hazeheal.models.averages import collect, with_averages
from hazeheal.models.pixels import restore_pixels
from hazeheal.utils.import_keras import keras

# {type of the images: (type in which the device receives them, white)}. Few GPU operations support uint16.
INPUT_TYPES = {"uint8": ("uint8", 255), "uint16": ("float32", 65535)}


class Network:
    """A generator's functions on one device: those of `make_functions`, or those of an export (`load_model`)."""

    def __init__(self, functions: Mapping[str, Callable], *, device: str | None = None) -> None:
        """Wraps functions for a device such as `GPU:0`; None lets TensorFlow choose."""
        self.device = device
        self._functions = functions

    def restore(self, batch: np.ndarray, averages: np.ndarray | None = None) -> np.ndarray:
        """Restores `[B, H, W, 3]` uint8 or uint16 to float32 in [0, 255] or [0, 65535], not rounded.

        With `averages`, as `collect` returns them, the network uses these in place of its own.
        """
        if averages is None:
            return self._call("restore", batch)
        return self._call("restore_given", batch, averages)

    def collect(self, image: np.ndarray, core: Sequence[int], averages: np.ndarray | None = None) -> np.ndarray:
        """Returns the averages over a part of an image, float32 `[N]`, that the network takes over all pixels.

        Args:
            image: `[H, W, 3]` uint8 or uint16; H and W are multiples of the network's stride.
            core: Top, bottom, left and right of the part, multiples of the stride.
            averages: As for `restore`.
        """
        core = np.asarray(core, np.int32)
        if averages is None:
            return self._call("collect", image[None], core)
        return self._call("collect_given", image[None], core, averages)

    def _call(self, name, batch, *arguments):
        received, _ = INPUT_TYPES[batch.dtype.name]
        function = self._functions[f"{name}_{batch.dtype.name}"]
        with tf.device(self.device):
            return function(
                *(tf.convert_to_tensor(x) for x in (batch.astype(received, copy=False), *arguments))
            ).numpy()

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

    A generator that takes averages over the image (`receptive_field.uses_averages`) also has `restore_given`, `collect` and
    `collect_given`, each with `_uint8` and `_uint16` behind it.

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
    has_view = "maps" in [layer.name for layer in generator.layers]
    averages, core = tf.TensorSpec([None], tf.float32, "averages"), tf.TensorSpec([4], tf.int32, "core")
    for name, (received, white) in INPUT_TYPES.items():
        batch = tf.TensorSpec([None, None, None, 3], received, "hazy")
        restore = functools.partial(restore_pixels, forward, white=white)
        functions[f"restore_{name}"] = _compiled(restore, batch)
        if not has_view and _has_squeeze_excite(generator):
            collected = functools.partial(collect, restore)
            functions[f"restore_given_{name}"] = _compiled(functools.partial(with_averages, restore), batch, averages)
            functions[f"collect_{name}"] = _compiled(collected, batch, core)
            functions[f"collect_given_{name}"] = _compiled(collected, batch, core, averages)
    if has_view:
        maps = keras.Model(generator.input, generator.get_layer("maps").output)
        size = generator.get_layer("view").size
        view = tf.TensorSpec([1, size, size, 3], tf.float32, "view")
        functions["maps"] = _compiled(_forward(maps, values), view)
    return functions


def _has_squeeze_excite(generator):
    return any("/gate/" in variable.path for variable in generator.variables)


def _compiled(function, *signature):
    return tf.function(function, input_signature=signature, autograph=False)


def _forward(model, values):
    """The forward pass of a model with `values`, {path: variable}; with its own variables if `values` is None."""
    if values is None:
        return functools.partial(model, training=False)

    def forward(x):
        weights = [values[variable.path].read_value() for variable in model.trainable_variables]
        return model.stateless_call(weights, [], x, training=False)[0]

    return forward
