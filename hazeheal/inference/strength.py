"""Weaker or stronger restoration: the change of each pixel, multiplied by a number."""

import numpy as np

from hazeheal.utils.slices import slices

LARGEST = 1.5
_STRIP = 1 << 20  # pixels that are computed at once as floats


def blend(hazy: np.ndarray, restored: np.ndarray, strength: float) -> np.ndarray:
    """Returns hazy + strength (restored - hazy), clipped and rounded.

    Args:
        hazy, restored: `[H, W, 3]` of one shape and type, uint8 or uint16.
        strength: 0 gives the hazy image, 1 the restored one, and above 1 more than it, up to `LARGEST`.
    """
    if strength == 1:
        return restored
    result, white = np.empty_like(restored), np.iinfo(restored.dtype).max
    for part in slices(len(hazy), max(1, _STRIP // hazy.shape[1])):
        values = hazy[part].astype(np.float32)
        values += np.float32(strength) * (restored[part] - values)
        result[part] = np.rint(np.clip(values, 0, white))
    return result
