"""The decoded images of a split in one memory-mapped file, which all processes of a host share.

The file holds the pixels of each pair in the order of the index, hazy before clear, uint8 `[H, W, 3]` each. Sizes and
order are those of the index, so the file needs no header. Its name has the fingerprint of the split and the version of
TensorFlow, whose decoder made the pixels. `cache_builder` renames it into place when it is complete.
"""

import math
import pathlib
import sys
import threading

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline.cache_files import SUFFIX
from hazeheal.data.records import Split

SIDES = ("hazy", "clear")
_ALIGNMENT = 64  # bytes; TensorFlow copies arrays whose address is not a multiple of this


def cache_path(directory: pathlib.Path, split: Split) -> pathlib.Path:
    """Returns the path of a split's cache in a directory of caches."""
    data_set = split.shards[0].name.partition(".tfrecord")[0]
    return directory / f"{data_set}-{split.fingerprint[:16]}-tf{tf.__version__}{SUFFIX}"


def cache_bytes(split: Split) -> int:
    """Returns the size of a split's cache."""
    return int(2 * _image_bytes(split).sum())


def is_complete(path: pathlib.Path, split: Split) -> bool:
    """Returns whether the cache of a split exists."""
    try:
        return path.stat().st_size == cache_bytes(split)
    except OSError:
        return False


class PixelCache:
    """Cuts windows from the images of a complete cache."""

    def __init__(self, path: pathlib.Path, split: Split):
        """Maps the file into memory; raises OSError if it cannot be read."""
        sizes = _image_bytes(split)
        ends = np.cumsum(2 * sizes)
        self._pixels = np.asarray(np.memmap(path, np.uint8, mode="r"))  # slices of a memmap are slow
        self._starts = np.stack([ends - 2 * sizes, ends - sizes], axis=1)
        self._shapes = np.stack([split.index["height"], split.index["width"]], axis=1).astype(np.int64)

    def window(self, number: tf.Tensor, window: tf.Tensor, *, side: str) -> tf.Tensor:
        """Returns a window of one image in a graph.

        Args:
            number: The record, int64 scalar.
            window: int32 `[4]`: (y, x, rows, columns).
            side: One of `SIDES`.

        Returns:
            uint8 `[rows, columns, 3]`.
        """

        @tf.autograph.experimental.do_not_convert
        def cut(number, window):
            return np.ascontiguousarray(self._view(int(number), window.tolist(), side))

        return tf.ensure_shape(tf.numpy_function(cut, [number, window], tf.uint8, stateful=False), [None, None, 3])

    def crops(self, numbers: tf.Tensor, windows: tf.Tensor, *, crop_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns a crop of each of several pairs in a graph.

        Args:
            numbers: The records, int64 `[B]` of known shape.
            windows: int32 `[B, 4]`: (y, x, rows, columns), all S x S.
            crop_size: S.

        Returns:
            (hazy, clear), uint8 `[B, S, S, 3]`.
        """
        shape = [numbers.shape[0], crop_size, crop_size, 3]
        buffers = _Buffers([2, *shape])

        @tf.autograph.experimental.do_not_convert
        def cut(numbers, windows):
            crops = buffers.take()
            for place, (number, window) in enumerate(zip(numbers.tolist(), windows.tolist(), strict=True)):
                for side, name in enumerate(SIDES):
                    crops[side, place] = self._view(number, window, name)
            return list(crops)

        hazy, clear = tf.numpy_function(cut, [numbers, windows], [tf.uint8] * 2, stateful=False)
        return tf.ensure_shape(hazy, shape), tf.ensure_shape(clear, shape)

    def _view(self, number, window, side):
        height, width = self._shapes[number]
        start = self._starts[number, SIDES.index(side)]
        y, x, rows, columns = window
        image = self._pixels[start : start + 3 * height * width].reshape(height, width, 3)
        return image[y : y + rows, x : x + columns]


class _Buffers:
    """Arrays that are used again when TensorFlow has released them: filling new memory takes twice as long."""

    def __init__(self, shape):
        self._shape, self._size = shape, math.prod(shape)
        self._owners = []
        self._lock = threading.Lock()

    def take(self) -> np.ndarray:
        """Returns an uninitialized uint8 array that nothing refers to, and that TensorFlow takes over without a copy."""
        with self._lock:
            counts = _references(self._owners)
            if _UNUSED in counts:
                return self._array(self._owners[counts.index(_UNUSED)])
            self._owners.append(np.empty(self._size + _ALIGNMENT, np.uint8))
            return self._array(self._owners[-1])

    def _array(self, owner):
        start = -owner.ctypes.data % _ALIGNMENT
        return owner[start : start + self._size].reshape(self._shape)


def _references(arrays):
    # Each array that is in use refers to the owner of its memory.
    return [sys.getrefcount(array) for array in arrays]


_UNUSED = _references([np.empty(0)])[0]


def _image_bytes(split):
    """Bytes of one decoded image of each pair, int64 `[N]`."""
    return 3 * split.index["height"].astype(np.int64) * split.index["width"]
