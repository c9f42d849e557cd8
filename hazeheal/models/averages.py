"""Averages over the whole image inside the network, and how a tile gets those of the image that it was cut from.

Squeeze-excite averages its input over the image. A tile alone has other averages, and is restored differently from its
place in the whole image: by 4 to 6 of 255 on average, by up to 48 (docs/inference.md). Within `averages_from(source)` the
layers use what `source` returns. It is entered while a function is traced and becomes part of that function; training
never enters it.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator

import tensorflow as tf

_source = contextvars.ContextVar("source of averages", default=None)


@contextlib.contextmanager
def averages_from(source: Callable[[tf.Tensor], tf.Tensor] | None) -> Iterator[None]:
    """Within the block, `spatial_mean(x)` returns `source(x)`; None: the true averages."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def spatial_mean(x: tf.Tensor) -> tf.Tensor:
    """Returns the average of float32 `[B, H, W, C]` over H and W, as `[B, 1, 1, C]` or `[1, 1, 1, C]`."""
    source = _source.get()
    return tf.reduce_mean(x, axis=[1, 2], keepdims=True) if source is None else source(x)


class Given:
    """Returns averages that are known: float32 `[N]`, in the order in which the network asks for them."""

    def __init__(self, values: tf.Tensor) -> None:
        self._values = values
        self._used = 0

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the next averages, of as many channels as `x` has."""
        start, self._used = self._used, self._used + math.prod(x.shape[3:])
        return tf.reshape(self._values[start : self._used], [1, 1, 1, *x.shape[3:]])


class Collected:
    """Returns what another source returns, and collects the averages over a part of the tile.

    `height` is that of the tile, int32: a tensor of the network with half of it has half the resolution. `core` is int32
    `[4]`: top, bottom, left and right of the part, multiples of the network's stride.
    """

    def __init__(self, height: tf.Tensor, core: tf.Tensor, source: Given | None = None) -> None:
        self._height = height
        self._core = core
        self._source = source
        self._collected = []

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the averages for `x` of a batch of 1."""
        top, bottom, left, right = tf.unstack(self._core // (self._height // tf.shape(x)[1]))
        part = x[:, top:bottom, left:right]
        self._collected.append(tf.reshape(tf.reduce_mean(part, axis=[1, 2]), [-1]))
        return tf.reduce_mean(x, axis=[1, 2], keepdims=True) if self._source is None else self._source(x)

    def values(self) -> tf.Tensor:
        """Returns the collected averages, float32 `[N]`, in the order in which the network asked for them."""
        return tf.concat(self._collected, axis=0)


def with_averages(function: Callable[[tf.Tensor], tf.Tensor], batch: tf.Tensor, averages: tf.Tensor) -> tf.Tensor:
    """Returns function(batch), a network's result, with given averages, float32 `[N]`, in place of its own."""
    with averages_from(Given(averages)):
        return function(batch)


def collect(
    function: Callable[[tf.Tensor], tf.Tensor], batch: tf.Tensor, core: tf.Tensor, averages: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the averages, float32 `[N]`, that a network takes over a part of an image, and not its result.

    Args:
        function: The network.
        batch: One image, `[1, H, W, 3]`, in the function's type; H and W are multiples of the network's stride.
        core: As for `Collected`.
        averages: If given, the network uses these in place of its own.
    """
    collected = Collected(tf.shape(batch)[1], core, None if averages is None else Given(averages))
    with averages_from(collected):
        function(batch)
    return collected.values()
