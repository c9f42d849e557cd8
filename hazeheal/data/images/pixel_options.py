"""How the samples of an image file become RGB: the white level, the bands and the color profile.

options = PixelOptions(white=parse_white("p99.5"), bands=parse_bands("4,3,2"), color="convert")
image, _ = load_rgb("scene.tif", options=options)
"""

import argparse
import dataclasses
import math
import re

COLORS = ("convert", "keep")
WHITE_HELP = (
    "value of white of images with more than 8 bits per sample: a number such as 4095 (12 bits), 10000 or 1.0, or a "
    "percentile such as p99.5 of the hazy image, which holds for both images of a pair (default: 65535 for 16 bits; "
    "refused if the values stay far below it, and for signed and float samples)"
)
BANDS_HELP = (
    "bands of a TIFF that are red, green and blue, such as 4,3,2, or one gray band; needed for more than three bands "
    "(default: the three colors of a TIFF that declares them)"
)
COLOR_HELP = (
    "convert (default) converts images with an embedded profile, such as Display P3 or Adobe RGB, to sRGB; keep uses "
    "the stored values"
)


@dataclasses.dataclass(frozen=True)
class PixelOptions:
    """How samples become RGB.

    Attributes:
        white: The value of white of samples with more than 8 bits, or a percentile as `p99.5`. None: 65535 for unsigned
            16-bit samples that come near it, and an error for all others.
        bands: Numbers, from 1, of the bands of a TIFF that are red, green and blue, or of one gray band. None: those that
            the file declares.
        color: `convert`: to sRGB by the embedded profile. `keep`: the stored values.
    """

    white: float | str | None = None
    bands: tuple[int, ...] | None = None
    color: str = "keep"

    def described(self) -> dict:
        """Returns the settings that differ from those of `hazeheal-tfrecords convert` by default, as JSON types."""
        found = {"white": self.white, "bands": self.bands and list(self.bands)}
        found["color"] = "keep" if self.color == "keep" else None
        return {name: value for name, value in found.items() if value is not None}

    def flags(self) -> str:
        """Returns the same settings as flags, each after a space."""
        bands = self.bands and ",".join(map(str, self.bands))
        return "".join(f" --{name}={bands if name == 'bands' else value}" for name, value in self.described().items())


AS_STORED = PixelOptions()
TO_SRGB = PixelOptions(color="convert")


def parse_white(text: str) -> float | str:
    """Parses `4095` as a number and `p99.5` as a percentile, which stays text."""
    try:
        number = float(text.removeprefix("p"))
    except ValueError:
        number = math.nan
    if text.startswith("p") and 50 <= number <= 100:
        return f"p{number:g}"
    if not text.startswith("p") and 0 < number < 2**32:
        return int(number) if number.is_integer() else number
    raise argparse.ArgumentTypeError(
        f"must be a positive number below 2^32 or a percentile from p50 to p100, got {text!r}"
    )


def parse_bands(text: str) -> tuple[int, ...]:
    """Parses `4,3,2` as (4, 3, 2)."""
    parts = text.split(",")
    if len(parts) not in (1, 3) or not all(re.fullmatch("[1-9][0-9]{0,4}", part) for part in parts):
        raise argparse.ArgumentTypeError(f"must be three band numbers from 1 such as 4,3,2, or one, got {text!r}")
    return tuple(map(int, parts))
