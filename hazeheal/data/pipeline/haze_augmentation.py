"""Haze augmentation: replaces the haze of a share of the training inputs, drawn again each time a pair is used.

For configured shares of the positions the input is

    synthetic haze on the clear image, so that the generator sees each scene under any haze
    the clear image itself, so that the generator learns to leave clear images unchanged
    the pair's own haze, thinner or thicker and under another airlight (`rehaze`)

Synthetic haze follows I = J t + A (1 - t), t = exp(-d) (Koschmieder 1924), in sRGB values, as in RESIDE (Li et al.
2019) and later sets, because it is mixed with their pairs. The optical thickness d has the drawn mean `density`, and
blends
    a ramp   from near to far in the direction of the horizon, mostly upwards      (dominant in `ground`)
    clouds   fractal noise above a drawn cover, over a floor                       (dominant in `aerial`)
Camera effects follow: noise (shot and read), JPEG blocks with any grid offset, rounding to 8 bits.

All draws depend on (seed, position), as in `augment`. The seeds there end in numbers of 0 and more, those here in
negative numbers. The decoded hazy image is not needed for synthetic haze, and the pipeline does not decode it.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline.decode import DCT, to_uint8
from hazeheal.data.pipeline.haze_settings import HazeSettings
from hazeheal.data.pipeline.rehaze import rehaze

OWN_HAZE, SYNTHETIC, CLEAR, REHAZED = range(4)  # the sources that `draw_source` returns

MAX_THICKNESS = 2.5  # of any pixel: 8 % of the scene is transmitted, 20 of 256 levels
COARSEST = 4  # cells of the coarsest octave along a side

# The numbers drawn for one image, each uniform over [0, 1). Append new ones, so that the others do not change.
DRAWN = ("kind", "density", "blend", "airlight", "warm", "green", "sun", "sun_side")
DRAWN += ("tilt", "turned", "turn", "horizon", "reach", "near", "curve")
DRAWN += ("gain", "octave", "cover", "power", "floor")
DRAWN += ("noise", "shot", "grain_y", "grain_x", "jpeg", "quality", "block_y", "block_x")


def make_grain(size: int) -> np.ndarray:
    """Returns a field of normal deviates from which the noise of an image is cropped.

    A crop at a drawn place is as good as new noise, and takes a twentieth of the time. For images of side `size` the
    field is float32 `[2 size, 2 size, 3]`, the same in every call.
    """
    return np.random.Generator(np.random.PCG64(0)).standard_normal((2 * size, 2 * size, 3), np.float32)


def training_input(
    clear: tf.Tensor,
    decode_hazy: Callable[[], tf.Tensor],
    *,
    settings: HazeSettings,
    seed: int,
    position: tf.Tensor,
    grain: np.ndarray,
) -> tf.Tensor:
    """Returns the input of the generator at one position (an int64 scalar of 0 or more), uint8 `[S, S, 3]`.

    `clear` is the target, uint8 `[S, S, 3]`. `decode_hazy` returns the pair's own hazy image, and is called only if it
    is needed. `seed` is the run's, and `grain` is `make_grain(S)`.
    """
    haze_seed = [seed, -3 * position - 2]  # Each position has three seeds, all negative.
    inputs = {
        OWN_HAZE: decode_hazy,
        SYNTHETIC: lambda: apply_synthetic_haze(clear, settings=settings, seed=haze_seed, grain=grain),
        CLEAR: lambda: tf.identity(clear),
        REHAZED: lambda: rehaze_pair(decode_hazy(), clear, settings=settings, seed=haze_seed),
    }
    source = draw_source(settings=settings, seed=seed, position=position)
    hazy = tf.switch_case(source, inputs)
    return tf.ensure_shape(hazy, clear.shape)


def draw_source(*, settings: HazeSettings, seed: int, position: tf.Tensor) -> tf.Tensor:
    """Draws the source of the input at one position: OWN_HAZE, SYNTHETIC, CLEAR or REHAZED, an int32 scalar."""
    drawn = _uniform(1, [seed, -3 * position - 1])[0]
    synthetic = settings.share
    clear = synthetic + settings.share_clear
    rehazed = clear + settings.share_relaid
    source = tf.where(drawn < rehazed, REHAZED, OWN_HAZE)
    source = tf.where(drawn < clear, CLEAR, source)
    return tf.where(drawn < synthetic, SYNTHETIC, source)


def rehaze_pair(
    hazy: tf.Tensor, clear: tf.Tensor, *, settings: HazeSettings, seed: Sequence[int | tf.Tensor]
) -> tf.Tensor:
    """Changes the haze of a pair, uint8 `[S, S, 3]`, by a drawn factor and airlight, and returns the new hazy image."""
    drawn = _uniform(5, seed)
    thickness, shift, tints = drawn[0], drawn[1], drawn[2:]
    low, high = math.log(settings.relaid_min), math.log(settings.relaid_max)
    factor = tf.exp(_between(thickness, low, high))
    shift = _between(shift, -settings.relaid_shift, settings.relaid_shift)
    if settings.relaid_tint:
        shift += _between(tints, -settings.relaid_tint, settings.relaid_tint)
    return to_uint8(rehaze(hazy, clear, thickness=factor, shift=shift))


def apply_synthetic_haze(
    clear: tf.Tensor, *, settings: HazeSettings, seed: Sequence[int | tf.Tensor], grain: np.ndarray
) -> tf.Tensor:
    """Applies drawn haze and camera effects to a clear image, uint8 `[S, S, 3]`.

    Of the two integers in `seed`, the second one and the one below it are used. `grain` is `make_grain(S)`.
    """
    size = clear.shape[0]
    drawn = dict(zip(DRAWN, tf.unstack(_uniform(len(DRAWN), seed)), strict=True))
    sides = _octave_sides(size)
    noise = tf.random.stateless_normal([sum(side * side for side in sides)], seed=[seed[0], seed[1] - 1], alg="philox")
    y, x = np.mgrid[: sides[-1], : sides[-1]].astype(np.float32) / sides[-1]
    thickness = _thickness(drawn, noise, sides, y=y, x=x, settings=settings)
    transmission = tf.exp(-tf.minimum(thickness, MAX_THICKNESS))
    # Haze is brighter towards the sun.
    angle = 2 * math.pi * drawn["sun_side"]
    sun = 1 + 0.16 * drawn["sun"] * (tf.cos(angle) * (y - 0.5) + tf.sin(angle) * (x - 0.5))
    # Both maps, t and sun (1 - t), are smooth, so half the resolution is enough.
    maps = _resize(tf.stack([transmission, sun * (1 - transmission)], axis=-1)[tf.newaxis], size)[0]
    hazy = tf.cast(clear, tf.float32) * maps[..., :1] + 255 * _airlight(drawn, settings) * maps[..., 1:]
    return _add_camera_effects(hazy, drawn, settings=settings, grain=grain)


def _thickness(drawn, noise, sides, *, y, x, settings):
    """Optical thickness `[L, L]` of mean `density`."""
    # The direction of the horizon is upwards with a small tilt or, in one image out of eight, arbitrary.
    tilt = tf.where(drawn["turned"] < 0.125, 2 * math.pi * drawn["turn"], 0.8 * (drawn["tilt"] - 0.5))
    distance = tf.cos(tilt) * (0.5 - y) + tf.sin(tilt) * (x - 0.5) + 0.5
    distance = (distance - _between(drawn["horizon"], -0.6, 0.3)) / _between(drawn["reach"], 0.7, 1.6)
    curve = tf.exp(_between(drawn["curve"], math.log(0.7), math.log(3)))
    near = drawn["near"]
    ramp = near + (1 - near) * tf.clip_by_value(distance, 1e-3, 1.0) ** curve

    field = _fractal(drawn, noise, sides)
    banks = tf.maximum(field + _between(drawn["cover"], -0.3, 2.0), 1e-3)
    clouds = banks ** _between(drawn["power"], 0.8, 1.6)
    floor = drawn["floor"]
    clouds = floor + (1 - floor) * clouds / tf.reduce_mean(clouds)

    ground_share = {"ground": 1.0, "aerial": 0.0, "mixed": 0.5}[settings.kind]
    minor = 0.15 * drawn["blend"]  # weight of the other kind of field
    cloud_weight = tf.where(drawn["kind"] < ground_share, minor, 1 - minor)
    low, high = math.log(settings.density_min), math.log(settings.density_max)
    density = tf.exp(_between(drawn["density"], low, high))
    return density * ((1 - cloud_weight) * ramp / tf.reduce_mean(ramp) + cloud_weight * clouds)


def _fractal(drawn, noise, sides):
    """Fractal noise `[L, L]` of mean 0 and standard deviation 1.

    Each octave is added to the previous one at twice its size. Bilinear interpolation between pixel centers has the
    weights 3/4 and 1/4 of Chaikin's corner cutting (1974). Repeated, it gives smooth quadratic splines without a
    visible lattice.
    """
    octave = np.arange(len(sides), dtype=np.float32)
    coarsest = tf.floor(3 * drawn["octave"])  # Octaves before it have weight 0.
    weights = tf.where(octave < coarsest, 0.0, _between(drawn["gain"], 0.4, 0.7) ** (octave - coarsest))
    parts = tf.split(noise, [side * side for side in sides])
    field = None
    for weight, part, side in zip(tf.unstack(weights), parts, sides, strict=True):
        part = weight * tf.reshape(part, [1, side, side, 1])
        field = part if field is None else _resize(field, side) + part
    field = field[0, ..., 0] - tf.reduce_mean(field)
    return field * tf.math.rsqrt(tf.reduce_mean(field * field) + 1e-12)


def _airlight(drawn, settings):
    """`[3]` in [0, 1]: a gray with a tint between blue and yellow, and a smaller one between green and purple."""
    gray = _between(drawn["airlight"], settings.airlight_min, settings.airlight_max)
    warm, green = 2 * drawn["warm"] - 1, 2 * drawn["green"] - 1
    tint = settings.tint * (warm * np.float32([1, 0, -1]) + green * np.float32([-0.15, 0.3, -0.15]))
    return tf.clip_by_value(gray * (1 + tint), 0.0, 1.0)


def _add_camera_effects(hazy, drawn, *, settings, grain):
    """Adds noise and JPEG artifacts: float32 `[S, S, 3]` of about 0 to 255 to uint8."""
    size = hazy.shape[0]
    if settings.noise:
        # Strong noise is rare. Its variance grows with the brightness (shot) from a floor (read).
        deviation = settings.noise * drawn["noise"] ** 2
        shot = _between(drawn["shot"], 0.2, 0.9)
        corner = [tf.cast(drawn[name] * (size + 1), tf.int32) for name in ("grain_y", "grain_x")]
        window = tf.slice(grain, [*corner, 0], [size, size, 3])
        hazy += window * (deviation * tf.sqrt(255 * (255 * (1 - shot) + shot * tf.maximum(hazy, 0.0))))
    hazy = to_uint8(hazy)
    if not settings.jpeg_share:
        return hazy
    choices = settings.jpeg_quality_max - settings.jpeg_quality_min + 1
    quality = settings.jpeg_quality_min + tf.cast(drawn["quality"] * choices, tf.int32)
    # A crop begins anywhere in the 8x8 grid of its file, or in a 16x16 grid if the chroma is subsampled.
    block = [tf.cast(drawn[name] * min(16, size), tf.int32) for name in ("block_y", "block_x")]
    return tf.cond(drawn["jpeg"] < settings.jpeg_share, lambda: _compress_jpeg(hazy, quality, block), lambda: hazy)


def _compress_jpeg(image, quality, block):
    """Compresses and decodes an image as JPEG, with a grid that begins `block` ([y, x]) pixels before it."""
    padded = tf.pad(image, [[block[0], 0], [block[1], 0], [0, 0]], "REFLECT")
    encoded = tf.raw_ops.EncodeJpegVariableQuality(images=padded, quality=quality)
    decoded = tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT)
    return tf.slice(decoded, [*block, 0], tf.shape(image))


def _octave_sides(size):
    """Sides of the octaves' lattices: 4, 8, ... up to half the image's side."""
    sides = [COARSEST]
    while 4 * sides[-1] <= size:
        sides.append(2 * sides[-1])
    return sides


def _resize(maps, side):
    """Resizes `[1, L, L, C]` to `[1, side, side, C]`, bilinearly between pixel centers."""
    return tf.raw_ops.ResizeBilinear(images=maps, size=[side, side], half_pixel_centers=True)


def _between(share, low, high):
    return low + (high - low) * share


def _uniform(count, seed):
    """`[count]` float32, uniform over [0, 1). Philox is explicit, because `auto` depends on the device."""
    return tf.random.stateless_uniform([count], seed=seed, alg="philox")
