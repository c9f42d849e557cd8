"""Crops, windows, mirroring, quarter turns and light: against NumPy, and by their rates."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.data.pipeline import augment
from hazeheal.data.pipeline.random_bits import random_bits

IMAGE = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)


def bits(count, width=augment.WINDOW_BITS, seed=7):
    return random_bits(np.stack([np.full(count, seed), np.arange(count)], axis=1), width)


def symmetries(image):
    """The eight symmetries in numpy: (turns, mirrored) -> image."""
    return {
        (turns, mirrored): np.rot90(image, turns)[:, ::-1] if mirrored else np.rot90(image, turns)
        for turns in range(4)
        for mirrored in (False, True)
    }


def which(image, found):
    names = [name for name, expected in symmetries(image).items() if np.array_equal(expected, found)]
    assert len(names) == 1
    return names[0]


def assert_rates(names, expected):
    """Each expected outcome about equally often (5 standard deviations), and no other."""
    counts = {name: names.count(name) for name in set(names)}
    assert set(counts) == set(expected)
    mean = len(names) / len(expected)
    for count in counts.values():
        assert abs(count - mean) < 5 * np.sqrt(mean), counts


def drawn_symmetries(count, **options):
    orientations = augment.random_orientations(bits(count, augment.ORIENTATION_BITS), **options)
    images = augment.orient(np.repeat(IMAGE[np.newaxis], count, axis=0), orientations).numpy()
    return [which(IMAGE, image) for image in images]


def test_all_eight_symmetries_at_equal_rates():
    assert_rates(drawn_symmetries(1600), [(turns, mirrored) for turns in range(4) for mirrored in (False, True)])


def test_only_rotations_and_only_mirroring():
    assert_rates(drawn_symmetries(800, flip=False), [(turns, False) for turns in range(4)])
    assert_rates(drawn_symmetries(400, rot90=False), [(0, False), (0, True)])
    assert_rates(drawn_symmetries(5, rot90=False, flip=False), [(0, False)])


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_batch_a_compiled_batch_and_single_images_are_oriented_alike(jit, dtype):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 6, 6, 3)).astype(dtype)
    orientations = np.arange(8, dtype=np.int32)
    found = tf.function(augment.orient, jit_compile=jit)(images, orientations)
    assert found.dtype == dtype
    copied = tf.function(functools.partial(augment.orient, fused=False), jit_compile=jit)(images, orientations)
    np.testing.assert_array_equal(found, copied)
    names = [which(image, oriented) for image, oriented in zip(images, found.numpy(), strict=True)]
    assert len(set(names)) == 8
    single = [augment.orient_image(tf.constant(image), code) for image, code in zip(images, orientations, strict=True)]
    np.testing.assert_array_equal(found, single)


def test_crops_are_uniform():
    sizes = np.tile(np.int32([10, 12]), (3000, 1))  # 3 x 5 windows of 8 x 8
    windows = augment.random_crops(bits(3000), sizes, crop_size=8).numpy()
    assert (windows[:, 2:] == 8).all()
    assert_rates([tuple(corner) for corner in windows[:, :2].tolist()], [(y, x) for y in range(3) for x in range(5)])


def test_crops_of_images_of_different_sizes():
    sizes = np.int32([[8, 8], [9, 8], [8, 2**26]] * 40)
    y, x = augment.random_crops(bits(120), sizes, crop_size=8).numpy()[:, :2].T
    assert (y[0::3] == 0).all() and (x[0::3] == 0).all()
    assert set(y[1::3]) == {0, 1} and (x[1::3] == 0).all()
    # A side too long for float32 to tell its pixels apart.
    assert (x[2::3] <= 2**26 - 8).all() and len(set(x[2::3])) == 40 and len(set(x[2::3] % 4)) == 4


def test_windows_are_inside_the_image_and_one_in_four_is_the_whole_image():
    sizes = np.tile(np.int32([50, 90]), (200, 1))
    y, x, rows, columns = augment.random_windows(bits(200), sizes, least=0.6).numpy().T
    assert (y >= 0).all() and (x >= 0).all() and (y + rows <= 50).all() and (x + columns <= 90).all()
    assert rows.min() in (30, 31) and columns.min() in range(54, 57)
    whole_ones = (rows == 50) & (columns == 90)
    assert 30 < whole_ones.sum() < 75
    assert len(set(zip(rows / 50, columns / 90, strict=True))) > 100, "each side for itself"


def drawn_lights(count, **options):
    settings = {"seed": 3, "share": 0.5, "darkest": 0.25, "tint": 0.2} | options
    lights = tf.data.Dataset.range(count).map(lambda position: augment.draw_light(position=position, **settings))
    return np.stack(list(lights.as_numpy_iterator()))


def test_light_is_drawn_for_its_share_in_its_range():
    lights = drawn_lights(1000)
    changed = (lights != 1).any(1)
    assert abs(changed.mean() - 0.5) < 5 * np.sqrt(0.25 / 1000)
    np.testing.assert_array_equal(lights[~changed], 1)
    brightest = lights[changed].max(1)
    assert 0.25 * 0.8 <= lights.min() < 0.25 and 0.95 < brightest.max() <= 1
    # Log-uniform: half of them are below the geometric mean of both ends, but for the tint.
    assert abs(np.median(np.log(brightest)) - np.log(0.5)) < 0.15
    tints = 1 - lights[changed].min(1) / brightest
    assert 0.15 < tints.max() <= 0.2 + 1e-6 and np.median(tints) < 0.08


def test_light_without_a_tint_is_gray_and_depends_on_the_seed_and_the_position():
    lights = drawn_lights(20, share=1.0, tint=0.0)
    np.testing.assert_array_equal(lights, np.repeat(lights[:, :1], 3, 1))
    assert len(np.unique(lights)) == 20
    assert not np.isin(lights, drawn_lights(20, share=1.0, tint=0.0, seed=4)).any()
    np.testing.assert_array_equal(drawn_lights(20, share=1.0, darkest=1.0, tint=0.0), 1)


def test_relight_multiplies_the_channels():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    light = np.float32([1, 0.5, 0.3])
    expected = np.floor(image * light + np.float32(0.5)).astype(np.uint8)
    np.testing.assert_array_equal(augment.relight(tf.constant(image), tf.constant(light)), expected)
