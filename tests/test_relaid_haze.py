"""The haze of a pair told apart, and laid on it anew, against the scattering model with known light and transmission."""

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.data.pipeline import haze_augmentation, rehaze
from hazeheal.data.pipeline.haze_settings import FreshHaze
from hazeheal.data.synthesis.synthetic_pairs import make_pair

SIZE = 64


def scene():
    """float64 [S, S, 3] in [0, 1]: a clear image, in the values that a file has."""
    return make_pair(0, size=SIZE)[1] / 255.0


def depth():
    """[S, S, 1] from 0.2 at the bottom to 1 at the top, with a step in the middle."""
    ramp = np.linspace(1.0, 0.2, SIZE)[:, np.newaxis, np.newaxis] * np.ones((1, SIZE, 1))
    ramp[:, SIZE // 2 :] *= 0.6
    return ramp


def lay(clear, light, optical):
    through = np.exp(-optical)
    return clear * through + light * (1 - through)


def as_bytes(image):
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def relay(hazy, clear, *, thickness, shift=0.0):
    return rehaze.relay(tf.constant(hazy), tf.constant(clear), thickness=thickness, shift=shift).numpy()


def floats(*images):
    return [tf.constant(image, tf.float32) / 255 for image in images]


@pytest.mark.parametrize("light", [0.45, 0.7, 0.95])
def test_the_airlight_is_found(light):
    clear = as_bytes(scene())
    hazy = as_bytes(lay(clear / 255, light, depth()))
    assert rehaze.airlight(*floats(hazy, clear)).numpy() == pytest.approx(light, abs=0.01)


def test_the_transmission_is_found():
    clear = as_bytes(scene())
    hazy = as_bytes(lay(clear / 255, 0.9, depth()))
    found = rehaze.transmission(*floats(hazy, clear), 0.9).numpy()
    assert np.abs(found - np.exp(-depth())[..., 0]).max() < 0.05
    assert np.abs(found - np.exp(-depth())[..., 0]).mean() < 0.01


@pytest.mark.parametrize(
    ("thickness", "shift"), [(0.5, 0.0), (2.0, 0.0), (1.0, 0.1), (1.0, -0.1), (1.6, 0.08)]
)
def test_it_is_what_the_model_lays_on_the_clear_image(thickness, shift):
    clear = as_bytes(scene())
    hazy = as_bytes(lay(clear / 255, 0.85, depth()))
    wanted = 255 * lay(clear / 255, 0.85 + shift, thickness * depth())
    error = np.abs(relay(hazy, clear, thickness=thickness, shift=shift) - wanted)
    assert error.mean() < 1.0
    assert error.max() < 6.0
    assert np.abs(hazy - wanted).mean() > 5, "another haze than before"


def test_the_haze_it_has_gives_the_image_itself_back():
    hazy, clear = make_pair(3, size=SIZE)
    np.testing.assert_allclose(relay(hazy, clear, thickness=1.0), hazy, atol=0.01)


def test_what_is_no_haze_stays():
    """Noise of the hazy image is there once, whatever is laid."""
    clear = as_bytes(scene())
    noise = np.random.default_rng(0).normal(0, 4, clear.shape)
    hazy = as_bytes(lay(clear / 255, 0.85, depth()) + noise / 255)
    left = relay(hazy, clear, thickness=1.5) - 255 * lay(clear / 255, 0.85, 1.5 * depth())
    assert 2.5 < left.std() < 5.5


@pytest.mark.parametrize("value", [0, 128, 217, 255])
def test_images_that_tell_nothing_stay_finite(value):
    flat = np.full((SIZE, SIZE, 3), value, np.uint8)
    for hazy in (flat, np.full_like(flat, 230), make_pair(1, size=SIZE)[0]):
        for thickness in (0.01, 1.0, 100.0):
            found = relay(hazy, flat, thickness=thickness, shift=0.2)
            assert np.isfinite(found).all()
            assert found.min() > -260
            assert found.max() < 520


def test_a_pair_without_haze_gets_none():
    clear = make_pair(2, size=SIZE)[1]
    assert np.abs(relay(clear, clear, thickness=2.0, shift=0.1) - clear).max() < 1.5


@pytest.mark.parametrize("size", [4, 7, 33])
def test_any_side(size):
    hazy, clear = make_pair(0, size=40)
    assert relay(hazy[:size, :size], clear[:size, :size], thickness=2.0).shape == (size, size, 3)


def test_each_position_draws_its_own_over_the_whole_range():
    settings = FreshHaze(relaid_min=0.5, relaid_max=2.0, relaid_shift=0.0)
    clear = np.zeros((32, 32, 3), np.uint8)
    clear[::2, :, 0], clear[:, ::2, 1] = 120, 60
    hazy = as_bytes(lay(clear / 255, 0.8, 0.7))
    drawn = []
    for number in range(60):
        seed = [1, -3 * number - 2]
        found = haze_augmentation.relay(
            tf.constant(hazy), tf.constant(clear), settings=settings, seed=seed
        ).numpy()
        assert found.dtype == np.uint8
        drawn.append(-np.log(1 - found[1, 1, 2] / 255 / 0.8) / 0.7)
    assert 0.45 < min(drawn) < 0.6
    assert 1.7 < max(drawn) < 2.1
    assert abs(np.mean(np.log(drawn))) < 0.2
