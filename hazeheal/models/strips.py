"""Restores a large image with a generator that has a view, strip by strip on the host.

The network gets only the reduced view (`models.view`), so it needs no tiles. Reducing the image to the view and
applying the enlarged maps to its pixels are the operations whose memory grows with the image. Both run here in NumPy
on strips of rows. The result is that of the generator on the whole image, up to the rounding of float32.
"""

from collections.abc import Callable, Iterator

import numpy as np

STRIP = 1 << 20  # pixels in a strip
BLOCK = 1 << 13  # columns that are reduced at once


def restored_strips(
    maps: Callable[[np.ndarray], np.ndarray], image: np.ndarray, *, view_size: int, pixels: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Restores one image strip by strip.

    Args:
        maps: From a view, `[1, S, S, 3]` float32 in [-1, 1], to the maps that the generator applies, `[S, S, C]`.
        image: `[H, W, 3]`, uint8 or uint16.
        view_size: The `view_size` of the generator, S.
        pixels: The largest number of pixels in a strip of several rows; None: `STRIP`.

    Yields:
        (rows, restored): restored is float32 `[len(rows), W, 3]`, white is 1 and black -1, not clipped. The strips have
        about the same number of rows.
    """
    white, (height, width) = np.iinfo(image.dtype).max, image.shape[:2]
    found = maps(_normalized(_view(image, view_size), white)[None])
    for rows in _slices(height, max(1, (pixels or STRIP) // width)):
        positions = np.arange(height, dtype=np.float32)[rows]
        strip = _enlarged(_enlarged(found, positions, height, axis=0), np.arange(width), width, axis=1)
        hazy = _normalized(image[rows], white)
        # The same as `models.view.ApplyMaps`.
        yield rows, hazy + (strip if strip.shape[2] == 3 else strip[..., :3] * hazy - strip[..., 3:])


def _view(image, view_size):
    """The image as `[view_size, view_size, 3]` float32 in [0, white], as `models.view.View` reduces it."""
    height, width = image.shape[:2]
    down, across = resampling(view_size, height), resampling(view_size, width)
    view = np.zeros((view_size, view_size, 3), np.float32)
    for columns in _slices(width, BLOCK):
        reduced = np.zeros((view_size, columns.stop - columns.start, 3), np.float32)
        for rows in _slices(height, max(1, STRIP // reduced.shape[1])):
            reduced += np.tensordot(down[:, rows], image[rows, columns].astype(np.float32), axes=1)
        view += across[:, columns] @ reduced
    return view


def resampling(outputs: int, inputs: int) -> np.ndarray:
    """Returns the matrix `[outputs, inputs]` of `models.view.resampling`, computed on the host."""
    ratio = np.float32(inputs) / np.float32(outputs)
    width = np.maximum(ratio, np.float32(1))
    centers = ((np.arange(outputs, dtype=np.float32) + 0.5) * ratio - 0.5)[:, None]
    matrix = np.maximum(np.float32(0), 1 - np.abs(np.arange(inputs, dtype=np.float32) - centers) / width)
    # The sum of each row: only the inputs near the center have a weight.
    nearby = np.floor(centers) + np.arange(-np.ceil(width), np.ceil(width) + 2, dtype=np.float32)
    inside = (nearby >= 0) & (nearby < inputs)
    total = (np.maximum(0, 1 - np.abs(nearby - centers) / width) * inside).sum(1, keepdims=True)
    return matrix / total


def _enlarged(maps, positions, side, *, axis):
    """Enlarges maps along one axis to `side` pixels, bilinearly, and returns the pixels at `positions`."""
    size = maps.shape[axis]
    centers = np.clip((positions + np.float32(0.5)) * np.float32(size / side) - np.float32(0.5), 0, size - 1)
    low = centers.astype(np.int32)
    share = (centers - low).astype(np.float32).reshape([-1, 1, 1] if axis == 0 else [-1, 1])
    first = maps.take(low, axis=axis)
    return first + share * (maps.take(np.minimum(low + 1, size - 1), axis=axis) - first)


def _normalized(values, white):
    return values.astype(np.float32) / np.float32(white / 2) - 1


def _slices(length: int, most: int) -> Iterator[slice]:
    """Yields slices of at most `most` elements, all about as long, that together cover `length` elements."""
    count = -(-length // most)
    return (slice(i * length // count, (i + 1) * length // count) for i in range(count))
