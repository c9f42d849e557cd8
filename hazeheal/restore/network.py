"""One generator on one device: its compiled functions, from whole numbers to whole numbers' floats."""

import numpy as np
import tensorflow as tf

from hazeheal.models.pooling import Collected, Given, pooled_by
from hazeheal.models.values import in_range, normalise


class Network:
    """A generator's weights and functions on one device.

    Attributes:
        device: Its name, such as `GPU:0`, or None: where TensorFlow puts it.
    """

    def __init__(self, generator, *, device=None, copy=False):
        """Compiles nothing yet; each function does at its first call.

        Args:
            generator: As `build_generator` makes it.
            device: See above.
            copy: Take a copy of the weights to the device, as they are now. Without it they are used where they
                are, also when they change.
        """
        self.device = device
        self._generator = generator
        self._copies = None
        if copy:
            with tf.device(device):
                sides = (generator.trainable_variables, generator.non_trainable_variables)
                self._copies = [[tf.Variable(tf.convert_to_tensor(v)) for v in side] for side in sides]
        vector, core = tf.TensorSpec([None], tf.float32), tf.TensorSpec([4], tf.int32)
        self._restore = _compiled(self._restored)
        self._restore_given = _compiled(self._restored, vector)
        self._collect = _compiled(self._collected, core)
        self._collect_given = _compiled(self._collected, core, vector)

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
            return self._call(self._restore, batch)
        return self._call(self._restore_given, batch, means)

    def collect(self, picture, core, means=None) -> np.ndarray:
        """Looks at the means over a part of a picture that the network takes over all pixels.

        Args:
            picture: uint8 or uint16 [H, W, 3]; H and W multiples of 2^depth.
            core: ((top, bottom), (left, right)) of the part, multiples of 2^depth.
            means: As for `restore`.

        Returns:
            float32 [N]; empty for a network that takes none.
        """
        core = np.asarray(core, np.int32).reshape(4)
        if means is None:
            return self._call(self._collect, picture[None], core)
        return self._call(self._collect_given, picture[None], core, means)

    def _call(self, functions, batch, *arguments):
        kind, function = functions[batch.dtype.type]
        with tf.device(self.device):
            return function(batch.astype(kind, copy=False), *arguments).numpy()

    def _restored(self, white, batch, means=None):
        with pooled_by(None if means is None else Given(means)):
            return in_range(self._output(normalise(batch, white=white)), white=white)

    def _collected(self, white, batch, core, means=None):
        source = Collected(tf.shape(batch)[1], core, None if means is None else Given(means))
        with pooled_by(source):
            self._output(normalise(batch, white=white))
        return source.means()

    def _output(self, hazy):
        if self._copies is None:
            return self._generator(hazy, training=False)
        values = [[v.read_value() for v in side] for side in self._copies]
        return self._generator.stateless_call(*values, hazy, training=False)[0]


def _compiled(function, *others):
    """{type of the pictures: (type they are handed over in, function(pictures, ...) compiled)}.

    White is a constant, so that the arithmetic is that of validation to the bit. Few operations on a GPU know uint16.
    """

    def compiled(handed, white):
        signature = [tf.TensorSpec([None, None, None, 3], handed), *others]
        return tf.function(lambda *given: function(white, *given), input_signature=signature, autograph=False)

    return {
        np.uint8: (np.uint8, compiled(np.uint8, 255)),
        np.uint16: (np.float32, compiled(np.float32, 65535)),
    }
