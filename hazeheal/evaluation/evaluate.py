"""How good restored images are: pairs and methods in, one row an image out.

    methods = {"input": unchanged, "dark_channel": dark_channel.restore, "mine": gan.restore}
    rows = [scored.row for scored in evaluate(pairs, methods)]
    results.summarize(rows)                     # {"mine": {"psnr": {"mean": ...}, ...}, ...}

Every method gets the same 8-bit image, and its 8-bit result is what is scored: what a file would hold.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from hazeheal.errors import HazeHealError
from hazeheal.evaluation.results import CLEAR
from hazeheal.metrics import color, lpips, psnr_ssim

SCORED = ("psnr", "ssim", "psnr_y", "ssim_y", "ciede2000")
PROTOCOL = {
    "psnr": "20 log10(255) - 10 log10(mean squared error over all pixels and channels), dB; at most 100, which is "
    "what equal images count",
    "ssim": "Wang et al. 2004: Gaussian window of 11x11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance, "
    "mean over channels and over the places where the window fits; images with a side under 11 pixels are mirrored outwards",
    "psnr_y, ssim_y": "the same on Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 (ITU-R BT.601), not rounded",
    "ciede2000": "mean over all pixels of CIEDE2000 (kL = kC = kH = 1) of sRGB, white D65, 2 degrees observer; "
    "lower is better",
    "color_space": "8-bit RGB as decoded, embedded color profiles not applied",
    "data_range": 255,
    "border": "none is cut off",
    "resize": "none",
    "restored": "what a method makes of the image, rounded to 8 bits, not saved between",
    "mean": "over images, each counts the same",
}


@dataclasses.dataclass(frozen=True)
class Scored:
    """One pair, restored by every method.

    Attributes:
        row: {`key`, `hazy`, `clear`, `width`, `height`, `scores`: {METHOD: {metric: value}}}.
        images: {METHOD: uint8 [H, W, 3], ..., CLEAR: uint8 [H, W, 3]}.
    """

    row: dict
    images: dict


def evaluate(pairs, methods, *, more=None):
    """Yields a `Scored` for each pair.

    Args:
        pairs: `pairs.EvaluationPair`s, or anything with their attributes.
        methods: {name: function from uint8 [H, W, 3] to the same}, `results.INPUT`: `unchanged` among them; `results.CLEAR` is no name.
        more: {metric: function of (image, clear), uint8 [H, W, 3] each, to a float}, beside those of `score`.

    Raises:
        DataError: An image is damaged.
        HazeHealError: The images of a pair differ in size, or a method returned something else than it must.
    """
    for pair in pairs:
        hazy, clear = pair.load()
        if hazy.shape != clear.shape:
            sizes = " and ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (hazy, clear))
            raise HazeHealError(f"{pair.key}: the hazy and the clear image are of two sizes, {sizes}")
        outputs = {name: _checked(method(hazy), hazy, name=name) for name, method in methods.items()}
        row = {"key": pair.key, "hazy": pair.hazy, "clear": pair.clear}
        row |= {"width": hazy.shape[1], "height": hazy.shape[0]}
        try:
            row["scores"] = {
                name: score(output, clear)
                | {metric: of(output, clear) for metric, of in (more or {}).items()}
                for name, output in outputs.items()
            }
        except HazeHealError as error:
            raise HazeHealError(f"{pair.key}: {error}") from error
        yield Scored(row, outputs | {CLEAR: clear})


def unchanged(hazy):
    """The method that a method must beat."""
    return hazy


def score(image, clear) -> dict:
    """{metric: float} of one image against the clear one, uint8 [H, W, 3] in [0, 255] each; see `PROTOCOL`."""
    values = _score(tf.constant(image[None]), tf.constant(clear[None])).numpy()
    return {name: float(value) for name, value in zip(SCORED, values, strict=True)}


@tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)] * 2, autograph=False)
def _score(a, b):
    y_a, y_b = color.luma(a), color.luma(b)
    values = [
        tf.minimum(psnr_ssim.psnr(a, b), psnr_ssim.PSNR_LIMIT),
        psnr_ssim.ssim(a, b),
        tf.minimum(psnr_ssim.psnr(y_a, y_b), psnr_ssim.PSNR_LIMIT),
        psnr_ssim.ssim(y_a, y_b),
        color.ciede2000(a, b),
    ]
    return tf.concat(values, axis=0)


def more_metrics(*, lpips_weights=None) -> tuple[dict, dict]:
    """Metrics that are computed only where something is given for them.

    Args:
        lpips_weights: A file, as `lpips.load` reads it; None: no LPIPS.

    Returns:
        ({metric: function of (image, clear) to a float} for `evaluate`, {metric: what the protocol says of it}).

    Raises:
        UsageError: The file cannot be used.
    """
    if lpips_weights is None:
        return {}, {}
    weights = lpips.load(lpips_weights)
    distance = tf.function(
        lambda a, b: lpips.distance(weights, a, b)[0],
        input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)] * 2,
        autograph=False,
    )

    def measure(image, clear):
        if min(clear.shape[:2]) < weights.least:
            raise HazeHealError(
                f"an image of {clear.shape[1]}x{clear.shape[0]} is too small for LPIPS, which takes sides of "
                f"{weights.least} and more; leave --lpips_weights out, or the image"
            )
        return float(distance(tf.constant(image[None]), tf.constant(clear[None])))

    told = f"Zhang et al. 2018, version 0.1, {weights.name}, on whole images in RGB; lower is better"
    return {"lpips": measure}, {"lpips": told}


def _checked(output, hazy, *, name):
    output = np.asarray(output)
    if output.dtype != np.uint8 or output.shape != hazy.shape:
        raise HazeHealError(
            f"{name} made {output.dtype} {list(output.shape)} of an image of uint8 {list(hazy.shape)}; "
            "both must be alike"
        )
    return output
