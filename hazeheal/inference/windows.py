"""A large image in windows: its view from those pixels that have data, and its maps on one window after another.

    view = MaskedView(height, width, size=256)
    for rows, columns in windows:
        view.add(pixels, valid, rows.start, columns.start)      # [h, w, 3] in [0, 1]
    maps = restorer.maps(2 * view.filled() - 1)
    for rows, columns in windows:
        restored = apply_maps(maps, pixels, rows, columns, height, width)

A generator with a view computes its maps from the whole image at a fixed size, and applies them pixel by pixel. So windows
give what the whole image gives, and only one is in memory.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from hazeheal.models.strips import resampling

_VIEW = 256  # of `fill_invalid`


class MaskedView:
    """The mean color of the valid pixels around each pixel of a reduced image, as `models.view.View` weights them."""

    def __init__(self, height: int, width: int, *, size: int) -> None:
        """Starts a view of `size` x `size` pixels of an image."""
        self._down, self._across = resampling(size, height), resampling(size, width)
        self._sum = np.zeros((size, size, 4), np.float32)

    def add(self, pixels: np.ndarray, valid: np.ndarray | None, top: int, left: int) -> None:
        """Adds a window.

        Args:
            pixels: `[h, w, 3]` float.
            valid: `[h, w]` bool, or None if all pixels are valid.
            top, left: Position of the window in the image.
        """
        height, width = pixels.shape[:2]
        window = np.ones((height, width, 4), np.float32)
        window[..., :3] = pixels
        if valid is not None:
            window = np.where(valid[..., None], window, 0)
        down, rows = _nonzero(self._down[:, top : top + height])
        across, columns = _nonzero(self._across[:, left : left + width])
        self._sum[rows, columns] += across @ np.tensordot(down, window, axes=1)

    def filled(self) -> np.ndarray:
        """Returns the view, `[size, size, 3]` float32. Where no pixel is valid it has the nearest color that is."""
        weights = self._sum[..., 3:]
        # A share of valid pixels so small that its mean is mostly rounding counts as none.
        empty = weights[..., 0] < 1e-3
        if empty.all():
            return np.zeros_like(self._sum[..., :3])
        view = self._sum[..., :3] / np.maximum(weights, 1e-3)
        if empty.any():
            nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
            view = view[tuple(nearest)]
        return view


def _nonzero(matrix):
    """Returns the rows of a matrix that are not all zero, which are consecutive, and their slice."""
    rows = np.flatnonzero(matrix.any(axis=1))
    rows = slice(rows[0], rows[-1] + 1)
    return matrix[rows], rows


def apply_maps(
    maps: Sequence[np.ndarray], pixels: np.ndarray, rows: slice, columns: slice, height: int, width: int
) -> np.ndarray:
    """Restores a window.

    Args:
        maps: Of `Restorer.maps`.
        pixels: `[h, w, 3]` float in [0, 1].
        rows, columns: The window in the image.
        height, width: Size of the image.

    Returns:
        `[h, w, 3]` float32 in [0, 1], not rounded.
    """
    hazy = 2 * pixels.astype(np.float32) - 1
    total = np.zeros_like(hazy)
    for part in maps:
        enlarged = _enlarged(_enlarged(part, rows, height, axis=0), columns, width, axis=1)
        # The same as `models.view.ApplyMaps`.
        value = hazy + (enlarged if enlarged.shape[2] == 3 else enlarged[..., :3] * hazy - enlarged[..., 3:])
        total += np.clip((value + 1) / 2, 0, 1)
    return total / len(maps)


def _enlarged(maps, positions, side, *, axis):
    """Enlarges maps along one axis to `side` pixels, bilinearly, and returns the pixels of a slice."""
    size = maps.shape[axis]
    positions = np.arange(positions.start, positions.stop, dtype=np.float32)
    centers = np.clip((positions + np.float32(0.5)) * np.float32(size / side) - np.float32(0.5), 0, size - 1)
    low = centers.astype(np.int32)
    share = (centers - low).astype(np.float32).reshape([-1, 1, 1] if axis == 0 else [-1, 1])
    first = maps.take(low, axis=axis)
    return first + share * (maps.take(np.minimum(low + 1, size - 1), axis=axis) - first)


def fill_invalid(image: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Returns an image `[H, W, 3]` whose invalid pixels continue the colors around them.

    A network would take a black or white border for a part of the scene. Returns the image itself if `valid` is None.
    """
    if valid is None:
        return image
    height, width = image.shape[:2]
    view = MaskedView(height, width, size=_VIEW)
    step = max(1, (1 << 20) // width)
    blocks = [slice(top, min(top + step, height)) for top in range(0, height, step)]
    for rows in blocks:
        view.add(image[rows], valid[rows], rows.start, 0)
    filled, colors = np.empty_like(image), view.filled()
    for rows in blocks:
        smooth = _enlarged(_enlarged(colors, rows, height, axis=0), slice(0, width), width, axis=1)
        filled[rows] = np.where(valid[rows][..., None], image[rows], np.rint(smooth).astype(image.dtype))
    return filled
