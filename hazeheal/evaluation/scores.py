"""Scores of an image against its ground truth: PSNR and SSIM in RGB and on Y, and CIEDE2000.

The values are those of the whole image. They are sums over strips of rows; the strips of SSIM overlap by the window.
"""

import numpy as np
import tensorflow as tf
from skimage import color

from hazeheal.data.images import image_ops
from hazeheal.evaluation.strips import Part, strips, sum_parts
from hazeheal.metrics import psnr_ssim

PROTOCOL = {
    "psnr": "20 log10(255) - 10 log10(mean squared error over all pixels and channels), in dB; limited to 100, the "
    "value for identical images",
    "ssim": "Wang et al. 2004: Gaussian window of 11x11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance, "
    "mean over channels and over the positions where the window fits; images with a side under 11 pixels are mirrored "
    "at the border",
    "psnr_y, ssim_y": "PSNR and SSIM of Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 (ITU-R BT.601), not rounded",
    "ciede2000": "mean over all pixels of CIEDE2000 (kL = kC = kH = 1) of sRGB, white point D65, 2-degree observer; "
    "lower is better",
    "color_space": "8-bit RGB as decoded. Embedded color profiles of image files are converted to sRGB unless "
    "--color=keep; those of records are not applied",
    "data_range": 255,
    "border": "none is cropped",
    "resize": "none",
    "restored": "the method's output, rounded to 8 bits, without encoding in between",
    "mean": "over images, equally weighted",
}
_REACH = psnr_ssim.SSIM_WINDOW // 2


def score(image: np.ndarray, clear: np.ndarray) -> dict[str, float]:
    """Returns {metric: value}, as `PROTOCOL` defines the metrics, of a uint8 `[H, W, 3]` image and its ground truth."""
    height, width = clear.shape[:2]

    def sums(part: Part) -> np.ndarray:
        """Sums over one strip: SSIM, SSIM of Y and their number of windows, squared error of Y, CIEDE2000."""
        one, other = image[part.outer], clear[part.outer]
        y_one, y_other = (color.rgb2ycbcr(x)[..., :1] for x in (one, other))
        error = np.square(y_one[part.inner] - y_other[part.inner]).sum()
        difference = color.deltaE_ciede2000(color.rgb2lab(one[part.inner]), color.rgb2lab(other[part.inner])).sum()
        # The positions of the window in this strip are those whose center is one of its own rows.
        rows = one.shape[0] - 2 * _REACH if height > 2 * _REACH else height
        if rows <= 0:  # the last rows of the image
            return np.array([0, 0, 0, error, difference])
        return np.array([rows * _ssim(one, other), rows * _ssim(y_one, y_other), rows, error, difference])

    # A window does not fit into less than 11 rows, and those of a smaller image are mirrored: it is one strip.
    pixels = None if height > 2 * _REACH else height * width
    ssim, ssim_y, rows, error, difference = sum_parts(sums, strips(height, width, reach=_REACH, pixels=pixels))
    psnr_y = 20 * np.log10(255) - 10 * np.log10(error / (height * width)) if error else np.inf
    scores = {"psnr": min(image_ops.psnr(image, clear), psnr_ssim.PSNR_LIMIT), "ssim": ssim / rows}
    scores |= {"psnr_y": min(psnr_y, psnr_ssim.PSNR_LIMIT), "ssim_y": ssim_y / rows}
    scores |= {"ciede2000": difference / (height * width)}
    return {metric: float(value) for metric, value in scores.items()}


def _ssim(one, other):
    return _ssim_of_floats(one.astype(np.float64), other.astype(np.float64)).numpy()


@tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.float64)] * 2, autograph=False)
def _ssim_of_floats(one, other):
    return psnr_ssim.ssim(one[None], other[None])[0]
