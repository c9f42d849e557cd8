"""Pixels without data: the network gets the colors around them instead."""

import numpy as np

from hazeheal.models.windows import BLOCK, WindowedView, apply_maps
from hazeheal.utils.slices import slices

_VIEW = 256


def fill_invalid(image: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Returns an image `[H, W, 3]` whose invalid pixels continue the colors around them.

    A network would take a black or white border for a part of the scene. Returns the image itself if `valid` is None.
    """
    if valid is None:
        return image
    height, width = image.shape[:2]
    view = WindowedView(height, width, size=_VIEW)
    view.add(image, 0, 0, valid=valid)
    colors, filled = 2 * view.filled(), image.copy()
    for rows in slices(height, max(1, BLOCK // width)):
        missing = ~valid[rows]
        # Maps are residuals: on black they give the colors themselves, enlarged.
        smooth = apply_maps([colors], np.zeros_like(filled[rows]), rows.start, 0, height, width)
        filled[rows][missing] = smooth[missing]
    return filled
