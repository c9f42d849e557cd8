"""The dark channel prior, dehazing without learning: a baseline for every network.

He, Sun, Tang, "Single Image Haze Removal Using Dark Channel Prior" (CVPR 2009, TPAMI 2011). The guided filter of "Guided
Image Filtering" (ECCV 2010, TPAMI 2013) replaces the soft matting. In a clear outdoor image almost every small patch is
nearly black in some channel. What is not black there is attributed to haze:

    I = J t + A (1 - t)   =>   t = 1 - omega min_patch min_channel I / A,   J = (I - A) / max(t, t0) + A

Pixel values are float64 in [0, 1] in this module. All computations use NumPy.
"""

import numpy as np

PATCH = 15  # side of the patches in pixels
OMEGA = 0.95  # share of the haze to remove
T_MIN = 0.1
BRIGHTEST = 0.001  # share of the pixels with the highest dark channel, candidates for the atmospheric light
RADIUS = 60  # of the guided filter, in pixels
EPS = 1e-4


def restore(image: np.ndarray, *, omega: float = OMEGA) -> np.ndarray:
    """Removes haze from one image.

    Args:
        image: uint8 `[H, W, 3]` RGB of any size.
        omega: Share of the haze to remove, in [0, 1].

    Returns:
        uint8 `[H, W, 3]` RGB.
    """
    hazy = np.asarray(image) / 255.0
    light = atmospheric_light(hazy, dark_channel(hazy))
    t = 1.0 - omega * dark_channel(hazy / light)
    t = np.maximum(guided_filter(hazy, t, radius=RADIUS, eps=EPS), T_MIN)
    clear = (hazy - light) / t[..., None] + light
    return np.round(255.0 * np.clip(clear, 0.0, 1.0)).astype(np.uint8)


def dark_channel(image: np.ndarray) -> np.ndarray:
    """Returns the minimum of `[H, W, 3]` over channels and the patch around each pixel, which is clipped at the border."""
    from scipy import ndimage  # here, because `--help` should not wait for it

    return ndimage.minimum_filter(image.min(axis=2), size=PATCH, mode="constant", cval=np.inf)


def atmospheric_light(image: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Estimates the color of the haze: the brightest of the 0.1 % (at least one) pixels with the highest dark channel.

    Returns:
        float `[3]`, at least 1/255, so that it can be a divisor.
    """
    count = max(1, int(dark.size * BRIGHTEST))
    candidates = np.argpartition(dark, dark.size - count, axis=None)[-count:]
    colors = image.reshape(-1, 3)[candidates]
    return np.maximum(colors[np.argmax(colors.sum(axis=1))], 1 / 255)


def guided_filter(guide: np.ndarray, x: np.ndarray, *, radius: int, eps: float) -> np.ndarray:
    """Smooths `x` except at edges of the guide: in each window the result is a linear function of the guide's color.

    Equations 14 to 16 of He, Sun, Tang 2013 (color guide).

    Args:
        guide: float `[H, W, 3]` in [0, 1].
        x: float `[H, W]`.
        radius: Windows are squares of 2 radius + 1 pixels, clipped at the border.
        eps: Variance of the guide below which a window counts as flat.

    Returns:
        float `[H, W]`.
    """
    mean_guide, mean_x = box_mean(guide, radius), box_mean(x, radius)
    cross = box_mean(guide * x[..., None], radius) - mean_guide * mean_x[..., None]
    covariance = np.empty((*x.shape, 3, 3))
    for i in range(3):
        product = box_mean(guide * guide[..., i, None], radius)
        covariance[..., i] = product - mean_guide * mean_guide[..., i, None]
        covariance[..., i, i] += eps
    slope = np.linalg.solve(covariance, cross[..., None])[..., 0]
    offset = mean_x - (slope * mean_guide).sum(axis=-1)
    return box_mean(offset, radius) + (box_mean(slope, radius) * guide).sum(axis=-1)


def box_mean(x: np.ndarray, radius: int) -> np.ndarray:
    """Returns the mean of float `[H, W, ...]` over the square of 2 radius + 1 pixels around each pixel, clipped at the border."""
    from scipy import ndimage

    side, others = 2 * radius + 1, (1,) * (x.ndim - 2)
    sums = ndimage.uniform_filter(x, (side, side, *others), mode="constant")
    inside = ndimage.uniform_filter(np.ones(x.shape[:2]), side, mode="constant")
    return sums / inside.reshape(*inside.shape, *others)
