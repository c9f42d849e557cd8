"""Where each variable of a network lies in one flat vector.

A training keeps all parameters of a network in one float32 vector, and so Adam's slots, the moving average and the
gradient. The update is then a few operations on vectors, however many layers the network has, and replicas exchange one
vector. Files still hold one array for each variable.

A vector is stored as rows of 64 values. Each large variable starts with a row, so that TensorFlow splits the vector
without copying (its SplitV shares the buffer where rows are aligned) and XLA takes the parts as they are (it needs inputs
at multiples of 128 bytes, also in 16 bits). The small variables follow without gaps and are one part, which the compiled
function splits: it converts many of them at once. Padding stays zero, because its gradient is zero.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

ROW = 64
SMALL = 2**16  # variables of fewer values are split within the compiled function


class Layout:
    """The names, shapes and positions of variables in a flat vector, in the order of the network.

    Attributes:
        names: The variables' names.
        shapes: Their shapes.
        rows: Number of rows of the vector, which is `[rows, ROW]` float32.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], *, outputs_first: bool = False):
        """Sets the positions.

        Args:
            shapes: {name: shape} of the variables.
            outputs_first: Whether kernels are stored with their last axis, the output channels, first. cuDNN takes
                kernels in this order; from TensorFlow's order each kernel and each gradient would be transposed in
                every step.
        """
        self.names = tuple(shapes)
        self.shapes = tuple(tuple(shape) for shape in shapes.values())
        self._sizes = [math.prod(shape) for shape in self.shapes]
        self._outputs_first = outputs_first
        # The variables' numbers in the order in which they are stored.
        numbers = range(len(self.names))
        self._large = [i for i in numbers if self._sizes[i] >= SMALL]
        self._small = [i for i in numbers if self._sizes[i] < SMALL]
        num_small = sum(self._sizes[i] for i in self._small)
        self._part_rows = [-(-self._sizes[i] // ROW) for i in self._large] + [-(-num_small // ROW)]
        self.rows = sum(self._part_rows)

    def split(self, vector: tf.Tensor) -> list[tf.Tensor]:
        """Returns the parts of a vector, `[n, ROW]`: one for each large variable, and one for all small ones."""
        return tf.split(vector, self._part_rows)

    def unpack(self, parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the variables, each of its own shape, from the parts that `split` returns."""
        if not self.names:
            return []
        *large, small = [tf.reshape(part, [-1]) for part in parts]
        flat = {i: part[: self._sizes[i]] for i, part in zip(self._large, large, strict=True)}
        sizes = [self._sizes[i] for i in self._small]
        flat |= dict(zip(self._small, tf.split(small[: sum(sizes)], sizes) if sizes else [], strict=True))
        return [self._shaped(flat[i], shape, tf) for i, shape in enumerate(self.shapes)]

    def pack(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the parts of a vector, `[n, ROW]`, that hold tensors of the variables' shapes."""
        large = [self._to_rows([tensors[i]]) for i in self._large]
        return [*large, self._to_rows([tensors[i] for i in self._small])]

    def to_vector(self, values: Mapping[str, np.ndarray], *, prefix: str = "") -> np.ndarray:
        """Returns the arrays under `prefix + name`, which must have the right shapes, as a vector."""
        vector = np.zeros((self.rows, ROW), np.float32)
        for name, part in self._parts(vector):
            array = self._stored(values[prefix + name], np.transpose)
            part[:] = array.ravel()
        return vector

    def to_arrays(self, vector: np.ndarray, *, prefix: str = "") -> dict[str, np.ndarray]:
        """Returns {prefix + name: array} of the variables in a vector."""
        shapes = dict(zip(self.names, self.shapes, strict=True))
        return {
            prefix + name: np.asarray(self._shaped(part, shapes[name], np), order="C")
            for name, part in self._parts(vector)
        }

    def _parts(self, vector):
        """Yields the name and the values, as a flat view, of each variable."""
        flat, end = vector.reshape(-1), 0
        for i in self._large:
            yield self.names[i], flat[end : end + self._sizes[i]]
            end += -(-self._sizes[i] // ROW) * ROW
        for i in self._small:
            yield self.names[i], flat[end : end + self._sizes[i]]
            end += self._sizes[i]

    def _to_rows(self, tensors):
        flat = [tf.reshape(self._stored(tensor, tf.transpose), [-1]) for tensor in tensors]
        padding = -sum(x.shape[0] for x in flat) % ROW
        flat += [tf.zeros([padding])] if padding or not flat else []
        return tf.reshape(flat[0] if len(flat) == 1 else tf.concat(flat, 0), [-1, ROW])

    def _shaped(self, flat, shape, library):
        """A flat tensor or array in the shape of its variable; `library` is `tf` or `np`."""
        if not self._outputs_first or len(shape) < 2:
            return library.reshape(flat, shape)
        return outputs_last(library.reshape(flat, (shape[-1], *shape[:-1])), library.transpose)

    def _stored(self, value, transpose):
        return outputs_first(value, transpose) if self._outputs_first and len(value.shape) > 1 else value


def outputs_first(kernel: tf.Tensor, transpose: Callable = tf.transpose) -> tf.Tensor:
    """Moves the last axis of a kernel to the front. Pass `transpose=np.transpose` for an array."""
    rank = len(kernel.shape)
    return transpose(kernel, [rank - 1, *range(rank - 1)])


def outputs_last(kernel: tf.Tensor, transpose: Callable = tf.transpose) -> tf.Tensor:
    """The inverse of `outputs_first`."""
    rank = len(kernel.shape)
    return transpose(kernel, [*range(1, rank), 0])
