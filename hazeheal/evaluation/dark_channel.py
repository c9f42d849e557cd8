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


def restore(
    image: np.ndarray,
    *,
    patch: int = PATCH,
    omega: float = OMEGA,
    t_min: float = T_MIN,
    radius: int = RADIUS,
    eps: float = EPS,
) -> np.ndarray:
    """Removes haze from one image.

    Args:
        image: uint8 `[H, W, 3]` RGB of any size.
        patch: Side of the square patches of the dark channel in pixels; odd.
        omega: Share of the haze to remove, in [0, 1].
        t_min: Lower bound of the transmission.
        radius: Radius of the guided filter in pixels.
        eps: Regularization of the guided filter.

    Returns:
        uint8 `[H, W, 3]` RGB.
    """
    hazy = np.asarray(image) / 255.0
    light = atmospheric_light(hazy, dark_channel(hazy, patch=patch))
    t = 1.0 - omega * dark_channel(hazy / light, patch=patch)
    t = np.maximum(guided_filter(hazy, t, radius=radius, eps=eps), t_min)
    clear = (hazy - light) / t[..., None] + light
    return np.round(255.0 * np.clip(clear, 0.0, 1.0)).astype(np.uint8)


def dark_channel(image: np.ndarray, *, patch: int = PATCH) -> np.ndarray:
    """Returns the minimum over channels and over the patch around each pixel; patches are clipped at the border.

    Args:
        image: float `[H, W, 3]`.
        patch: Side of the patch in pixels; odd.

    Returns:
        float `[H, W]`.
    """
    from scipy import ndimage  # here, because `--help` should not wait for it

    return ndimage.minimum_filter(image.min(axis=2), size=patch, mode="constant", cval=np.inf)


def atmospheric_light(image: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Estimates the color of the haze: the brightest of the 0.1 % (at least one) pixels with the highest dark channel.

    Args:
        image: float `[H, W, 3]` in [0, 1].
        dark: float `[H, W]`, the image's dark channel.

    Returns:
        float `[3]`, at least 1/255, so that it can be a divisor.
    """
    count = max(1, int(dark.size * BRIGHTEST))
    candidates = np.argpartition(dark, dark.size - count, axis=None)[-count:]
    colors = image.reshape(-1, 3)[candidates]
    return np.maximum(colors[np.argmax(colors.sum(axis=1))], 1 / 255)


def guided_filter(guide: np.ndarray, x: np.ndarray, *, radius: int = RADIUS, eps: float = EPS) -> np.ndarray:
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
    mean_guide = [box_mean(guide[..., i], radius) for i in range(3)]
    mean_x = box_mean(x, radius)
    cross = [box_mean(guide[..., i] * x, radius) - mean_guide[i] * mean_x for i in range(3)]
    s = {}
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        s[i, j] = box_mean(guide[..., i] * guide[..., j], radius) - mean_guide[i] * mean_guide[j]
    for i in range(3):
        s[i, i] += eps
    # Solve (covariance + eps 1) slope = cross with the adjugate, plane by plane: no 3x3 matrix per pixel in memory.
    adjugate = {
        (0, 0): s[1, 1] * s[2, 2] - s[1, 2] * s[1, 2],
        (0, 1): s[0, 2] * s[1, 2] - s[0, 1] * s[2, 2],
        (0, 2): s[0, 1] * s[1, 2] - s[0, 2] * s[1, 1],
        (1, 1): s[0, 0] * s[2, 2] - s[0, 2] * s[0, 2],
        (1, 2): s[0, 1] * s[0, 2] - s[0, 0] * s[1, 2],
        (2, 2): s[0, 0] * s[1, 1] - s[0, 1] * s[0, 1],
    }
    determinant = sum(s[0, i] * adjugate[0, i] for i in range(3))
    slope = [sum(adjugate[min(i, j), max(i, j)] * cross[j] for j in range(3)) / determinant for i in range(3)]
    offset = mean_x - sum(slope[i] * mean_guide[i] for i in range(3))
    return box_mean(offset, radius) + sum(box_mean(slope[i], radius) * guide[..., i] for i in range(3))


def box_mean(x: np.ndarray, radius: int) -> np.ndarray:
    """Returns the mean over the square of 2 radius + 1 pixels around each pixel, clipped at the border.

    Args:
        x: float `[H, W]`.
        radius: In pixels.

    Returns:
        float `[H, W]`.
    """
    from scipy import ndimage

    inside = ndimage.uniform_filter(np.ones_like(x), 2 * radius + 1, mode="constant")
    return ndimage.uniform_filter(x, 2 * radius + 1, mode="constant") / inside
