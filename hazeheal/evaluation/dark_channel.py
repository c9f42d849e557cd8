"""The dark channel prior, dehazing without learning: a baseline for every network.

He, Sun, Tang, "Single Image Haze Removal Using Dark Channel Prior" (CVPR 2009, TPAMI 2011). The guided filter of "Guided
Image Filtering" (ECCV 2010, TPAMI 2013) replaces the soft matting. In a clear outdoor image almost every small patch is
nearly black in some channel. What is not black there is attributed to haze:

    I = J t + A (1 - t)   =>   t = 1 - omega min_patch min_channel I / A,   J = (I - A) / max(t, t0) + A

The atmospheric light A is taken from the whole image. Everything else depends on a neighborhood, and is computed in
windows that contain it, in float64 with pixel values in [0, 1].
"""

import numpy as np

from hazeheal.evaluation.strips import Part, map_parts, windows

PATCH = 15  # side of the patches in pixels
OMEGA = 0.95  # share of the haze to remove
T_MIN = 0.1
BRIGHTEST = 0.001  # share of the pixels with the highest dark channel, candidates for the atmospheric light
RADIUS = 60  # of the guided filter, in pixels
EPS = 1e-4
WINDOW = 512  # side of the windows that are restored at once
REACH = 2 * RADIUS + PATCH // 2  # a restored pixel depends on no pixel that is farther away


def restore(image: np.ndarray, *, omega: float = OMEGA) -> np.ndarray:
    """Removes haze from one image.

    Args:
        image: uint8 `[H, W, 3]` RGB of any size.
        omega: Share of the haze to remove, in [0, 1].

    Returns:
        uint8 `[H, W, 3]` RGB.
    """
    light = atmospheric_light(image, dark_channel(image))
    restored = np.empty_like(image)

    def restore_part(part: Part) -> None:
        hazy = image[part.outer] / 255.0
        t = 1.0 - omega * dark_channel(hazy / light)
        t = np.maximum(guided_filter(hazy, t, radius=RADIUS, eps=EPS)[part.inner], T_MIN)
        clear = (hazy[part.inner] - light) / t[..., None] + light
        restored[part.own] = np.round(255.0 * np.clip(clear, 0.0, 1.0))

    for _ in map_parts(restore_part, windows(*image.shape[:2], side=WINDOW, reach=REACH)):
        pass
    return restored


def dark_channel(image: np.ndarray) -> np.ndarray:
    """Returns the minimum of `[H, W, 3]` over channels and the patch around each pixel, which is clipped at the border."""
    from scipy import ndimage  # here, because `--help` should not wait for it

    # A patch that reaches beyond the border contains the pixels at the border, which `nearest` repeats.
    return ndimage.minimum_filter(image.min(axis=2), size=PATCH, mode="nearest")


def atmospheric_light(image: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Estimates the color of the haze: the brightest of the 0.1 % (at least one) pixels with the highest dark channel.

    Whole patches have one dark channel. Of the pixels with that of the last candidate, the first ones of the image are
    candidates, so that the result does not depend on how a machine sorts.

    Args:
        image: uint8 `[H, W, 3]`.
        dark: uint8 `[H, W]`.

    Returns:
        float `[3]` in [1/255, 1], so that it can be a divisor.
    """
    count = max(1, int(dark.size * BRIGHTEST))
    least = np.partition(dark, dark.size - count, axis=None)[-count]
    missing = count - np.count_nonzero(dark > least)  # at least 1
    last = np.searchsorted(np.cumsum(np.count_nonzero(dark == least, axis=1)), missing)  # the row of the last candidate
    ties = np.flatnonzero(dark[: last + 1] == least)[:missing]
    colors = np.concatenate([image[dark > least], image.reshape(-1, 3)[ties]])
    return np.maximum(colors[np.argmax(colors.sum(axis=1, dtype=np.uint16))] / 255.0, 1 / 255)


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
    red, green, blue = planes = np.ascontiguousarray(np.moveaxis(guide, 2, 0))

    def mean(values):
        return box_mean(values, radius)

    r, g, b = means = [mean(plane) for plane in planes]
    mean_x = mean(x)
    cross = [mean(plane * x) - m * mean_x for plane, m in zip(planes, means, strict=True)]
    slopes = _solve(
        mean(red * red) - r * r + eps,
        mean(red * green) - r * g,
        mean(red * blue) - r * b,
        mean(green * green) - g * g + eps,
        mean(green * blue) - g * b,
        mean(blue * blue) - b * b + eps,
        cross,
    )
    result = mean(mean_x - sum(slope * m for slope, m in zip(slopes, means, strict=True)))
    for slope, plane in zip(slopes, planes, strict=True):
        result += mean(slope) * plane
    return result


def _solve(rr, rg, rb, gg, gb, bb, y):
    """Solves one symmetric, positive definite system of three equations per pixel, by the decomposition L D L^T.

    Args:
        rr, rg, rb, gg, gb, bb: The upper triangles of the matrices, `[H, W]` each.
        y: The right-hand sides, three `[H, W]`.
    """
    l_gr, l_br = rg / rr, rb / rr
    d_g = gg - l_gr * rg
    rest = gb - l_br * rg
    l_bg = rest / d_g
    d_b = bb - l_br * rb - l_bg * rest
    y_g = y[1] - l_gr * y[0]
    blue = (y[2] - l_br * y[0] - l_bg * y_g) / d_b
    green = y_g / d_g - l_bg * blue
    return y[0] / rr - l_gr * green - l_br * blue, green, blue


def box_mean(x: np.ndarray, radius: int) -> np.ndarray:
    """Returns the mean of float `[H, W]` over the square of 2 radius + 1 pixels around each pixel, clipped at the border."""
    from scipy import ndimage

    side = 2 * radius + 1
    mean = ndimage.uniform_filter(x, side, mode="constant")  # with zeros beyond the border
    for axis in (0, 1):
        positions = np.arange(x.shape[axis])
        inside = np.minimum(positions + radius + 1, x.shape[axis]) - np.maximum(positions - radius, 0)
        mean *= np.expand_dims(side / inside, 1 - axis)
    return mean
