"""Figures of images without ground truth: the dark channel, visible edges, their gradients, and saturated pixels.

They describe the change from the hazy input; none of them is a quality. `docs/evaluation.md` says what each can show.
Visible edges, gradients and saturated pixels follow Hautière, Tarel, Aubert, Dumont, "Blind Contrast Enhancement
Assessment by Gradient Ratioing at Visible Edges" (2008), and the dark channel follows He, Sun, Tang (2009).
"""

import numpy as np
from scipy import ndimage
from skimage import color, filters

from hazeheal.evaluation.dark_channel import PATCH, dark_channel
from hazeheal.evaluation.strips import Part, strips, sum_parts

VISIBLE = 0.05  # contrast from which an edge is visible, as the CIE defines the visibility distance
PROTOCOL = {
    "dark": f"mean of the dark channel (He et al. 2009), the minimum over the channels and {PATCH}x{PATCH} pixels, with "
    "white = 1: what is not black there is haze, or a bright surface such as sky. Lower is less haze",
    "edges": f"share of the pixels at visible edges, in percent: those with a contrast of at least {VISIBLE}. Contrast is "
    "the magnitude of the Sobel gradient of the gray image, divided by the brightest gray value in 3x3 pixels. Higher "
    "shows more detail, or more noise",
    "gradient": "geometric mean, over the visible edges of the result, of its gradient divided by that of the input (r of "
    "Hautière et al. 2008). Gradients below 1/255 count as 1/255. Higher is more contrast",
    "saturated": "share of the pixels that are black or white in all channels, and are not in the input, in percent (sigma "
    "of Hautière et al. 2008). Lower is better",
    "color_space": "8-bit RGB as decoded, embedded color profiles converted to sRGB unless --color=keep. Gray is that of "
    "scikit-image, 0.2125 R + 0.7154 G + 0.0721 B",
    "restored": "the method's output, rounded to 8 bits, without encoding in between",
    "mean": "over images, equally weighted",
}
NOTE = (
    "Without ground truth, these figures show how much haze a result has lost against the input, not which of two results is "
    "better: too much contrast, darkening and noise improve them too. Look at the images."
)
_LEAST = 1 / 255  # gradient of the smallest difference


def measure(image: np.ndarray, hazy: np.ndarray) -> dict[str, float]:
    """Returns {figure: value}, as `PROTOCOL` defines them, of a restored image and the hazy one, uint8 `[H, W, 3]`."""

    def sums(part: Part) -> np.ndarray:
        one, other = image[part.outer], hazy[part.outer]
        gradient, edges = _visible_edges(one)
        before, _ = _visible_edges(other)
        edges = edges[part.inner]
        ratios = np.maximum(gradient, _LEAST)[part.inner] / np.maximum(before, _LEAST)[part.inner]
        saturated = _is_saturated(one[part.inner]) & ~_is_saturated(other[part.inner])
        dark = dark_channel(one)[part.inner]
        return np.array([dark.sum(), edges.sum(), np.log(ratios[edges]).sum(), saturated.sum()], np.float64)

    height, width = image.shape[:2]
    dark, edges, log_ratios, saturated = sum_parts(sums, strips(height, width, reach=PATCH // 2))
    pixels = height * width
    return {
        "dark": float(dark / (255 * pixels)),
        "edges": float(100 * edges / pixels),
        "gradient": float(np.exp(log_ratios / edges)) if edges else 1.0,
        "saturated": float(100 * saturated / pixels),
    }


def _visible_edges(image):
    """Returns the magnitude of the gradient, float `[H, W]`, 1 for a step from black to white, and where it is visible."""
    gray = color.rgb2gray(image)
    gradient = np.hypot(filters.sobel_h(gray), filters.sobel_v(gray))
    brightest = ndimage.maximum_filter(gray, size=3, mode="nearest")
    return gradient, gradient >= VISIBLE * np.maximum(brightest, _LEAST)


def _is_saturated(image):
    return (image == 0).all(axis=2) | (image == 255).all(axis=2)
