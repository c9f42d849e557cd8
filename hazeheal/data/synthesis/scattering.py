"""Synthetic haze in NumPy: the scattering model, the parameters drawn for an image, and haze fields.

The model I = J t + A (1 - t) with t = exp(-beta d) is applied to the sRGB values of the file, as in RESIDE and other
public sets. The haze of an image depends on (ranges, seed, name, version) alone. TensorFlow is not needed.
"""

import dataclasses
import hashlib
import math
import unicodedata

import numpy as np
from PIL import Image

from hazeheal.data.synthesis.noise import fractal
from hazeheal.errors import UsageError

VERSION = 1  # Raise it when equal arguments give a different haze.
KINDS = ("clouds", "ramps")  # of synthetic fields
DEPTH = "depth"
DEPTH_VALUES = ("distance", "nearness", "disparity")
MIN_DISPARITY = 0.05  # Smaller disparities count as this one, so distances span a factor of 20.
MAX_RAMP_ANGLE = math.radians(30)  # from the vertical
_BAND_PIXELS = 1 << 20  # Images are converted to float in bands of about this many pixels.


@dataclasses.dataclass(frozen=True)
class Ranges:
    """The ranges that the haze of an image is drawn from, uniformly.

    Attributes:
        kinds: Any of `KINDS`, one of which is drawn, or only `DEPTH` if there are depth maps.
        beta: Lowest and highest scattering coefficient, for a field whose largest value is 1.
        airlight: Lowest and highest A, in [0, 1].
        tint: Largest difference between red and blue of A, in [0, 1]: A is (a + w/2, a, a - w/2) clipped to [0, 1],
            with w drawn from [-tint, tint]. Negative w is bluish, positive w is dusty.

    Raises:
        UsageError: A range is empty or exceeds the valid values.
    """

    kinds: tuple[str, ...] = KINDS
    beta: tuple[float, float] = (0.6, 1.8)
    airlight: tuple[float, float] = (0.7, 1.0)
    tint: float = 0.04

    def __post_init__(self):
        if self.kinds != (DEPTH,) and not (self.kinds and set(self.kinds) <= set(KINDS)):
            raise UsageError(f"kind={','.join(self.kinds)} must be one or more of {','.join(KINDS)}")
        for name, (low, high), top in (("beta", self.beta, np.inf), ("airlight", self.airlight, 1)):
            if not (0 <= low <= high <= top and high < np.inf):  # false for NaN too
                limit = "finite numbers of 0 or more" if top == np.inf else f"numbers in [0, {top}]"
                raise UsageError(f"{name}={low},{high} must be LOW,HIGH with {limit}")
        if not 0 <= self.tint <= 1:
            raise UsageError(f"tint={self.tint} must be in [0, 1]")


@dataclasses.dataclass(frozen=True)
class Haze:
    """The haze of one image as a manifest records it, sufficient to apply it again.

    Attributes:
        kind: `clouds`, `ramps` or `depth`.
        beta: Scattering coefficient.
        airlight: A, RGB in [0, 1].
        field_seed: Seed of the cloud field or the ramp.
    """

    kind: str
    beta: float
    airlight: tuple[float, float, float]
    field_seed: int


def draw(ranges: Ranges, *, seed: int, name: str, version: int) -> Haze:
    """Draws the haze of one version of one image, with numbers rounded to the precision of a manifest.

    `seed` is 0 or more. The name of the clear image is part of it, so adding or removing other images changes nothing.
    """
    name_bytes = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    name_seeds = np.frombuffer(hashlib.sha256(name_bytes).digest(), "<u4").tolist()
    rng = np.random.Generator(np.random.PCG64([seed, version, *name_seeds]))
    kind = ranges.kinds[int(rng.integers(len(ranges.kinds)))]
    beta, level = rng.uniform(*ranges.beta), rng.uniform(*ranges.airlight)
    warmth = rng.uniform(-ranges.tint, ranges.tint) / 2
    airlight = tuple(round(min(max(level + d, 0.0), 1.0), 4) for d in (warmth, 0.0, -warmth))
    return Haze(kind, round(beta, 4), airlight, int(rng.integers(2**53)))  # JSON readers keep 53 bits


def apply_haze(clear: np.ndarray, haze: Haze, *, depth: np.ndarray | None = None) -> np.ndarray:
    """Applies haze to a uint8 RGB image `[H, W, 3]`; haze of kind `depth` needs distances, float32 `[H, W]`."""
    size = clear.shape[:2]
    field = make_field(haze, size) if depth is None else depth
    hazy, rows = np.empty_like(clear), max(1, _BAND_PIXELS // max(size[1], 1))
    for top in range(0, size[0], rows):
        band = slice(top, top + rows)
        scene = clear[band].astype(np.float32) / np.float32(255)
        result = add_haze(scene, depth=field[band], beta=haze.beta, airlight=haze.airlight)
        hazy[band] = np.rint(255 * result).astype(np.uint8)
    return hazy


def add_haze(
    clear: np.ndarray,
    *,
    depth: np.ndarray,
    beta: float,
    airlight: float | tuple[float, ...] | np.ndarray = 0.9,
) -> np.ndarray:
    """Applies the atmospheric scattering model I = J t + A (1 - t), t = exp(-beta depth).

    See Koschmieder (1924), and Narasimhan and Nayar, "Vision and the Atmosphere" (2002).

    Args:
        clear: The scene J, float `[H, W, 3]` in [0, 1].
        depth: float `[H, W]`, 0 or more: the distance from the camera in any unit or, in a view from above, the
            optical thickness of the layer.
        beta: Scattering coefficient in 1 / (unit of `depth`), 0 or more.
        airlight: A in [0, 1], one number or three (RGB).

    Returns:
        float32 `[H, W, 3]` in [0, 1].
    """
    clear, depth = np.asarray(clear, np.float32), np.asarray(depth, np.float32)
    airlight = np.asarray(airlight, np.float32)
    transmission = np.exp(-np.float32(beta) * depth)[..., None]
    return clear * transmission + airlight * (1 - transmission)


def make_field(haze: Haze, size: tuple[int, int]) -> np.ndarray:
    """Returns the optical thickness of synthetic haze, float32 `[height, width]` in [0, 1]."""
    rng = np.random.Generator(np.random.PCG64(haze.field_seed))
    return {"clouds": thickness, "ramps": _ramp}[haze.kind](rng, size)


def thickness(rng: np.random.Generator, size: int | tuple[int, int]) -> np.ndarray:
    """Draws a layer of haze seen from above: a uniform part plus fractal banks.

    `size` is the side in pixels, or (height, width). The result is the optical thickness relative to its maximum,
    float32 `[height, width]` in (0, 1].
    """
    banks = fractal(rng, size, cells=rng.uniform(1.2, 2.8), octaves=6, gain=rng.uniform(0.38, 0.55))
    banks = banks - banks.min()
    banks = (banks / max(float(banks.max()), 1e-6)) ** rng.uniform(0.9, 1.6)
    floor = rng.uniform(0.15, 0.5)
    return (floor + (1 - floor) * banks).astype(np.float32)


def _ramp(rng, size):
    """Distance in a view towards the horizon: near at the bottom, far at the top, slightly tilted."""
    height, width = size
    tilt = rng.uniform(-MAX_RAMP_ANGLE, MAX_RAMP_ANGLE)
    near, curve = rng.uniform(0.05, 0.35), rng.uniform(0.7, 2)
    y, x = np.arange(height, 0, -1, dtype=np.float32), np.arange(width, dtype=np.float32)
    position = np.float32(math.cos(tilt)) * y[:, None] + np.float32(math.sin(tilt)) * x
    position -= position.min()
    position /= max(float(position.max()), 1e-6)
    return (near + (1 - near) * position ** np.float32(curve)).astype(np.float32)


def distance(values: np.ndarray, *, meaning: str = "distance", scale: float = 1.0) -> np.ndarray:
    """Converts the values of a depth map to distances.

    Args:
        values: float32 `[H, W]` in [0, 1], 1 is white.
        meaning: One of `DEPTH_VALUES`. `distance`: near is dark, d = scale v. `nearness`: near is bright,
            d = scale (1 - v). `disparity`: near is bright and d is inversely proportional,
            d = scale MIN_DISPARITY / max(v, MIN_DISPARITY), as in stereo and in networks that estimate inverse depth.
        scale: The largest distance.

    Returns:
        float32 `[H, W]` in [0, scale].
    """
    scale = np.float32(scale)
    if meaning == "distance":
        return scale * values
    if meaning == "nearness":
        return scale * (1 - values)
    return scale * np.float32(MIN_DISPARITY) / np.maximum(values, np.float32(MIN_DISPARITY))


def depth_fits(depth: tuple[int, int], image: tuple[int, int]) -> bool:
    """Returns whether two (height, width) sizes have the same aspect ratio, to within one pixel."""
    (depth_height, depth_width), (height, width) = depth, image
    difference = abs(depth_height * width - depth_width * height)
    return difference <= max(height, width, depth_height, depth_width)


def resize_depth(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a depth map, float32 `[H, W]`, to (height, width) by bilinear interpolation."""
    if depth.shape == size:
        return depth
    return np.asarray(Image.fromarray(depth).resize(size[::-1], Image.Resampling.BILINEAR))
