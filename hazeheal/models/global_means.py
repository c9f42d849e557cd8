"""Means over all pixels inside the network, and how a tile comes by those of the image that it was cut from.

Squeeze-excite looks at means over a whole image, so that a tile alone gives something else than its place in the
whole. Within `pooled_by(source)` its means are what `source` says instead. It is entered while a function is traced,
and becomes part of that function; training never does. The norms `instance` and `group` have none of this: their
means and variances follow from each other, layer upon layer, and a guess at all of them was further off than each
tile's own (docs/inference.md).
"""

import contextlib
import contextvars
import math

import tensorflow as tf

_source = contextvars.ContextVar("source of means", default=None)


@contextlib.contextmanager
def pooled_by(source):
    """Within it `source(x)` stands for the mean of x, float32 [B, H, W, ...], over H and W, as [B or 1, 1, 1, ...]."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def spatial_mean(x):
    """The mean of x, float32 [B, H, W, ...], over H and W, kept as sides of 1."""
    source = _source.get()
    return tf.reduce_mean(x, axis=[1, 2], keepdims=True) if source is None else source(x)


class Given:
    """A source of means that were found before.

    Args:
        means: float32 [N], all that the network asks for, in the order in which it asks (`Collected.means`).
    """

    def __init__(self, means):
        self._means = means
        self._taken = 0

    def __call__(self, x):
        shape = [1, 1, 1, *x.shape[3:]]
        start, self._taken = self._taken, self._taken + math.prod(shape)
        return tf.reshape(self._means[start : self._taken], shape)


class Collected:
    """A source that passes on what another says (None: the true means), and keeps the means over a part of the tile.

    Args:
        height: Of the tile, int32 []; a tensor of the network with half of it has half the resolution.
        core: int32 [4], top, bottom, left, right of the part, multiples of the strides of the network.
        source: Where the network's own means come from.
    """

    def __init__(self, height, core, source=None):
        self._height = height
        self._core = core
        self._source = source
        self._kept = []

    def __call__(self, x):
        top, bottom, left, right = tf.unstack(self._core // (self._height // tf.shape(x)[1]))
        part = x[:, top:bottom, left:right]
        self._kept.append(tf.reshape(tf.reduce_mean(part, axis=[1, 2]), [-1]))
        return tf.reduce_mean(x, axis=[1, 2], keepdims=True) if self._source is None else self._source(x)

    def means(self):
        """float32 [N]: the means over the part, in the order in which the network asked; of a batch of one."""
        return tf.concat(self._kept, axis=0) if self._kept else tf.zeros([0])
