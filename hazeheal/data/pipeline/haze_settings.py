"""The settings of haze augmentation: the fields of `config.data.fresh_haze`. TensorFlow is not needed."""

import dataclasses

from hazeheal.errors import UsageError
from hazeheal.utils.console import shorten

SHARES = ("share", "share_clear", "share_relaid")
KINDS = ("ground", "aerial", "mixed")
# Smallest and largest value of a field; for a range NAME_min, NAME_max, of both ends.
LIMITS = {
    **dict.fromkeys((*SHARES, "tint", "noise", "jpeg_share", "airlight"), (0.0, 1.0)),
    "density": (1e-6, 100.0),
    "jpeg_quality": (1, 100),
    "relaid": (0.01, 100.0),
    "relaid_shift": (0.0, 1.0),
}
RANGES = ("relaid", "density", "airlight", "jpeg_quality")


@dataclasses.dataclass(frozen=True)
class HazeSettings:
    """The share of the training inputs that is replaced, and by what. `configs/default.py` has the same defaults.

    Attributes:
        share: Share of the inputs with synthetic haze instead of their own, in [0, 1].
        share_clear: Share of the inputs that are the clear image itself, in [0, 1].
        share_relaid: Share of the inputs whose own haze is changed, in [0, 1]. The three shares add up to at most 1.
        relaid_min, relaid_max: Range of the factor on the pair's optical thickness, drawn log-uniformly.
        relaid_shift: Largest change of the pair's airlight in both directions, in [0, 1].
        kind: `ground` (ramps), `aerial` (clouds), or `mixed` (either, with probability 1/2).
        density_min, density_max: Range of the mean optical thickness of an image, above 0. It is drawn
            log-uniformly, so that thin haze is not rare.
        airlight_min, airlight_max: Range of the brightness of the haze, in [0, 1].
        tint: Largest relative deviation of its red and blue from gray, in [0, 1].
        noise: Largest standard deviation of the camera noise on white, in [0, 1].
        jpeg_share: Share of the images with synthetic haze that are compressed as JPEG, in [0, 1].
        jpeg_quality_min, jpeg_quality_max: Range of the JPEG quality, 1 to 100.

    Raises:
        UsageError: A value is invalid. The message begins with `fresh_haze.`.
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
            low, high = LIMITS.get(field.name.removesuffix("_min").removesuffix("_max"), (None, None))
            value = getattr(self, field.name)
            if low is not None and not low <= value <= high:  # true for NaN too
                raise UsageError(f"fresh_haze.{field.name}={shorten(value)} must be in [{low}, {high}]")
        for name in RANGES:
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise UsageError(
                    f"fresh_haze.{name}_min={low} is larger than fresh_haze.{name}_max={high}; exchange them or make "
                    "them equal"
                )
        shares = {name: getattr(self, name) for name in SHARES if getattr(self, name)}
        if sum(shares.values()) > 1 + 1e-9:  # In floats 0.9 + 0.1 is a little more than 1.
            listed = " and ".join(f"fresh_haze.{name}={value:g}" for name, value in shares.items())
            raise UsageError(f"{listed} add up to more than 1; lower one of them")

    @property
    def is_on(self) -> bool:
        """Whether any input is replaced."""
        return any(getattr(self, name) > 0 for name in SHARES)
