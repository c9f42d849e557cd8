"""Tiles give the result of the whole image; batches and devices do not change it."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tiny

from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.restorer import Restorer
from hazeheal.models.generator import build_generator
from hazeheal.models.receptive_field import multiple, receptive_field

LOCAL = {"model__norm": "layer", "model__se_ratio": 0.0}


def make_gan(seed=0, **fields):
    """A tiny network with a random head, as an initial head of zeros would not change the image."""
    gan = DehazeGAN(tiny.config(train__steps=1, **fields), for_training=False)
    random = np.random.default_rng(seed)
    for variable in gan.generator.variables:
        noise = random.normal(0, 0.1, variable.shape) * (1 if "head" in variable.path else 0.3)
        variable.assign(variable + noise)
    return gan


def noise(height, width, *, seed=1, dtype=np.uint8):
    """An image with smooth and rough parts."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3)).astype(np.float32)
    smooth = tf.image.resize(coarse, (height, width)).numpy()
    rough = random.normal(0, 30, (height, width, 3)) * (np.arange(width) > width // 2)[:, None]
    image = np.clip(smooth + rough, 0, 255) / 255
    return np.rint(image * np.iinfo(dtype).max).astype(dtype)


def whole(gan, image):
    """The whole image restored by the Keras model itself."""
    white = np.iinfo(image.dtype).max
    x = tf.constant(image[None], tf.float32) / (white / 2) - 1
    values = (gan.generator(x, training=False).numpy()[0] + 1) * (white / 2)
    return np.rint(np.clip(values, 0, white)).astype(image.dtype)


def apart(a, b):
    return np.abs(a.astype(int) - b)


@pytest.mark.parametrize(
    ("depth", "norm", "patch_size"),
    [*itertools.product([1, 2], ["none", "layer"], [1]), (1, "layer", 2), (1, "none", 3)],
)
def test_the_receptive_field_equals_the_support_of_the_gradient(depth, norm, patch_size):
    model = build_generator(width=8, depth=depth, norm=norm, se_ratio=0, patch_size=patch_size, seed=3)
    head = model.get_layer("head").kernel
    head.assign(np.random.default_rng(0).normal(0, 0.1, head.shape))
    reach = before, after = receptive_field(depth, patch_size)
    period = multiple(depth, patch_size)
    side = period * 24
    seen = np.zeros(2, int)
    x = tf.random.stateless_uniform([1, side, side, 3], (0, 1), -1, 1)
    for pixel in range(side // 2, side // 2 + period):
        with tf.GradientTape() as tape:
            tape.watch(x)
            row = tf.reduce_sum(model(x)[:, pixel] ** 2)
        touched = np.flatnonzero(np.abs(tape.gradient(row, x).numpy()).max(axis=(0, 2, 3)))
        assert pixel - before <= touched[0]
        assert touched[-1] <= pixel + after
        seen = np.maximum(seen, [pixel - touched[0], touched[-1] - pixel])
    assert tuple(seen) == reach, "the field must not be larger than needed"


@pytest.mark.parametrize(
    "fields",
    [
        LOCAL,
        LOCAL | {"model__depth": 2, "model__norm": "none"},
        LOCAL | {"model__patch_size": 2, "model__output": "scattering"},
    ],
)
@pytest.mark.parametrize("size", [(301, 257), (97, 1501)])
def test_tiles_equal_the_whole_image(fields, size):
    gan, image = make_gan(**fields), noise(*size)
    restorer = Restorer(gan, tile_size=160)
    assert restorer.local
    assert len(restorer.plan(*size).tiles) > 2
    restored, wanted = restorer.restore(image), whole(gan, image)
    difference = apart(restored, wanted)
    assert np.mean(difference <= 1) > 0.999
    assert difference.max() <= 2
    assert apart(wanted, image).mean() > 3, "the network must change the image"


def test_tiles_of_a_network_with_squeeze_excite_use_the_averages_of_the_image(monkeypatch):
    gan, image = make_gan(model__se_ratio=0.25), noise(400, 420)
    image[:, :150] //= 4  # tiles with other averages than the image
    restorer = Restorer(gan, tile_size=160)
    assert not restorer.local and restorer.uses_averages
    assert len(restorer.plan(400, 420).tiles) > 1
    expected = whole(gan, image)
    common = apart(restorer.restore(image), expected).mean()
    monkeypatch.setattr(restorer, "_averages", lambda image, plan: None)
    own = apart(restorer.restore(image), expected).mean()
    assert common < own / 4
    assert common < 0.5


def test_averages_of_one_image_are_not_used_for_the_next():
    gan = make_gan(model__se_ratio=0.25)
    images = [noise(200, 210), noise(200, 210, seed=1) // 4]
    restorer = Restorer(gan, tile_size=160)
    together = list(restorer.restore_all(images))
    for image, restored in zip(images, together, strict=True):
        assert np.array_equal(restorer.restore(image), restored)


def test_all_sizes_and_types():
    gan = make_gan(**LOCAL)
    for height, width in [(1, 1), (1, 50), (31, 2), (64, 64)]:
        image = noise(height, width)
        assert apart(gan.restore(image), whole(gan, image)).max() <= 1
    deep = noise(200, 231, dtype=np.uint16)
    restored = Restorer(gan, tile_size=160).restore(deep)
    assert restored.dtype == np.uint16
    assert apart(restored, whole(gan, deep)).max() <= 64  # of 65535
    assert len(np.unique(restored & 255)) == 256, "16 bits, not 8 bits scaled up"


def test_order_and_batches(monkeypatch):
    gan = make_gan(**LOCAL)
    restorer = Restorer(gan, tile_size=160)
    images = [noise(*size, seed=i) for i, size in enumerate([(40, 48)] * 12 + [(200, 200)] + [(20, 30)] * 3)]
    expected, sizes = [restorer.restore(p) for p in images], []
    network = restorer._networks._idle.get()
    restore = network.restore
    monkeypatch.setattr(
        network, "restore", lambda batch, averages: sizes.append(len(batch)) or restore(batch, averages)
    )
    restorer._networks._idle.put(network)

    for restored, wanted in zip(restorer.restore_all(iter(images)), expected, strict=True):
        assert apart(restored, wanted).max() <= 1
    assert sizes[0] == 12, "images of one size share a batch"
    assert sum(sizes) == 12 + len(restorer.plan(200, 200).tiles) + 3


def test_several_devices_give_the_same():
    gan, image = make_gan(**LOCAL), noise(300, 300)
    wanted = gan.restore(image)
    restorer = Restorer(gan, tile_size=160, devices=("CPU:0", "CPU:1"))
    assert apart(restorer.restore(image), wanted).max() <= 1
    before = gan.restore(image[:8, :8])
    for variable in gan.generator.trainable_variables:
        variable.assign(variable * 0)
    assert np.array_equal(gan.restore(image[:8, :8]), image[:8, :8]), "one device uses the current weights"
    assert not np.array_equal(before, image[:8, :8])
    assert apart(restorer.restore(image), wanted).max() <= 1, "several devices have copies"


def test_invalid_images_are_refused():
    gan = make_gan(**LOCAL)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="an image must"):
            gan.restore(wrong)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_mirror_returns_the_mean_with_the_restored_mirror_image(dtype):
    gan = make_gan(**LOCAL)
    images = [noise(*size, seed=i, dtype=dtype) for i, size in enumerate([(40, 50), (40, 50), (230, 210)])]
    found = list(Restorer(gan, tile_size=160, mirror=True).restore_all(iter(images)))
    assert len(found) == 3
    for image, restored in zip(images, found, strict=True):
        one, other = (whole(gan, p).astype(float) for p in (image, image[:, ::-1]))
        assert restored.dtype == dtype
        assert apart(restored, (one + other[:, ::-1]) / 2).max() <= np.iinfo(dtype).max / 200
        assert apart(restored, one).mean() > 0.5, "the mirror image must be restored differently"
    again = Restorer(gan, tile_size=160, mirror=True).restore(images[0][:, ::-1])
    np.testing.assert_array_equal(again, found[0][:, ::-1])
