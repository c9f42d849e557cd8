"""Scores restored images: takes pairs and methods, yields one row per image.

    methods = {"input": unchanged, "dark_channel": dark_channel.restore, "mine": gan.restore}
    rows = [row for row, _ in evaluate(pairs, methods)]
    results.summarize(rows)                     # {"mine": {"psnr": {"mean": ...}, ...}, ...}

Every method receives the same 8-bit image. Its 8-bit result is scored, as it would be stored in a PNG file.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf
from skimage import color

from hazeheal.errors import HazeHealError
from hazeheal.evaluation.pairs import EvaluationPair
from hazeheal.evaluation.results import CLEAR
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
    "color_space": "8-bit RGB as decoded, embedded color profiles not applied",
    "data_range": 255,
    "border": "none is cropped",
    "resize": "none",
    "restored": "the method's output, rounded to 8 bits, without encoding in between",
    "mean": "over images, equally weighted",
}


def evaluate(
    pairs: Iterable[EvaluationPair],
    methods: dict[str, Callable[[np.ndarray], np.ndarray]],
    *,
    extra_metrics: dict[str, Callable[[np.ndarray, np.ndarray], float]] | None = None,
) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    """Scores every method on each pair.

    Args:
        pairs: The images.
        methods: {name: function from uint8 [H, W, 3] to uint8 [H, W, 3]}. It contains `results.INPUT: unchanged`;
            the name `results.CLEAR` is reserved.
        extra_metrics: {metric: function of (image, clear), uint8 [H, W, 3] each}, in addition to those of `score`.

    Yields:
        A row, as `results` defines it, and the images: {METHOD: uint8 [H, W, 3], ..., CLEAR: uint8 [H, W, 3]}.

    Raises:
        DataError: An image is damaged.
        HazeHealError: A method's output has a wrong dtype or shape.
    """
    for pair in pairs:
        hazy, clear = pair.load()
        outputs = {name: _checked(method(hazy), hazy, name=name) for name, method in methods.items()}
        try:
            scores = {
                name: score(output, clear)
                | {metric: function(output, clear) for metric, function in (extra_metrics or {}).items()}
                for name, output in outputs.items()
            }
        except HazeHealError as error:
            raise HazeHealError(f"{pair.key}: {error}") from error
        row = {"key": pair.key, "hazy": pair.hazy, "clear": pair.clear}
        row |= {"width": hazy.shape[1], "height": hazy.shape[0], "scores": scores}
        yield row, outputs | {CLEAR: clear}


def unchanged(hazy: np.ndarray) -> np.ndarray:
    """Returns the hazy image itself, the baseline of every method."""
    return hazy


def score(image: np.ndarray, clear: np.ndarray) -> dict[str, float]:
    """Returns {metric: value}, as `PROTOCOL` defines the metrics, of a uint8 `[H, W, 3]` image and its ground truth."""
    psnr, ssim = _psnr_ssim(image.astype(np.float64), clear.astype(np.float64))
    psnr_y, ssim_y = _psnr_ssim(*(color.rgb2ycbcr(x)[..., :1] for x in (image, clear)))
    ciede2000 = color.deltaE_ciede2000(color.rgb2lab(image), color.rgb2lab(clear)).mean()
    scores = {"psnr": psnr, "ssim": ssim, "psnr_y": psnr_y, "ssim_y": ssim_y, "ciede2000": ciede2000}
    return {metric: float(value) for metric, value in scores.items()}


@tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.float64)] * 2, autograph=False)
def _psnr_ssim(image, clear):
    """(PSNR, limited to 100 dB; SSIM) of [H, W, C] in [0, 255]."""
    psnr = tf.minimum(psnr_ssim.psnr(image[None], clear[None])[0], psnr_ssim.PSNR_LIMIT)
    return psnr, psnr_ssim.ssim(image[None], clear[None])[0]


def _checked(output, hazy, *, name):
    output = np.asarray(output)
    if output.dtype != np.uint8 or output.shape != hazy.shape:
        raise HazeHealError(
            f"{name} returned {output.dtype} {list(output.shape)} for an image of uint8 {list(hazy.shape)}; "
            "a method must keep dtype and shape"
        )
    return output
