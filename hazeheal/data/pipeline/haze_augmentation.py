"""Fresh haze: laid by rule on the clear image of a pair, another one each time the pair is drawn.

A training set shows each scene under the one haze that it was taken in. Of a configured share of the
positions the input is made here instead, from the clear image alone, so that the generator meets each
scene under any haze; and of another, small share the input is the clear image itself, so that it learns
to leave alone what has no haze. The target is always the data set's own clear image.

Of one more share the pair's own haze is laid anew, thinner or thicker and under another light (`relaid_haze`).

The rule for fresh haze. I = J t + A (1 - t), t = exp(-d) (Koschmieder 1924), in sRGB values, as RESIDE (Li et al. 2019) and
the sets made after it were: what is made must agree with the real pairs that it is mixed with. The optical
thickness d is a blend, of the drawn mean `density`, of
    a ramp   from near to far in the direction of the horizon, mostly upwards      (ground: mostly this)
    clouds   fractal noise above a drawn cover, over a floor                       (aerial: mostly this)
Then what a camera adds: noise (shot and read), JPEG blocks at any place of their grid, rounding to 8 bits.

Everything is drawn from (seed, position) as augmentation is (see `augment`), whose seeds end in numbers of 0
and more; those of this module end in negative ones. It needs no decoded hazy image, and the pipeline decodes none for it.
"""

import math

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline import rehaze
from hazeheal.data.pipeline.decode import DCT

REAL, FRESH, CLEAR, RELAID = range(4)  # what the input of a pair is, as `source` draws it

MAX_THICKNESS = 2.5  # of any pixel: 8 % of the scene come through, 20 of 256 levels
COARSEST = 4  # cells of the coarsest octave along a side

# What is drawn for one image, each uniform over [0, 1). New ones go to the end: then the others stay.
DRAWN = ("kind", "density", "blend", "airlight", "warm", "green", "sun", "sun_side")
DRAWN += ("tilt", "turned", "turn", "horizon", "reach", "near", "curve")
DRAWN += ("gain", "octave", "cover", "power", "floor")
DRAWN += ("noise", "shot", "grain_y", "grain_x", "jpeg", "quality", "block_y", "block_x")


def make_grain(size):
    """A field of normal deviates that is large enough to cut the noise of any image from.

    A window at a drawn place is as good as fresh noise, and costs a twentieth of it.

    Args:
        size: Side of the images.

    Returns:
        float32 [2 size, 2 size, 3] of mean 0 and deviation 1; always the same.
    """
    return np.random.Generator(np.random.PCG64(0)).standard_normal((2 * size, 2 * size, 3), np.float32)


def training_input(clear, real, *, settings, seed, position, grain):
    """What the generator is fed at `position`.

    Args:
        clear: uint8 [S, S, 3].
        real: A function that returns the data set's own hazy image, like `clear`; called where it is drawn.
        settings: The `FreshHaze` of `fresh_haze_settings`.
        seed: The run's seed, an integer of 64 bits.
        position: int64 scalar, at least 0.
        grain: `make_grain(S)`.

    Returns:
        uint8 [S, S, 3].
    """
    ours = -3 * position  # three seeds for each position, all negative
    cases = {
        REAL: real,
        FRESH: lambda: lay(clear, settings=settings, seed=[seed, ours - 2], grain=grain),
        CLEAR: lambda: tf.identity(clear),
        RELAID: lambda: relay(real(), clear, settings=settings, seed=[seed, ours - 2]),
    }
    chosen = source(settings=settings, seed=seed, position=position)
    hazy = tf.switch_case(chosen, [cases[number] for number in sorted(cases)])
    return tf.ensure_shape(hazy, clear.shape)


def source(*, settings, seed, position):
    """Where the input at `position` comes from: REAL, FRESH, CLEAR or RELAID, an int32 scalar."""
    drawn = _uniform(1, [seed, -3 * position - 1])[0]
    fresh = settings.share
    clear = fresh + settings.share_clear
    relaid = clear + settings.share_relaid
    chosen = REAL
    # From the last share to the first: each overrules what lies behind it.
    for number, end in ((RELAID, relaid), (CLEAR, clear), (FRESH, fresh)):
        chosen = tf.where(drawn < end, number, chosen)
    return chosen


def relay(hazy, clear, *, settings, seed):
    """Lays the haze between the two images of a pair anew, as it is drawn for `seed`.

    Args:
        hazy, clear: uint8 [S, S, 3].
        settings: The `FreshHaze`, for `relaid_min`, `relaid_max` and `relaid_shift`.
        seed: [2] integers.

    Returns:
        uint8 [S, S, 3].
    """
    thickness, shift = tf.unstack(_uniform(2, seed))
    low, high = math.log(settings.relaid_min), math.log(settings.relaid_max)
    hazy = rehaze.relay(
        hazy,
        clear,
        thickness=tf.exp(_between(thickness, low, high)),
        shift=_between(shift, -settings.relaid_shift, settings.relaid_shift),
    )
    return _bytes(hazy)


def lay(clear, *, settings, seed, grain):
    """Lays the haze that is drawn for `seed` on an image.

    Args:
        clear: uint8 [S, S, 3].
        settings: The `FreshHaze`; its shares do not matter.
        seed: [2] integers; the second and the one below it are used.
        grain: `make_grain(S)`.

    Returns:
        uint8 [S, S, 3].
    """
    size = clear.shape[0]
    drawn = dict(zip(DRAWN, tf.unstack(_uniform(len(DRAWN), seed)), strict=True))
    sides = _octave_sides(size)
    noise = tf.random.stateless_normal(
        [sum(side * side for side in sides)], seed=[seed[0], seed[1] - 1], alg="philox"
    )
    y, x = np.mgrid[: sides[-1], : sides[-1]].astype(np.float32) / sides[-1]
    thickness = _thickness(drawn, noise, sides, y=y, x=x, settings=settings)
    transmission = tf.exp(-tf.minimum(thickness, MAX_THICKNESS))
    # Haze is brighter towards the sun.
    angle = 2 * math.pi * drawn["sun_side"]
    sun = 1 + 0.16 * drawn["sun"] * (tf.cos(angle) * (y - 0.5) + tf.sin(angle) * (x - 0.5))
    # Smooth as they are, half the resolution does for both.
    maps = _resized(tf.stack([transmission, sun * (1 - transmission)], axis=-1)[tf.newaxis], size)[0]
    hazy = tf.cast(clear, tf.float32) * maps[..., :1] + 255 * _airlight(drawn, settings) * maps[..., 1:]
    return _photographed(hazy, drawn, settings=settings, grain=grain)


def _thickness(drawn, noise, sides, *, y, x, settings):
    """Optical thickness [L, L] of mean `density`."""
    # The direction of the horizon: upwards, a little tilted; of one image in eight, any.
    tilt = tf.where(drawn["turned"] < 0.125, 2 * math.pi * drawn["turn"], 0.8 * (drawn["tilt"] - 0.5))
    way = tf.cos(tilt) * (0.5 - y) + tf.sin(tilt) * (x - 0.5) + 0.5
    way = (way - _between(drawn["horizon"], -0.6, 0.3)) / _between(drawn["reach"], 0.7, 1.6)
    curve = tf.exp(_between(drawn["curve"], math.log(0.7), math.log(3)))
    near = drawn["near"]
    ramp = near + (1 - near) * tf.clip_by_value(way, 1e-3, 1.0) ** curve

    field = _fractal(drawn, noise, sides)
    above = tf.maximum(field + _between(drawn["cover"], -0.3, 2.0), 1e-3)
    clouds = above ** _between(drawn["power"], 0.8, 1.6)
    floor = drawn["floor"]
    clouds = floor + (1 - floor) * clouds / tf.reduce_mean(clouds)

    aerial_from = {"ground": 1.0, "aerial": 0.0, "mixed": 0.5}[settings.kind]
    other = 0.15 * drawn["blend"]  # how much of the other kind there is
    of_clouds = tf.where(drawn["kind"] < aerial_from, other, 1 - other)
    low, high = math.log(settings.density_min), math.log(settings.density_max)
    density = tf.exp(_between(drawn["density"], low, high))
    return density * ((1 - of_clouds) * ramp / tf.reduce_mean(ramp) + of_clouds * clouds)


def _fractal(drawn, noise, sides):
    """Fractal noise [L, L] of mean 0 and deviation 1.

    Each octave is added to the one before at twice its size. Bilinear interpolation between the centers of pixels
    weighs by 3/4 and 1/4, as Chaikin's corner cutting (1974) does: repeated, it draws smooth quadratic splines, of
    which no lattice shows.
    """
    octave = np.arange(len(sides), dtype=np.float32)
    coarsest = tf.floor(3 * drawn["octave"])  # the coarsest octave that counts
    weights = tf.where(octave < coarsest, 0.0, _between(drawn["gain"], 0.4, 0.7) ** (octave - coarsest))
    parts = tf.split(noise, [side * side for side in sides])
    field = None
    for weight, part, side in zip(tf.unstack(weights), parts, sides, strict=True):
        part = weight * tf.reshape(part, [1, side, side, 1])
        field = part if field is None else _resized(field, side) + part
    field = field[0, ..., 0] - tf.reduce_mean(field)
    return field * tf.math.rsqrt(tf.reduce_mean(field * field) + 1e-12)


def _airlight(drawn, settings):
    """[3] in [0, 1]: a gray, tinted between blue and yellow, and less between green and purple."""
    gray = _between(drawn["airlight"], settings.airlight_min, settings.airlight_max)
    warm, green = 2 * drawn["warm"] - 1, 2 * drawn["green"] - 1
    tint = settings.tint * (warm * np.float32([1, 0, -1]) + green * np.float32([-0.15, 0.3, -0.15]))
    return tf.clip_by_value(gray * (1 + tint), 0.0, 1.0)


def _photographed(hazy, drawn, *, settings, grain):
    """float32 [S, S, 3], about 0 to 255 -> uint8, with noise and JPEG artefacts."""
    size = hazy.shape[0]
    if settings.noise:
        # Strong noise is rare. Its variance grows with the light (shot) from a floor (read).
        deviation = settings.noise * drawn["noise"] ** 2
        shot = _between(drawn["shot"], 0.2, 0.9)
        place = [tf.cast(drawn[name] * (size + 1), tf.int32) for name in ("grain_y", "grain_x")]
        window = tf.slice(grain, [*place, 0], [size, size, 3])
        hazy += window * (deviation * tf.sqrt(255 * (255 * (1 - shot) + shot * tf.maximum(hazy, 0.0))))
    hazy = _bytes(hazy)
    if not settings.jpeg_share:
        return hazy
    choices = settings.jpeg_quality_max - settings.jpeg_quality_min + 1
    quality = settings.jpeg_quality_min + tf.cast(drawn["quality"] * choices, tf.int32)
    # A crop begins anywhere in the 8x8 grid of its file, of 16x16 where color was halved.
    block = [tf.cast(drawn[name] * min(16, size), tf.int32) for name in ("block_y", "block_x")]
    return tf.cond(
        drawn["jpeg"] < settings.jpeg_share, lambda: _through_jpeg(hazy, quality, block), lambda: hazy
    )


def _bytes(image):
    """uint8 of float32 of about 0 to 255, rounded."""
    return tf.cast(tf.clip_by_value(image + 0.5, 0.0, 255.0), tf.uint8)


def _through_jpeg(image, quality, block):
    """`image` as a JPEG file gives it back whose grid begins `block` ([y, x]) pixels before it."""
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


def _resized(maps, side):
    """[1, side, side, C] of [1, L, L, C], bilinear between the centers of pixels."""
    return tf.raw_ops.ResizeBilinear(images=maps, size=[side, side], half_pixel_centers=True)


def _between(share, low, high):
    return low + (high - low) * share


def _uniform(count, seed):
    """[count] float32, uniform over [0, 1); Philox by name, as `auto` depends on the device."""
    return tf.random.stateless_uniform([count], seed=seed, alg="philox")
