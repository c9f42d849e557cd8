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
    **dict.fromkeys(("relaid_shift", "relaid_tint"), (0.0, 1.0)),
}
RANGES = ("relaid", "density", "airlight", "jpeg_quality")


@dataclasses.dataclass(frozen=True)
class HazeSettings:
    """The share of the training inputs that is replaced, and by what. `configs/default.py` has the same defaults.

    The factor `relaid` and the thickness `density` are drawn log-uniformly, so that thin haze is not rare.

    Raises:
        UsageError: A value is invalid. The message begins with `fresh_haze.`.
    """

    # Shares of the inputs, in [0, 1], which add up to at most 1.
    share: float = 0.0  # synthetic haze instead of their own
    share_clear: float = 0.0  # the clear image itself
    share_relaid: float = 0.0  # their own haze, changed
    relaid_min: float = 0.5  # factor on the pair's optical thickness, above 0
    relaid_max: float = 2.0
    relaid_shift: float = 0.1  # largest change of the pair's airlight in both directions, in [0, 1]
    relaid_tint: float = 0.0  # the same for each color channel by itself
    kind: str = "mixed"  # `ground` (ramps), `aerial` (clouds), or `mixed` (either, with probability 1/2)
    density_min: float = 0.06  # mean optical thickness of an image, above 0
    density_max: float = 1.2
    airlight_min: float = 0.5  # brightness of the haze, in [0, 1]
    airlight_max: float = 1.0
    tint: float = 0.06  # largest relative deviation of its red and blue from gray, in [0, 1]
    noise: float = 0.02  # largest standard deviation of the camera noise on white, in [0, 1]
    jpeg_share: float = 0.5  # share of the images with synthetic haze that are compressed as JPEG, in [0, 1]
    jpeg_quality_min: int = 60  # 1 to 100
    jpeg_quality_max: int = 95

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UsageError(f"fresh_haze.kind={shorten(self.kind)} is not known; use one of {', '.join(KINDS)}")
        for field in dataclasses.fields(self):
            low, high = LIMITS.get(field.name.removesuffix("_min").removesuffix("_max"), (None, None))
            value = getattr(self, field.name)
            if low is not None and not low <= value <= high:  # true for NaN too
                raise UsageError(f"fresh_haze.{field.name}={shorten(value)} must be in [{low}, {high}]")
        for name in RANGES:
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise UsageError(
                    f"fresh_haze.{name}_min={low} is larger than fresh_haze.{name}_max={high}; exchange them"
                )
        shares = {name: getattr(self, name) for name in SHARES if getattr(self, name)}
        if sum(shares.values()) > 1 + 1e-9:  # In floats 0.9 + 0.1 is a little more than 1.
            listed = " and ".join(f"fresh_haze.{name}={value:g}" for name, value in shares.items())
            raise UsageError(f"{listed} add up to more than 1; lower one of them")

    @property
    def is_on(self) -> bool:
        """Whether any input is replaced."""
        return any(getattr(self, name) > 0 for name in SHARES)
