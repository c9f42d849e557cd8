"""Weaker or stronger restoration: the change of each pixel, multiplied by a number."""

import numpy as np

LARGEST = 1.5


def blend(hazy: np.ndarray, restored: np.ndarray, strength: float) -> np.ndarray:
    """Returns hazy + strength (restored - hazy), rounded and clipped.

    Args:
        hazy, restored: Images of the same shape and type, uint8 or uint16.
        strength: 0 gives the hazy image, 1 the restored one, and above 1 more than it, up to `LARGEST`.
    """
    if strength == 1:
        return restored
    white, blended = np.iinfo(hazy.dtype).max, np.empty_like(hazy)
    for row, a, b in zip(blended, hazy, restored, strict=True):  # as float32 needs four times the memory
        a = a.astype(np.float32)
        row[:] = np.rint(np.clip(a + np.float32(strength) * (b - a), 0, white))
    return blended
