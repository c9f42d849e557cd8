"""One generator on one device: its compiled functions, from whole numbers to whole numbers' floats."""

import keras
import numpy as np
import tensorflow as tf

from hazeheal.models.global_means import Collected, Given, pooled_by
from hazeheal.models.pixels import normalize, restore_pixels

# {type of the images: (type they are handed over in, white)}. Few operations on a GPU know uint16.
KINDS = {"uint8": ("uint8", 255), "uint16": ("float32", 65535)}


class Network:
    """A generator's functions on one device.

    Attributes:
        device: Its name, such as `GPU:0`, or None: where TensorFlow puts it.
    """

    def __init__(self, functions, *, device=None):
        """Args: `functions` as `make_functions` returns them, or those of an export (`exported`)."""
        self.device = device
        self._functions = functions

    def restore(self, batch, means=None) -> np.ndarray:
        """Restores a batch.

        Args:
            batch: uint8 or uint16 [B, H, W, 3].
            means: What the network is to take for the means over all pixels, as `collect` returns them; None: the
                true ones.

        Returns:
            float32 [B, H, W, 3] in [0, 255] or [0, 65535], not rounded.
        """
        if means is None:
            return self._call("restore", batch)
        return self._call("restore_given", batch, means)

    def collect(self, image, core, means=None) -> np.ndarray:
        """Looks at the means over a part of an image that the network takes over all pixels.

        Args:
            image: uint8 or uint16 [H, W, 3]; H and W multiples of 2^depth.
            core: ((top, bottom), (left, right)) of the part, multiples of 2^depth.
            means: As for `restore`.

        Returns:
            float32 [N]; empty for a network that takes none.
        """
        core = np.asarray(core, np.int32).reshape(4)
        if means is None:
            return self._call("collect", image[None], core)
        return self._call("collect_given", image[None], core, means)

    def maps(self, view) -> np.ndarray:
        """What a generator with a view lays on an image, before it is enlarged.

        Args:
            view: float32 [1, S, S, 3] in [-1, 1], S its view_size.

        Returns:
            float32 [S, S, 3], to be added; or [S, S, 6], K and B.
        """
        with tf.device(self.device):
            return self._functions["maps"](tf.convert_to_tensor(view)).numpy()[0]

    def _call(self, name, batch, *arguments):
        handed, _ = KINDS[batch.dtype.name]
        function = self._functions[f"{name}_{batch.dtype.name}"]
        with tf.device(self.device):
            given = [tf.convert_to_tensor(x) for x in (batch.astype(handed, copy=False), *arguments)]
            return function(*given).numpy()


def make_functions(generator, *, device=None, copy=False) -> dict:
    """The functions of a generator, to be compiled at their first calls.

    Args:
        generator: As `build_generator` makes it.
        device: Where the copy goes.
        copy: Take a copy of the weights to the device, as they are now. Without it they are used where they
            are, also when they change.

    Returns:
        {name: tf.function}: `restore`, `restore_given`, `collect` and `collect_given`, each with `_uint8` and
        `_uint16` behind it; of a generator with a view also `maps`. White is a constant of each, so that the
        arithmetic is that of validation to the bit.
    """
    values = _values_of(generator, device=device, copy=copy)
    output = _output_of(generator, values)

    def restored(white, batch, means=None):
        with pooled_by(None if means is None else Given(means)):
            return restore_pixels(output, batch, white=white)

    def collected(white, batch, core, means=None):
        source = Collected(tf.shape(batch)[1], core, None if means is None else Given(means))
        with pooled_by(source):
            output(normalize(batch, white=white))
        return source.means()

    means, core = tf.TensorSpec([None], tf.float32, "means"), tf.TensorSpec([4], tf.int32, "core")
    kinds = {
        "restore": (restored,),
        "restore_given": (restored, means),
        "collect": (collected, core),
        "collect_given": (collected, core, means),
    }
    functions = {
        f"{name}_{kind}": _compiled(
            function, white, tf.TensorSpec([None, None, None, 3], handed, "hazy"), *others
        )
        for name, (function, *others) in kinds.items()
        for kind, (handed, white) in KINDS.items()
    }
    if "maps" in [layer.name for layer in generator.layers]:
        maps = keras.Model(generator.input, generator.get_layer("maps").output)
        size = generator.get_layer("view").size
        functions["maps"] = tf.function(
            _output_of(maps, values),
            input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32, "view")],
            autograph=False,
        )
    return functions


def _values_of(generator, *, device, copy):
    """{path: variable on the device} of all variables, copied; None: the generator's own."""
    if not copy:
        return None
    with tf.device(device):
        return {v.path: tf.Variable(tf.convert_to_tensor(v)) for v in generator.variables}


def _output_of(model, values):
    """The function of a model, by `values` in place of its own."""
    if values is None:
        return lambda x: model(x, training=False)

    def output(x):
        sides = (model.trainable_variables, model.non_trainable_variables)
        given = [[values[v.path].read_value() for v in side] for side in sides]
        return model.stateless_call(*given, x, training=False)[0]

    return output


def _compiled(function, white, *signature):
    return tf.function(lambda *given: function(white, *given), input_signature=signature, autograph=False)
