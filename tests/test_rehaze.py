"""Estimating and changing the haze of a pair, against the scattering model with known airlight and transmission."""

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.data.pipeline import haze_augmentation, rehaze
from hazeheal.data.pipeline.haze_settings import HazeSettings
from hazeheal.data.synthesis.synthetic_pairs import make_pair

SIZE = 64


def scene():
    """A clear image, float64 [S, S, 3] in [0, 1], with the values of a file."""
    return make_pair(4, size=SIZE)[1] / 255.0  # without pixels of the color of the haze


def depth():
    """[S, S, 1] from 0.2 at the bottom to 1 at the top, with a step in the middle."""
    ramp = np.linspace(1.0, 0.2, SIZE)[:, np.newaxis, np.newaxis] * np.ones((1, SIZE, 1))
    ramp[:, SIZE // 2 :] *= 0.6
    return ramp


def add_haze(clear, light, thickness):
    t = np.exp(-thickness)
    return clear * t + light * (1 - t)


def as_bytes(image):
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def changed(hazy, clear, *, thickness, shift=0.0):
    return rehaze.rehaze(tf.constant(hazy), tf.constant(clear), thickness=thickness, shift=shift).numpy()


def floats(*images):
    return [tf.constant(image, tf.float32) / 255 for image in images]


@pytest.mark.parametrize("light", [0.45, 0.7, 0.95])
def test_the_airlight_is_estimated(light):
    clear = as_bytes(scene())
    hazy = as_bytes(add_haze(clear / 255, light, depth()))
    assert rehaze.airlight(*floats(hazy, clear)).numpy() == pytest.approx(light, abs=0.01)


def test_the_transmission_is_estimated():
    clear = as_bytes(scene())
    hazy = as_bytes(add_haze(clear / 255, 0.9, depth()))
    found = rehaze.transmission(*floats(hazy, clear), 0.9).numpy()
    assert np.abs(found - np.exp(-depth())[..., 0]).max() < 0.05
    assert np.abs(found - np.exp(-depth())[..., 0]).mean() < 0.01


@pytest.mark.parametrize(
    ("thickness", "shift"),
    [(0.5, 0.0), (2.0, 0.0), (1.0, 0.1), (1.0, -0.1), (1.6, 0.08), (1.0, np.float32([0.1, 0.0, -0.1]))],
)
def test_the_result_is_that_of_the_model_on_the_clear_image(thickness, shift):
    clear = as_bytes(scene())
    hazy = as_bytes(add_haze(clear / 255, 0.85, depth()))
    expected = 255 * add_haze(clear / 255, 0.85 + shift, thickness * depth())
    error = np.abs(changed(hazy, clear, thickness=thickness, shift=shift) - expected)
    assert error.mean() < 1.0
    assert error.max() < 6.0
    assert np.abs(hazy - expected).mean() > 5, "the haze did not change"


def test_an_unchanged_haze_reproduces_the_image():
    hazy, clear = make_pair(3, size=SIZE)
    np.testing.assert_allclose(changed(hazy, clear, thickness=1.0), hazy, atol=0.01)


def test_noise_is_preserved():
    """The result contains the noise of the hazy image once."""
    clear = as_bytes(scene())
    noise = np.random.default_rng(0).normal(0, 4, clear.shape)
    hazy = as_bytes(add_haze(clear / 255, 0.85, depth()) + noise / 255)
    left = changed(hazy, clear, thickness=1.5) - 255 * add_haze(clear / 255, 0.85, 1.5 * depth())
    assert 2.5 < left.std() < 5.5


@pytest.mark.parametrize("value", [0, 128, 217, 255])
def test_undetermined_haze_gives_finite_values(value):
    flat = np.full((SIZE, SIZE, 3), value, np.uint8)
    for hazy in (flat, np.full_like(flat, 230), make_pair(1, size=SIZE)[0]):
        for thickness in (0.01, 1.0, 100.0):
            found = changed(hazy, flat, thickness=thickness, shift=0.2)
            assert np.isfinite(found).all()
            assert found.min() > -260
            assert found.max() < 520


def test_a_pair_without_haze_does_not_change():
    clear = make_pair(2, size=SIZE)[1]
    assert np.abs(changed(clear, clear, thickness=2.0, shift=0.1) - clear).max() < 1.5


@pytest.mark.parametrize("size", [4, 7, 33])
def test_any_side(size):
    hazy, clear = make_pair(0, size=40)
    assert changed(hazy[:size, :size], clear[:size, :size], thickness=2.0).shape == (size, size, 3)


def test_draws_fill_the_whole_range():
    settings = HazeSettings(relaid_min=0.5, relaid_max=2.0, relaid_shift=0.0)
    clear = np.zeros((32, 32, 3), np.uint8)
    clear[::2, :, 0], clear[:, ::2, 1] = 120, 60
    hazy = as_bytes(add_haze(clear / 255, 0.8, 0.7))
    drawn = []
    for number in range(60):
        seed = [1, -3 * number - 2]
        found = haze_augmentation.rehaze_pair(
            tf.constant(hazy), tf.constant(clear), settings=settings, seed=seed
        ).numpy()
        assert found.dtype == np.uint8
        drawn.append(-np.log(1 - found[1, 1, 2] / 255 / 0.8) / 0.7)
    assert 0.45 < min(drawn) < 0.6
    assert 1.7 < max(drawn) < 2.1
    assert abs(np.mean(np.log(drawn))) < 0.2


def test_a_tint_changes_the_channels_by_themselves():
    clear = as_bytes(scene())
    hazy = as_bytes(add_haze(clear / 255, 0.6, 2.0))
    settings = HazeSettings(relaid_min=1.0, relaid_max=1.0, relaid_shift=0.0, relaid_tint=0.2)
    changes = []
    for number in range(40):
        found = haze_augmentation.rehaze_pair(
            tf.constant(hazy), tf.constant(clear), settings=settings, seed=[1, -3 * number - 2]
        )
        changes.append((found.numpy().astype(np.float32) - hazy).mean((0, 1)) / 255 / (1 - np.exp(-2.0)))
    changes = np.array(changes)
    assert np.abs(changes).max() < 0.21 and changes.max() > 0.15 and changes.min() < -0.15
    assert np.abs(np.corrcoef(changes.T)[np.triu_indices(3, 1)]).max() < 0.5
