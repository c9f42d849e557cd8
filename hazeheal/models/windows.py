"""A large image in windows, for a generator with a view (`models.view`): first its view, then its maps on each window.

    view = WindowedView(height, width, size=256)
    for top, left, window in windows:
        view.add(window, top, left)                               # [h, w, 3], white is 1
    maps = network.maps(2 * view.filled() - 1)                    # [S, S, C]
    for top, left, window in windows:
        restored = apply_maps([maps], window, top, left, height, width)

Such a generator computes its maps from the whole image at a fixed size, and applies them pixel by pixel. So windows give
what the whole image gives, up to the rounding of float32, and a device only holds a few million pixels at once.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from hazeheal.models.view import apply_parts
from hazeheal.utils.slices import slices

BLOCK = 1 << 20  # pixels that a device works on at once


class WindowedView:
    """The mean color of the valid pixels around each pixel of a reduced image, as `view.View` weights them."""

    def __init__(self, height: int, width: int, *, size: int, device: str | None = None) -> None:
        """Starts a view of `size` x `size` pixels of an image; `device` adds up the windows."""
        self._down, self._across = resampling(size, height), resampling(size, width)
        self._device = device
        self._sum = np.zeros((size, size, 4), np.float32)

    def add(self, pixels: np.ndarray, top: int, left: int, *, valid: np.ndarray | None = None) -> None:
        """Adds a window.

        Args:
            pixels: `[h, w, 3]`, uint8 or uint16, or float with 1 for white.
            top, left: Position of the window in the image.
            valid: `[h, w]` bool, or None if all pixels are valid.
        """
        white, width = _white(pixels.dtype), pixels.shape[1]
        across, columns = _nonzero(self._across[:, left : left + width])
        for rows in slices(pixels.shape[0], max(1, BLOCK // width)):
            down, places = _nonzero(self._down[:, top + rows.start : top + rows.stop])
            part, block = self._sum[places, columns], pixels[rows]
            block = block if block.dtype == np.uint8 else block.astype(np.float32)
            with tf.device(self._device):
                if valid is None:
                    part[..., 3] += np.outer(down.sum(1), across.sum(1))
                else:
                    share = valid[rows, :, np.newaxis].astype(np.float32)
                    part[..., 3:] += _reduced(down, across, share).numpy()
                    block = np.where(share, block, np.zeros_like(block))
                part[..., :3] += _reduced(down, across, block).numpy() / white

    def filled(self) -> np.ndarray:
        """Returns the view, `[size, size, 3]` float32 in [0, 1]. Where no pixel is valid it has the nearest color that is."""
        weights = self._sum[..., 3:]
        # A share of valid pixels so small that its mean is mostly rounding counts as none.
        empty = weights[..., 0] < 1e-3
        if empty.all():
            return np.zeros_like(self._sum[..., :3])
        view = self._sum[..., :3] / np.maximum(weights, 1e-3)
        if empty.any():
            from scipy import ndimage  # loads slowly, and few images need it

            nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
            view = view[tuple(nearest)]
        return view


def view_of(image: np.ndarray, *, size: int, device: str | None = None) -> np.ndarray:
    """Returns the view of an image `[H, W, 3]`, uint8 or uint16: `[size, size, 3]` float32 in [-1, 1]."""
    view = WindowedView(*image.shape[:2], size=size, device=device)
    view.add(image, 0, 0)
    return 2 * view.filled() - 1


def apply_maps(
    maps: Sequence[np.ndarray],
    pixels: np.ndarray,
    top: int,
    left: int,
    height: int,
    width: int,
    *,
    device: str | None = None,
) -> np.ndarray:
    """Restores a window.

    Args:
        maps: `[S, S, C]` each, float32. The result is the mean of what they give.
        pixels: `[h, w, 3]`, uint8 or uint16, or float with 1 for white.
        top, left: Position of the window in the image.
        height, width: Size of the image.
        device: Computes it.

    Returns:
        `[h, w, 3]`: integers of the same type, or float32 in [0, 1].
    """
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32, copy=False)
    restored, place = np.empty_like(pixels), (top, left, height, width)
    for rows, values in _blocks(maps, pixels, place, device=device):
        restored[rows] = np.rint(values) if pixels.dtype == np.uint16 else values
    return restored


def signed_blocks(
    maps: np.ndarray, image: np.ndarray, *, pixels: int | None = None, device: str | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Restores a whole image `[H, W, 3]` block by block, for losses.

    Args:
        maps: `[S, S, C]` float32.
        image: uint8 or uint16.
        pixels: Largest number of pixels in a block of several rows; None: `BLOCK`.
        device: Computes it.

    Yields:
        (rows, restored): restored is float32 `[len(rows), W, 3]`, white is 1 and black -1, not clipped.
    """
    place = (0, 0, *image.shape[:2])
    yield from _blocks([maps], image, place, signed=True, device=device, most=pixels)


def _blocks(maps, pixels, place, *, signed=False, device=None, most=None):
    """Yields (rows, result) for blocks of rows of a window."""
    top, *others = place
    dtype = "uint8" if pixels.dtype == np.uint8 else "float32"  # few GPU operations support uint16
    apply = _function(maps[0].shape[2], dtype, signed=signed)
    with tf.device(device):
        # tf.stack would convert NumPy arrays element by element.
        maps, white = tf.stack([*map(tf.convert_to_tensor, maps)]), tf.constant(_white(pixels.dtype), tf.float32)
    for rows in slices(pixels.shape[0], max(1, (most or BLOCK) // pixels.shape[1])):
        with tf.device(device):
            block = tf.convert_to_tensor(pixels[rows].astype(dtype, copy=False))
            yield rows, apply(maps, block, tf.constant([top + rows.start, *others], tf.float32), white).numpy()


@functools.cache
def _function(channels, dtype, *, signed):
    """Returns the function of `_blocks`, which is traced once for images of all sizes."""

    def apply(maps, block, place, white):
        top, left, height, width = tf.unstack(place)
        rows, columns = (tf.range(tf.shape(block)[axis], dtype=tf.float32) for axis in (0, 1))
        maps = _enlarged(_enlarged(maps, rows + top, height, axis=1), columns + left, width, axis=2)
        hazy = tf.cast(block, tf.float32) / (white / 2) - 1
        restored = apply_parts(tf.split(maps, channels // 3, axis=-1), hazy)
        if signed:
            return restored[0]
        restored = tf.reduce_mean(tf.clip_by_value((restored + 1) * (white / 2), 0, white), 0)
        return tf.cast(tf.round(restored), dtype) if dtype == "uint8" else restored

    shapes = {"maps": [None, None, None, channels], "place": [4], "white": []}
    maps, place, white = (tf.TensorSpec(shape, tf.float32, name) for name, shape in shapes.items())
    signature = [maps, tf.TensorSpec([None, None, 3], dtype, "block"), place, white]
    return tf.function(apply, input_signature=signature, autograph=False)


def _enlarged(maps, positions, side, *, axis):
    """Enlarges maps along one axis to `side` pixels, bilinearly, and returns the pixels at `positions`."""
    size = tf.shape(maps)[axis]
    last = tf.cast(size - 1, tf.float32)
    centers = tf.clip_by_value((positions + 0.5) * ((last + 1) / side) - 0.5, 0, last)
    low = tf.cast(centers, tf.int32)
    share = tf.reshape(centers - tf.cast(low, tf.float32), [-1, *[1] * (3 - axis)])
    first = tf.gather(maps, low, axis=axis)
    return first + share * (tf.gather(maps, tf.minimum(low + 1, size - 1), axis=axis) - first)


@functools.partial(tf.function, autograph=False, reduce_retracing=True)
def _reduced(down, across, pixels):
    """Reduces pixels `[h, w, C]` to `[h', w', C]` by the matrices of both sides."""
    height, width, channels = tf.unstack(tf.shape(pixels))
    x = tf.matmul(down, tf.reshape(tf.cast(pixels, tf.float32), [height, width * channels]))
    return tf.einsum("jw,iwc->ijc", across, tf.reshape(x, [-1, width, channels]))


def resampling(outputs: int, inputs: int) -> np.ndarray:
    """Returns the matrix `[outputs, inputs]` of `view.resampling`, computed on the host."""
    ratio = np.float32(inputs) / np.float32(outputs)
    width = np.maximum(ratio, np.float32(1))
    centers = ((np.arange(outputs, dtype=np.float32) + 0.5) * ratio - 0.5)[:, None]
    matrix = np.maximum(np.float32(0), 1 - np.abs(np.arange(inputs, dtype=np.float32) - centers) / width)
    # The sum of each row: only the inputs near the center have a weight.
    nearby = np.floor(centers) + np.arange(-np.ceil(width), np.ceil(width) + 2, dtype=np.float32)
    inside = (nearby >= 0) & (nearby < inputs)
    total = (np.maximum(0, 1 - np.abs(nearby - centers) / width) * inside).sum(1, keepdims=True)
    return matrix / total


def _nonzero(matrix):
    """Returns the rows of a matrix that are not all zero, which are consecutive, and their slice."""
    rows = np.flatnonzero(matrix.any(axis=1))
    rows = slice(rows[0], rows[-1] + 1)
    return matrix[rows], rows


def _white(dtype):
    return np.iinfo(dtype).max if dtype.kind == "u" else 1
