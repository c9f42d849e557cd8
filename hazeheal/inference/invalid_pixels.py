"""Pixels without data: the network gets the colors around them instead."""

import itertools

import numpy as np

from hazeheal.models.windows import WindowedView, apply_maps
from hazeheal.utils.slices import slices

_VIEW = 256
_PART = 512  # pixels a side that are filled at once


def fill_invalid(image: np.ndarray, valid: np.ndarray | None, *, seen: np.ndarray | None = None) -> np.ndarray:
    """Returns an image whose invalid pixels continue the colors around them.

    A network would take a black or white border for a part of the scene.

    Args:
        image: `[H, W, 3]`, uint8 or uint16.
        valid: `[H, W]` bool. If it is None, the result is the image itself.
        seen: `[H, W]` bool: the valid pixels whose colors are continued; None: all.
    """
    if valid is None:
        return image
    height, width = image.shape[:2]
    view = WindowedView(height, width, size=_VIEW)
    view.add(image, 0, 0, valid=valid if seen is None else seen)
    colors, filled = 2 * view.filled(), image.copy()
    for rows, columns in itertools.product(slices(height, _PART), slices(width, _PART)):
        missing = ~valid[rows, columns]
        if missing.any():
            # Maps are residuals: on black they give the colors themselves, enlarged.
            black = np.zeros_like(filled[rows, columns])
            smooth = apply_maps([colors], black, rows.start, columns.start, height, width)
            np.copyto(filled[rows, columns], smooth, where=missing[..., np.newaxis])
    return filled
