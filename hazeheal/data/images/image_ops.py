"""Operations on decoded images in NumPy: a common crop, and the peak signal-to-noise ratio."""

import numpy as np

from hazeheal.errors import UsageError

_BLOCK = 1 << 15  # Values at a time: they stay in the cache, and a uint32 holds the sum of their squares.


def center_crop(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crops the centers of two images `[H, W, C]` to their common size, without copying them."""
    height, width = (min(a.shape[axis], b.shape[axis]) for axis in (0, 1))

    def crop(image):
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return image[top : top + height, left : left + width]

    return crop(a), crop(b)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the PSNR of two uint8 images of one shape, 20 log10 255 - 10 log10 MSE in dB; inf if they are equal.

    Raises:
        UsageError: The images are not of this kind.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape != b.shape or a.size == 0:
        kinds = f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
        raise UsageError(f"psnr needs two uint8 images of the same size, not {kinds}")
    a, b, total = a.reshape(-1), b.reshape(-1), 0
    for start in range(0, a.size, _BLOCK):
        one, other = a[start : start + _BLOCK], b[start : start + _BLOCK]
        difference = (np.maximum(one, other) - np.minimum(one, other)).astype(np.uint32)
        # einsum, because the threads of np.dot wait for those of other processes.
        total += int(np.einsum("i,i->", difference, difference))
    return float("inf") if total == 0 else float(20 * np.log10(255) - 10 * np.log10(total / a.size))
