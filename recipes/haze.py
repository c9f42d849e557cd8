"""Draws hazy and clear image pairs from clear images, for the networks that the package includes.

    hazy, clear = outdoor_pair(rng, clear, depth=depth, other_depth=other_depth)

Haze follows I = J t + A (1 - t) with t = exp(-tau). What differs between pictures of the real world is drawn anew for
each pair: the optical thickness tau and how it varies over the image, the airlight A, whether the sensor or the file adds
up light, noise, JPEG, and borders that are not part of the scene. All images are uint8 `[H, W, 3]`, and all functions are
deterministic in their `numpy.random.Generator`.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from hazeheal.data.synthesis.noise import fractal
from hazeheal.data.synthesis.scattering import add_haze, thickness

FAR = 50.0  # distance of the sky in a depth map


def outdoor_pair(rng, clear, *, depth=None, other_depth=None):
    """Haze that thickens with the distance from a camera on the ground.

    `depth` is that of the image, float32 `[h, w]` from 1 to `FAR`, and `other_depth` that of another image: haze that does
    not follow the scene makes a network generalize better (Engin et al. and arXiv:2401.07213). A quarter of the pairs
    use it, and all images that have no depth map.
    """
    size = clear.shape[:2]
    use_other = depth is None or (other_depth is not None and rng.random() < 0.25)
    tau = _distance_haze(
        rng, _resized(other_depth if use_other else depth, size, flip=use_other and rng.random() < 0.5)
    )
    if rng.random() < 0.25:
        tau *= _height_profile(rng, size)
    if rng.random() < 0.3:
        tau *= np.exp(rng.uniform(0.2, 0.8) * fractal(rng, size, cells=rng.uniform(1, 5)))
    return _finish(rng, clear, tau, border_share=0.08)


def fog_pair(rng, clear, *, depth):
    """White or gray fog under an overcast sky, thicker with distance and mostly with height too.

    The clear image shows what can still be seen. Its sky has nearly the color of the fog, and fog that transmits less than
    a fourth of the light stays in part: the mean of all that it may hide would be a dark smear. A third of the pairs has
    white fog, as cameras that expose for the ground show it.
    """
    size = clear.shape[:2]
    distance = _resized(depth, size)
    tau = _distance_haze(rng, distance, lowest=0.15)
    if rng.random() < 0.6:
        tau += _fog_above(rng, size)
    airlight = np.clip(rng.uniform(0.55, 1.25) + rng.normal(0, 0.02, 3), 0.4, 1.0).astype(np.float32)
    is_sky = _smoothstep(np.log(distance) / np.log(FAR), 0.85, 0.98)[..., None]
    sky = airlight * (1 + rng.uniform(-0.12, 0.06) * _ramp(rng, size)[..., None])
    scene = clear.astype(np.float32) / 255
    scene += is_sky * (sky - scene)
    visible = _smoothstep(np.exp(-tau), 0.02, 0.25)[..., None]
    return _finish(rng, _to_uint8(airlight + visible * (scene - airlight)), tau, border_share=0.04, airlight=airlight)


def reside_pair(rng, clear, *, depth):
    """Haze as in RESIDE's outdoor sets (Li et al. 2019): a gray airlight, and no camera effects.

    The depths there are estimates of a network: the optical thickness of the sky is only two to three times that of
    what is near. Over 10 pairs of SOTS outdoor its 5th and 95th percentiles are 0.30 and 0.63 in the mean.
    """
    near, span = rng.uniform(1.2, 2.6), rng.uniform(0.8, 3.5)
    distance = _resized(near + span * np.log(depth) / np.log(FAR), clear.shape[:2])
    scene = clear.astype(np.float32) / 255
    hazy = _to_uint8(add_haze(scene, depth=distance, beta=rng.uniform(0.06, 0.22), airlight=rng.uniform(0.75, 1)))
    return (_jpeg(hazy, int(rng.integers(75, 96))) if rng.random() < 0.3 else hazy), clear


def indoor_pair(rng, clear, *, other_depth):
    """Haze in a room: along the depth of another image, in a smooth bank, or even."""
    size, kind = clear.shape[:2], rng.random()
    if kind < 0.45:
        tau = np.minimum(_resized(other_depth, size, flip=rng.random() < 0.5), 12) ** rng.uniform(0.3, 1)
        tau *= _log_uniform(rng, 0.15, 2.5) / tau.mean()
    elif kind < 0.85:
        field = np.exp(rng.uniform(0.2, 0.9) * fractal(rng, size, cells=rng.uniform(0.5, 3), octaves=3))
        tau = field * (_log_uniform(rng, 0.15, 2.5) / field.mean())
    else:
        tau = np.full(size, _log_uniform(rng, 0.15, 2.5), np.float32)
    return _finish(rng, clear, tau, border_share=0.04)


def aerial_pair(rng, clear):
    """Haze and clouds seen from above: an even layer, banks, and patches of every size that may hide the ground."""
    size = clear.shape[:2]
    tau = np.full(size, _log_uniform(rng, 0.05, 1.2) if rng.random() < 0.5 else 0.02, np.float32)
    if rng.random() < 0.3:
        tau += _log_uniform(rng, 0.2, 2.0) * thickness(rng, size)
    if rng.random() < 0.7:
        for _ in range(rng.integers(1, 3)):
            noise = fractal(rng, size, cells=_log_uniform(rng, 0.7, 14), octaves=6, gain=rng.uniform(0.35, 0.6))
            soft = rng.uniform(0.3, 1.6)
            low = rng.uniform(-1.2, 1.0)
            tau += _log_uniform(rng, 0.3, 4.0) * _smoothstep(noise, low, low + soft)
    return _finish(rng, clear, tau, border_share=0.08, collars=True)


def mosaic_pair(rng, pairs):
    """A grid of pairs whose haze differs from tile to tile; `pairs` are 4, 9 or 16 (hazy, clear) of one size."""
    side = round(len(pairs) ** 0.5)
    grid = [pairs[row * side : (row + 1) * side] for row in range(side)]
    return tuple(np.concatenate([np.concatenate([p[i] for p in row], 1) for row in grid], 0) for i in range(2))


def flat_pair(rng, size):
    """A picture of one color, of a gradient, or of soft clouds of color, which has to stay as it is."""
    low, high = rng.uniform(0, 1, (2, 3)) if rng.random() < 0.5 else np.repeat(rng.uniform(0, 1, (2, 1)), 3, 1)
    kind = rng.random()
    if kind < 0.4:
        weight = np.zeros(size, np.float32)
    elif kind < 0.7:
        weight = _ramp(rng, size)
    else:
        weight = 0.5 + 0.2 * fractal(rng, size, cells=rng.uniform(0.5, 3), octaves=2)
    image = low + np.clip(weight, 0, 1)[..., None] * (high - low)
    if rng.random() < 0.3:
        image = image + rng.uniform(0, 0.02) * rng.standard_normal(image.shape)
    image = _to_uint8(image)
    return image, image


def contrast_kept(hazy, clear, *, block=16):
    """The median over blocks of the hazy image's standard deviation relative to the clear image's."""
    height, width = (side // block * block for side in clear.shape[:2])
    deviations = []
    for image in (hazy, clear):
        gray = image[:height, :width].mean(-1)
        deviations.append(gray.reshape(height // block, block, width // block, block).std((1, 3)))
    return float(np.median(deviations[0] / np.maximum(deviations[1], 2)))


def _distance_haze(rng, depth, *, lowest=0.08):
    """Optical thickness along a depth map; the median of the scene without the sky gets `lowest` to 2.2."""
    depth = depth ** rng.uniform(0.7, 1.3)
    scene = depth[depth < 0.8 * depth.max()]
    median = float(np.median(scene if scene.size else depth))
    return depth * np.float32(_log_uniform(rng, lowest, 2.2) / median)


def _height_profile(rng, size):
    """Factor on the thickness for a layer of haze that thins out above the horizon, float32 `[H, 1]`."""
    horizon, scale = rng.uniform(0.2, 0.7), rng.uniform(0.05, 0.5)
    above = horizon - (np.arange(size[0], dtype=np.float32) + 0.5) / size[0]
    return np.exp(-np.maximum(above, 0) / scale)[:, None].astype(np.float32)


def _fog_above(rng, size):
    """Thickness of fog that hides what is high in the image, float32 `[H, W]`; its lower limit is not even."""
    height = 1 - (np.arange(size[0], dtype=np.float32)[:, None] + 0.5) / size[0]
    base = rng.uniform(0.25, 0.8) + rng.uniform(0.02, 0.1) * fractal(rng, size, cells=rng.uniform(0.5, 2), octaves=3)
    return np.float32(_log_uniform(rng, 1, 12)) * np.maximum(height - base, 0)


def _finish(rng, clear, tau, *, border_share, collars=False, airlight=None):
    """Applies haze of thickness `tau`, then what cameras, files and editors do."""
    size = clear.shape[:2]
    scene, airlight = clear.astype(np.float32) / 255, _airlight(rng, size) if airlight is None else airlight
    if tau.mean() > 0.8 and rng.random() < 0.3:  # light that is scattered several times blurs what is far
        radius = rng.uniform(0.3, 1.5)
        scene = np.asarray(Image.fromarray(clear).filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255
    gamma = 2.2 if rng.random() < 0.3 else 1.0  # the sensor adds up light; public sets add up the values of files
    airy = np.broadcast_to(airlight, scene.shape) ** gamma
    hazy = add_haze(scene**gamma, depth=tau, beta=1.0, airlight=airy) ** (1 / gamma)
    if rng.random() < 0.5:
        sigma = rng.uniform(0, 0.02) * np.sqrt(rng.uniform(0.2, 1) * hazy + 0.1)
        hazy = hazy + sigma * rng.standard_normal(hazy.shape, np.float32)
    hazy = _to_uint8(hazy)
    if rng.random() < border_share:
        mask, color = (_collar if collars and rng.random() < 0.7 else _bars)(rng, size), _border_color(rng)
        hazy, clear = (np.where(mask[..., None], color, image) for image in (hazy, clear))
    if rng.random() < border_share:
        hazy, clear = _with_text(rng, hazy, clear)
    if rng.random() < 0.5:
        hazy = _jpeg(hazy, int(rng.integers(50, 96)))
    return hazy, clear


def _airlight(rng, size):
    """A, `[3]` or, with a gradient over the image, `[H, W, 3]` float32."""
    light = rng.uniform(0.5, 1.0) + rng.normal(0, 0.03, 3) if rng.random() < 0.7 else np.full(3, rng.uniform(0.6, 1.0))
    if rng.random() < 0.3:
        light = light * (1 + rng.uniform(-0.25, 0.25) * (_ramp(rng, size) - 0.5))[..., None]
    return np.clip(light, 0.3, 1.0).astype(np.float32)


def _smoothstep(values, low, high):
    share = np.clip((values - low) / (high - low), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def _ramp(rng, size):
    """A linear ramp of random direction, float32 `[H, W]` from 0 to 1."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in size)
    ramp = np.cos(angle) * x + np.sin(angle) * y[:, None]
    return (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)


def _bars(rng, size):
    """Letterbox bars, mostly on two opposite sides: bool `[H, W]`."""
    mask, axis = np.zeros(size, bool), int(rng.random() < 0.3)
    across = mask if axis == 0 else mask.T
    width = max(1, round(rng.uniform(0.03, 0.2) * across.shape[0]))
    across[:width] = True
    across[len(across) - (width if rng.random() < 0.8 else 0) :] = True
    return mask


def _collar(rng, size):
    """What lies outside of a rotated rectangle: bool `[H, W]`."""
    angle, (height, width) = rng.uniform(-20, 20), size
    full = Image.new("L", (2 * width, 2 * height), 0)
    inset = rng.uniform(0.8, 1.05) * np.array([width, height]) / 2
    box = [width - inset[0], height - inset[1], width + inset[0], height + inset[1]]
    ImageDraw.Draw(full).rectangle(box, fill=255)
    turned = full.rotate(angle).crop((width // 2, height // 2, width // 2 + width, height // 2 + height))
    return np.asarray(turned) < 128


def _border_color(rng):
    level = rng.choice([0, 0, 0, 255, int(rng.integers(0, 256))])
    return np.full(3, level, np.uint8)


def _with_text(rng, hazy, clear):
    """A timestamp in a corner, as cameras and recorders write it into the picture."""
    height, width = hazy.shape[:2]
    text = "{:04d}-{:02d}-{:02d} {:02d}:{:02d}:{:02d}".format(
        *rng.integers([1990, 1, 1, 0, 0, 0], [2030, 13, 29, 24, 60, 60])
    )
    scale = max(8, round(height * rng.uniform(0.03, 0.08)))
    x, y = rng.choice([0.02, 0.55]) * width, rng.choice([0.02, 0.9]) * height
    color = tuple(int(v) for v in [(255, 255, 255), (255, 220, 0), (255, 60, 40), (0, 255, 0)][rng.integers(4)])
    boxed = rng.random() < 0.4
    images = []
    for image in (hazy, clear):
        picture = Image.fromarray(image)
        draw = ImageDraw.Draw(picture)
        place = {"font_size": scale}
        if boxed:
            draw.rectangle(draw.textbbox((x, y), text, **place), fill=(0, 0, 0))
        draw.text((x, y), text, fill=color, **place)
        images.append(np.asarray(picture))
    return images


def _jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _resized(depth, size, *, flip=False):
    depth = depth[:, ::-1] if flip else depth
    return np.asarray(Image.fromarray(np.ascontiguousarray(depth)).resize(size[::-1], Image.Resampling.BILINEAR))


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _to_uint8(image):
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
