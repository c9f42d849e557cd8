"""Haze on a clear image: what is drawn for it, the field that the haze follows, and the image below it.

    haze = draw(Ranges(beta=(0.6, 1.8)), seed=0, name="coast.png", version=1)
    hazy = lay(clear, haze)                        # a cloud field or a ramp
    hazy = lay(clear, haze, depth=depth)           # or a depth map

I = J t + A (1 - t) with t = exp(-beta d), on the values as they stand in the file (sRGB), as RESIDE and the other
public sets lay it. Needs only numpy and PIL, opens no file, and (ranges, seed, name, version) alone decide a haze.
"""

import dataclasses
import hashlib
import math
import unicodedata

import numpy as np
from PIL import Image

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.errors import UsageError

VERSION = 1  # of the rules; to be raised when equal arguments give another haze
KINDS = ("clouds", "ramps")  # of the fields that are made by rule
DEPTH = "depth"
DEPTH_VALUES = ("distance", "nearness", "disparity")
NEAREST = 0.05  # of a disparity map: what is darker counts as 20 times as far as the brightest, and no more
STEEPEST = math.radians(30)  # of a ramp, from upright
_BAND = 1 << 20  # pixels that are in floats at a time


@dataclasses.dataclass(frozen=True)
class Ranges:
    """From what the haze of an image is drawn; every number uniformly.

    Attributes:
        kinds: Of `KINDS`, one of which is drawn; or only `DEPTH`, where there are depth maps.
        beta: Lowest and highest scattering coefficient, for a field whose greatest value is 1.
        airlight: Lowest and highest A, in [0, 1].
        tint: How far red and blue of A may lie apart, in [0, 1]: A is (a + w/2, a, a - w/2) clipped to [0, 1], with w
            drawn from [-tint, tint]. Below 0 it is bluish, above 0 as of dust.

    Raises:
        UsageError: A range is empty or leaves what it can mean.
    """

    kinds: tuple[str, ...] = KINDS
    beta: tuple[float, float] = (0.6, 1.8)
    airlight: tuple[float, float] = (0.7, 1.0)
    tint: float = 0.04

    def __post_init__(self):
        if self.kinds != (DEPTH,) and not (self.kinds and set(self.kinds) <= set(KINDS)):
            raise UsageError(f"kind={','.join(self.kinds)} must be one or several of {','.join(KINDS)}")
        for name, (low, high), top in (("beta", self.beta, np.inf), ("airlight", self.airlight, 1)):
            if not (0 <= low <= high <= top and high < np.inf):  # false for NaN too
                limit = "" if top == np.inf else f", {top} or less"
                raise UsageError(f"{name}={low},{high} must be LOW,HIGH with numbers of 0 or more{limit}")
        if not 0 <= self.tint <= 1:
            raise UsageError(f"tint={self.tint} must lie in [0, 1]")


@dataclasses.dataclass(frozen=True)
class Haze:
    """The haze of one image, as a manifest tells it; enough to lay it again.

    Attributes:
        kind: `clouds`, `ramps` or `depth`.
        beta: Scattering coefficient.
        airlight: A, three numbers in [0, 1], RGB.
        field_seed: What the cloud field or the ramp is drawn from.
    """

    kind: str
    beta: float
    airlight: tuple[float, float, float]
    field_seed: int


def draw(ranges: Ranges, *, seed: int, name: str, version: int) -> Haze:
    """Draws the haze of one version of one image.

    Args:
        ranges: From what.
        seed: 0 or more.
        name: Of the clear image. It is part of the seed, so an image keeps its haze when others come or go.
        version: Of several hazy images of one clear one.

    Returns:
        The haze. Its numbers are rounded to what a manifest shows.
    """
    name = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    words = np.frombuffer(hashlib.sha256(name).digest(), "<u4").tolist()
    rng = np.random.Generator(np.random.PCG64([seed, version, *words]))
    kind = ranges.kinds[int(rng.integers(len(ranges.kinds)))]
    beta, level = rng.uniform(*ranges.beta), rng.uniform(*ranges.airlight)
    warm = rng.uniform(-ranges.tint, ranges.tint) / 2
    airlight = tuple(round(min(max(level + d, 0.0), 1.0), 4) for d in (warm, 0.0, -warm))
    return Haze(kind, round(beta, 4), airlight, int(rng.integers(2**53)))  # 53 bits: any JSON reader's


def lay(clear: np.ndarray, haze: Haze, *, depth: np.ndarray | None = None) -> np.ndarray:
    """Lays the haze on an image.

    Args:
        clear: uint8 [H, W, 3] RGB.
        haze: Of `draw`.
        depth: float32 [H, W], 0 or more, for haze of kind `depth`; else None.

    Returns:
        uint8 [H, W, 3].

    Raises:
        UsageError: A depth map is missing or too much, or of another size than the image.
    """
    if (depth is None) == (haze.kind == DEPTH):
        raise UsageError(f"haze of kind {haze.kind} {'needs a' if depth is None else 'takes no'} depth map")
    size = clear.shape[:2]
    field = make_field(haze, size) if depth is None else depth
    if field.shape != size:
        raise UsageError(f"the depth map is {field.shape}, the image {size}; bring it to size with `fit`")
    hazy, rows = np.empty_like(clear), max(1, _BAND // max(size[1], 1))
    for top in range(0, size[0], rows):
        band = slice(top, top + rows)
        below = clear[band].astype(np.float32) / np.float32(255)
        laid = synthetic_pairs.add_haze(below, depth=field[band], beta=haze.beta, airlight=haze.airlight)
        hazy[band] = np.rint(255 * laid).astype(np.uint8)
    return hazy


def make_field(haze: Haze, size: tuple[int, int]) -> np.ndarray:
    """The optical thickness of a haze made by rule: float32 [height, width] in [0, 1]."""
    rng = np.random.Generator(np.random.PCG64(haze.field_seed))
    return {"clouds": synthetic_pairs.thickness, "ramps": _ramp}[haze.kind](rng, size)


def _ramp(rng, size):
    """A view into the distance without its depth: near below, far above, leaning a little to one side."""
    height, width = size
    lean, near, curve = rng.uniform(-STEEPEST, STEEPEST), rng.uniform(0.05, 0.35), rng.uniform(0.7, 2.0)
    y, x = np.arange(height, 0, -1, dtype=np.float32), np.arange(width, dtype=np.float32)
    away = np.float32(math.cos(lean)) * y[:, None] + np.float32(math.sin(lean)) * x
    away -= away.min()
    away /= max(float(away.max()), 1e-6)
    return (near + (1 - near) * away ** np.float32(curve)).astype(np.float32)


def distance(values: np.ndarray, *, meaning: str = "distance", scale: float = 1.0) -> np.ndarray:
    """What a depth map's values mean.

    Args:
        values: float32 [H, W] in [0, 1], as a part of white.
        meaning: `distance`: near is dark, d = scale v. `nearness`: near is bright, d = scale (1 - v). `disparity`: near
            is bright, d in inverse proportion, scale NEAREST / max(v, NEAREST), as of stereo and of networks that
            estimate inverse depth.
        scale: The distance that the farthest value stands for.

    Returns:
        float32 [H, W] in [0, scale].
    """
    scale = np.float32(scale)
    if meaning == "distance":
        return scale * values
    if meaning == "nearness":
        return scale * (1 - values)
    if meaning == "disparity":
        return scale * np.float32(NEAREST) / np.maximum(values, np.float32(NEAREST))
    raise UsageError(f"depth_values={meaning} is none of {', '.join(DEPTH_VALUES)}")


def fits(depth: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether a depth map of this (height, width) can be brought to the image's: the same shape, to a pixel."""
    (dh, dw), (height, width) = depth, image
    return abs(dh * width - dw * height) <= max(height, width, dh, dw)


def fit(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Brings float32 [H, W] to (height, width), bilinearly."""
    if depth.shape == size:
        return depth
    return np.asarray(Image.fromarray(depth).resize(size[::-1], Image.Resampling.BILINEAR))
