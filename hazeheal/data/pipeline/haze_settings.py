"""What fresh haze is laid, on how many images: the fields of `config.data.fresh_haze`. No TensorFlow."""

import dataclasses

from hazeheal.errors import UsageError
from hazeheal.utils.console import shorten

SHARES = ("share", "share_clear", "share_relaid")
KINDS = ("ground", "aerial", "mixed")
# The least and the greatest value; of a range both of its ends.
LIMITS = {
    **dict.fromkeys((*SHARES, "tint", "noise", "jpeg_share", "airlight"), (0.0, 1.0)),
    **{
        "density": (1e-6, 100.0),
        "jpeg_quality": (1, 100),
        "relaid": (0.01, 100.0),
        "relaid_shift": (0.0, 1.0),
    },
}


@dataclasses.dataclass(frozen=True)
class FreshHaze:
    """What is laid on how many images; `configs/default.py` has the same defaults.

    Attributes:
        share: Of the positions, how many get fresh haze in place of their own, in [0, 1].
        share_clear: How many get the clear image itself.
        share_relaid: How many get their own haze laid anew. The three shares are together at most 1.
        relaid_min, relaid_max: How many times its optical thickness, above 0; drawn uniformly in its logarithm.
        relaid_shift: How far its airlight may move up or down, in [0, 1].
        kind: `ground` (ramps), `aerial` (clouds), or `mixed`: either, one image in two.
        density_min, density_max: Mean optical thickness of an image's haze, above 0. It is drawn uniformly in its
            logarithm, so that thin haze is not rare.
        airlight_min, airlight_max: The haze's own brightness, in [0, 1].
        tint: How far its red and blue may stray from gray, relative, in [0, 1].
        noise: The largest deviation of a camera's noise on white, in [0, 1].
        jpeg_share: How many of the images with fresh haze were JPEG files, in [0, 1].
        jpeg_quality_min, jpeg_quality_max: Their quality, 1 to 100.

    Raises:
        UsageError: A value that cannot be meant; the message begins with `fresh_haze.`.
    """

    share: float = 0.0
    share_clear: float = 0.0
    share_relaid: float = 0.0
    relaid_min: float = 0.5
    relaid_max: float = 2.0
    relaid_shift: float = 0.1
    kind: str = "mixed"
    density_min: float = 0.06
    density_max: float = 1.2
    airlight_min: float = 0.5
    airlight_max: float = 1.0
    tint: float = 0.06
    noise: float = 0.02
    jpeg_share: float = 0.5
    jpeg_quality_min: int = 60
    jpeg_quality_max: int = 95

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UsageError(
                f"fresh_haze.kind={shorten(self.kind)} is not known; use one of {', '.join(KINDS)}"
            )
        for field in dataclasses.fields(self):
            least, most = LIMITS.get(field.name.removesuffix("_min").removesuffix("_max"), (None, None))
            value = getattr(self, field.name)
            if least is not None and not least <= value <= most:  # true for NaN too
                raise UsageError(f"fresh_haze.{field.name}={shorten(value)} must lie in {least} to {most}")
        for name in ("relaid", "density", "airlight", "jpeg_quality"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise UsageError(
                    f"fresh_haze.{name}_min={low} is larger than fresh_haze.{name}_max={high}; exchange them, or give one "
                    "value twice"
                )
        shares = {name: getattr(self, name) for name in SHARES if getattr(self, name)}
        if sum(shares.values()) > 1 + 1e-9:  # 0.9 and 0.1 are 1 and a little in floats
            listed = " and ".join(f"fresh_haze.{name}={value:g}" for name, value in shares.items())
            raise UsageError(f"{listed} add up to more than 1; lower one of them")

    @property
    def is_on(self) -> bool:
        return any(getattr(self, name) > 0 for name in SHARES)
