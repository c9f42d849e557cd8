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
        """Args:
        generator: As `build_generator` makes it.
        device: See above.
        copy: Take a copy of the weights to the device, as they are now. Without it they are used where they are.
        """
        self.device = device
        self._generator = generator
        self._copies = None
        if copy:
            with tf.device(device):
                sides = (generator.trainable_variables, generator.non_trainable_variables)
                self._copies = [[tf.Variable(v) for v in side] for side in sides]
        pictures, vector = tf.TensorSpec([None, None, None, 3], tf.float32), tf.TensorSpec([None], tf.float32)
        white, core = tf.TensorSpec([], tf.float32), tf.TensorSpec([4], tf.int32)
        self._restore = _compiled(self._restored, [pictures, white])
        self._restore_given = _compiled(self._restored, [pictures, white, vector])
        self._collect = _compiled(self._collected, [pictures, white, core])
        self._collect_given = _compiled(self._collected, [pictures, white, core, vector])

    def restore(self, batch, means=None) -> np.ndarray:
        """Restores a batch.

        Args:
            batch: uint8 or uint16 [B, H, W, 3].
            means: What the network is to take for the means over all pixels, as `collect` returns them; None: the
                true ones.

        Returns:
            float32 [B, H, W, 3] in [0, 255] or [0, 65535], not rounded.
        """
        with tf.device(self.device):
            if means is None:
                return self._restore(*_given(batch)).numpy()
            return self._restore_given(*_given(batch), means).numpy()

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
        with tf.device(self.device):
            if means is None:
                return self._collect(*_given(picture[None]), core).numpy()
            return self._collect_given(*_given(picture[None]), core, means).numpy()

    def _restored(self, batch, white, means=None):
        with pooled_by(None if means is None else Given(means)):
            return in_range(self._output(normalise(batch, white=white)), white=white)

    def _collected(self, batch, white, core, means=None):
        source = Collected(tf.shape(batch)[1], core, None if means is None else Given(means))
        with pooled_by(source):
            self._output(normalise(batch, white=white))
        return source.means()

    def _output(self, hazy):
        if self._copies is None:
            return self._generator(hazy, training=False)
        values = [[v.read_value() for v in side] for side in self._copies]
        return self._generator.stateless_call(*values, hazy, training=False)[0]


def _compiled(function, signature):
    return tf.function(function, input_signature=signature, autograph=False)


def _given(batch):
    # As float32: few operations on a GPU know uint16.
    return batch.astype(np.float32), np.float32(np.iinfo(batch.dtype).max)
