"""The flags of `hazeheal-tfrecords synthesize`, checked together before any image is read."""

import argparse
import dataclasses
import os

from hazeheal.data.images.pixel_options import (
    BANDS_HELP,
    COLOR_HELP,
    COLORS,
    WHITE_HELP,
    PixelOptions,
    parse_bands,
    parse_white,
)
from hazeheal.data.synthesis import scattering
from hazeheal.errors import UsageError
from tfrecords_tools.convert.options import check_quality
from tfrecords_tools.convert.pair_records import JPEG_QUALITY
from tfrecords_tools.flags import flag

_DEPTH_VALUES, _DEPTH_SCALE = scattering.DEPTH_VALUES[0], 1.0  # defaults
_RANGES = scattering.Ranges()  # defaults


def _parse_kinds(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _parse_range(text: str) -> tuple[float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number or LOW,HIGH, such as 0.6,1.8")
    return numbers[0], numbers[-1]


def _format_range(numbers: tuple[float, float]) -> str:
    return ",".join(map(str, numbers))


@dataclasses.dataclass(kw_only=True)
class Options:
    """The flags of `hazeheal-tfrecords synthesize`, by the same names.

    Raises:
        UsageError: A flag has an invalid value, or two flags exclude each other.
    """

    clear_dir: str = flag("DIR", "directory of clear images, including its subdirectories", group="input and output")
    output_dir: str = flag("DIR", "new or empty directory for hazy/, GT/ and haze.json")
    per_picture: int = flag("N", "hazy versions of each clear image (default: %(default)s)", 1)
    seed: int = flag("N", "random seed; another seed gives other haze (default: %(default)s)", 0)
    kind: tuple[str, ...] | None = flag(
        "KINDS",
        "without depth maps, each hazy image gets one of these kinds at random: clouds (fractal banks of haze, as "
        "seen from above), ramps (thin at the bottom, thick at the top, as in a view to the horizon) "
        f"(default: {','.join(scattering.KINDS)})",
        None,
        group="where the haze is dense",
        parse=_parse_kinds,
    )
    depth_dir: str | None = flag(
        "DIR",
        "directory of depth maps, which replace --kind: gray images with 8 bits, or PNG with 16 bits. A map must "
        "have its image's aspect ratio and is resized to its size. A map's values v are scaled to [0, 1], where 1 is "
        "white, and give the distance d. Fill holes (zeros) first: a value of 0 is not treated as missing",
        None,
    )
    depth_pairing: str = flag(
        "RULE",
        "how the names of clear images and depth maps are paired: auto (default), a rule of `convert --pairing`, "
        "or a regular expression with one group",
        "auto",
    )
    depth_values: str | None = flag(
        None,
        "distance (default): near is dark, d = scale v. nearness: near is bright, d = scale (1 - v). disparity: "
        "near is bright, d = scale 0.05 / max(v, 0.05), for inverse depth, which stereo matching and most depth "
        "estimation networks give",
        None,
        choices=scattering.DEPTH_VALUES,
    )
    depth_scale: float | None = flag(
        "D",
        f"distance d of the farthest value (default: {_DEPTH_SCALE:g}). For millimeters in 16 bits, 65.535 gives "
        "d in meters and beta in 1/meter",
        None,
    )
    beta: tuple[float, float] = flag(
        "RANGE",
        "scattering coefficient, for a field whose largest d is 1. At 1.8, 17%% of the scene's light arrives from "
        f"d = 1 (default: {_format_range(_RANGES.beta)}, as in RESIDE's ITS)",
        _RANGES.beta,
        group="density and color (each range is LOW,HIGH or one number)",
        parse=_parse_range,
    )
    airlight: tuple[float, float] = flag(
        "RANGE",
        f"color A of the haze, in [0, 1] (default: {_format_range(_RANGES.airlight)})",
        _RANGES.airlight,
        parse=_parse_range,
    )
    tint: float = flag(
        "W",
        "largest difference between red and blue in A: bluish or dusty haze; 0 is gray (default: %(default)s)",
        _RANGES.tint,
    )
    white: float | str | None = flag("V", WHITE_HELP, None, group="samples of the clear images", parse=parse_white)
    bands: tuple[int, ...] | None = flag("R,G,B", BANDS_HELP, None, parse=parse_bands)
    color: str = flag(None, COLOR_HELP, "convert", choices=COLORS)
    encoding: str = flag(
        None,
        "encoding of the hazy images (default: %(default)s)",
        "png",
        group="writing",
        choices=("png", "jpeg"),
    )
    quality: int | None = flag("Q", f"quality of --encoding=jpeg, from 1 to 100 (default: {JPEG_QUALITY})", None)
    workers: int | None = flag("N", "number of processes (default: all cores, or 1 for few images)", None)

    def __post_init__(self) -> None:
        for name, least in (("per_picture", 1), ("seed", 0), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                kind = "a positive integer" if least else "0 or a positive integer"
                raise UsageError(f"--{name}={value} must be {kind}")
        if not os.fspath(self.output_dir):
            raise UsageError("--output_dir is empty; name a directory (. is the current directory)")
        if self.depth_dir is None:
            for name in ("depth_values", "depth_scale"):
                if getattr(self, name) is not None:
                    raise UsageError(f"--{name}={getattr(self, name)} needs --depth_dir")
        elif self.kind is not None:
            raise UsageError(f"--kind={','.join(self.kind)} and --depth_dir exclude each other; give one of them")
        if self.depth_scale is not None and not 0 < self.depth_scale < 1e9:
            raise UsageError(f"--depth_scale={self.depth_scale} must be positive and finite")
        check_quality(self.quality, self.encoding)
        kinds = (scattering.DEPTH,) if self.depth_dir is not None else self.kind or scattering.KINDS
        try:
            self.ranges = scattering.Ranges(kinds, self.beta, self.airlight, self.tint)
        except UsageError as error:
            raise UsageError(f"--{error}") from None
        # Only now, because a value that is given needs another flag.
        self.depth_values = self.depth_values or _DEPTH_VALUES
        self.depth_scale = self.depth_scale or _DEPTH_SCALE
        self.quality = self.quality or JPEG_QUALITY

    @property
    def pixels(self) -> PixelOptions:
        """How the samples of the clear images become RGB."""
        return PixelOptions(white=self.white, bands=self.bands, color=self.color)

    def settings(self) -> dict:
        """Returns everything besides the images that decides the pixels, for haze.json."""
        depth = {"values": self.depth_values, "scale": self.depth_scale}
        return {
            "rules": scattering.VERSION,
            **dataclasses.asdict(self.ranges),
            "per_picture": self.per_picture,
            "seed": self.seed,
            "depth": depth if self.depth_dir is not None else None,
            "encoding": self.encoding,
            "quality": self.quality if self.encoding == "jpeg" else None,
            **self.pixels.described(),
        }
