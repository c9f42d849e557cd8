"""The value of white of samples with more than 8 bits: declared, given with `--white`, or refused.

Many files store fewer bits than their type has: 12 bits of a camera or a satellite, reflectance times 10,000, floats
from 0 to 1. Scaled by the white of the type they would be nearly black, and no tag contains the true value.
"""

import math

import numpy as np

from hazeheal.data.images.to_rgb import UnknownSamplesError

_SAMPLED = 1 << 22  # pixels from which the percentiles are taken


def sampling_step(height: int, width: int) -> int:
    """Returns k: the percentiles of an image are taken from every k-th pixel of every k-th row."""
    return math.ceil(math.sqrt(height * width / _SAMPLED))


def find_white(values: np.ndarray, *, full: int | None, white: float | str | None) -> float:
    """Returns the white of an image.

    Args:
        values: Samples of its valid pixels, at the `sampling_step` or more of them.
        full: The largest value of the file's unsigned samples: 255, 4095, 65535, or the maximum that a PNM file declares.
            None for signed, float and 32-bit samples, whose white no file declares.
        white: `PixelOptions.white`, which holds for samples of more than 8 bits.

    Raises:
        UnknownSamplesError: It is not given, and cannot be known.
    """
    if full is not None and full <= 255:
        return full
    if isinstance(white, str):
        return _percentile(values, float(white[1:]), flag=white)
    if white is not None:
        if white != full:
            _check_given(values, white)
        return white
    if full is None:
        bits, kind = 8 * values.dtype.itemsize, values.dtype.kind
        name = {"f": "float", "i": f"signed {bits}-bit integer", "u": f"{bits}-bit integer"}[kind]
        raise UnknownSamplesError(f"{name} samples without a known white level{_range(values)}; {_advice(values)}")
    if values.size and _is_far_below(values, full):
        raise UnknownSamplesError(
            f"{full.bit_length()}-bit samples far below the white level of {full}{_range(values)}; {_advice(values)}, or "
            f"--white={full} if the image is this dark"
        )
    return full


def _check_given(values: np.ndarray, white: float) -> None:
    """Refuses a white that makes the image nearly black or half of it white: other images of the folder have it."""
    if not values.size:
        return
    above, high = float((values > white).mean()), float(np.percentile(values, 99.9))
    if above > 0.5 or high < white / 100:
        problem = f"{100 * above:.0f} % of its samples are above" if above > 0.5 else "all of its samples are far below"
        raise UnknownSamplesError(f"{problem} --white={white:g}{_range(values)}; convert it with another --white")


def _is_far_below(values: np.ndarray, white: int) -> bool:
    """Whether the middle between the median and the 99.9th percentile is below a quarter of white.

    Percentiles, because single pixels (defects, reflections) may be white in any image.
    """
    median, high = np.percentile(values, [50, 99.9])
    return median + high < white / 2


def _percentile(values: np.ndarray, percent: float, *, flag: str) -> float:
    value = float(np.percentile(values, percent, method="higher")) if values.size else 0.0
    if value <= 0:
        raise UnknownSamplesError(f"its value at --white={flag} is {value:g}, but white must be positive")
    return int(value) if value.is_integer() else value


def _range(values: np.ndarray) -> str:
    return f" (its values are {values.min():g} to {values.max():g})" if values.size else ""


def _advice(values: np.ndarray) -> str:
    """Returns the flag, with a value that may be right: the largest of as many bits, or 1.0 for floats up to it."""
    highest = float(values.max()) if values.size else 0
    if values.dtype.kind == "f" and highest <= 1:
        example = "1.0"
    elif values.dtype.kind == "f" or highest < 1:
        example = "10000"
    else:
        example = str(2 ** int(highest).bit_length() - 1)
    return f"name the value of white, such as --white={example}, or a percentile, such as --white=p99.5"
