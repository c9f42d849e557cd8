"""Operations on decoded images: a common size, and the peak signal-to-noise ratio."""

import numpy as np

from hazeheal.errors import UsageError

# A crop or a resize beyond these has another reason than a border or rounding: images that do not belong together, or of
# another resolution.
MAX_CROP = 0.10  # of a side
MAX_STRETCH = 0.02  # of the aspect ratio

_BLOCK = 1 << 15  # Values at a time: they stay in the cache, and a uint32 holds the sum of their squares.


def size_problem(hazy: tuple[int, int], clear: tuple[int, int], *, mode: str) -> str:
    """Returns why two images of these (height, width) cannot get a common size, or "".

    Args:
        hazy, clear: Sizes in pixels.
        mode: `center_crop` crops both to their common size; `resize` resizes the clear image. Any other mode does
            nothing.
    """
    if mode == "center_crop":
        crop = max(1 - min(a, b) / max(a, b) for a, b in zip(hazy, clear, strict=True))
        return f"center_crop would cut off {100 * crop:.0f} % of a side (at most 10 %)" if crop > MAX_CROP else ""
    if mode != "resize":
        return ""
    one, other = hazy[0] * clear[1], hazy[1] * clear[0]
    stretch = max(one, other) / min(one, other) - 1
    change = f"resize would change the aspect ratio by {100 * stretch:.0f} % (at most 2 %)"
    return change if stretch > MAX_STRETCH else ""


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
