"""The dark channel prior: each part against its definition, and the method on haze of its own equation."""

import pathlib

import numpy as np
import pytest
from scipy import ndimage

from hazeheal.data.images.image_io import load_rgb
from hazeheal.data.images.image_ops import psnr
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.evaluation import dark_channel

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared/data/sots_outdoor_288"
GENERATOR = np.random.default_rng(3)


def colorful(height, width):
    """Random blocks of 4x4 pixels with one black channel each: the prior holds exactly."""
    blocks = np.random.default_rng(0).uniform(0.1, 0.7, (height // 4 + 1, width // 4 + 1, 3))
    blocks[np.arange(len(blocks))[:, None], np.arange(blocks.shape[1]), np.arange(blocks.shape[1]) % 3] = 0
    return blocks.repeat(4, 0).repeat(4, 1)[:height, :width]


def to_uint8(image):
    return np.round(255 * image).astype("uint8")


@pytest.mark.parametrize("size", [(30, 41), (5, 40), (1, 1), (15, 14)])
def test_dark_channel_is_the_minimum_over_channels_and_patch(size):
    image = GENERATOR.random((*size, 3))
    expected = [
        [image[max(i - 7, 0) : i + 8, max(j - 7, 0) : j + 8].min() for j in range(size[1])] for i in range(size[0])
    ]
    np.testing.assert_array_equal(dark_channel.dark_channel(image), expected)


def test_atmospheric_light_ignores_white_objects_in_front_of_the_haze():
    image = np.full((60, 60, 3), 50, "uint8")
    image[:20] = 180, 190, 200  # haze
    image[0, 2] = 185, 195, 210  # its brightest pixel, among the first 0.1 %
    image[40:45, 40:45] = 255  # a car, smaller than a patch
    light = dark_channel.atmospheric_light(image, dark_channel.dark_channel(image))
    np.testing.assert_array_equal(light, np.array([185, 195, 210]) / 255)


@pytest.mark.parametrize("height", [7, 40, 61])
@pytest.mark.parametrize("levels", [256, 4, 1])
def test_atmospheric_light_is_the_brightest_of_the_pixels_with_the_highest_dark_channel(height, levels):
    """Few levels give many pixels of one dark channel, of which the first ones count."""
    image = GENERATOR.integers(0, 256, (height, 97, 3), dtype="uint8")
    dark = GENERATOR.integers(0, levels, (height, 97), dtype="uint8")
    order = sorted(np.ndindex(dark.shape), key=lambda place: -int(dark[place]))  # stable
    candidates = order[: max(1, int(dark.size * 0.001))]
    brightest = max(candidates, key=lambda place: int(image[place].sum()))
    light = dark_channel.atmospheric_light(image, dark)
    assert 255 * light.sum() == pytest.approx(int(image[brightest].sum()))


@pytest.mark.parametrize("radius", [1, 3, 60])
def test_box_mean(radius):
    x = GENERATOR.random((11, 17))
    expected = [
        [x[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1].mean() for j in range(17)]
        for i in range(11)
    ]
    np.testing.assert_allclose(dark_channel.box_mean(x, radius), expected, atol=1e-12)


def test_guided_filter_is_ridge_regression_in_every_window():
    """Equations 14 to 16: coefficients of each window, then their mean over the windows of a pixel."""
    guide, x, radius, eps = GENERATOR.random((9, 12, 3)), GENERATOR.random((9, 12)), 2, 1e-3
    slopes, offsets = np.empty_like(guide), np.empty_like(x)
    for i, j in np.ndindex(x.shape):
        window = np.s_[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        colors, values = guide[window].reshape(-1, 3), x[window].ravel()
        covariance = np.cov(colors.T, bias=True) + eps * np.eye(3)
        cross = (colors * values[:, None]).mean(0) - colors.mean(0) * values.mean()
        slopes[i, j] = np.linalg.solve(covariance, cross)
        offsets[i, j] = values.mean() - slopes[i, j] @ colors.mean(0)
    mean = [dark_channel.box_mean(slopes[..., c], radius) for c in range(3)]
    expected = (np.stack(mean, -1) * guide).sum(-1) + dark_channel.box_mean(offsets, radius)
    actual = dark_channel.guided_filter(guide, x, radius=radius, eps=eps)
    np.testing.assert_allclose(actual, expected, atol=1e-9)


def whole(image):
    """`restore` on the whole image, with linear algebra of NumPy: as the equations are written."""
    hazy = image / 255.0
    light = dark_channel.atmospheric_light(image, dark_channel.dark_channel(image))
    t = 1 - dark_channel.OMEGA * dark_channel.dark_channel(hazy / light)
    inside = ndimage.uniform_filter(np.ones(t.shape), 121, mode="constant")

    def mean(x):
        axes = (0, 1) if x.ndim == 2 else (0, 1, *[None] * (x.ndim - 2))
        size = [121 if axis is not None else 1 for axis in axes]
        return ndimage.uniform_filter(x, size, mode="constant") / inside.reshape(*t.shape, *[1] * (x.ndim - 2))

    means = mean(hazy)
    covariance = mean(hazy[..., None] * hazy[..., None, :]) - means[..., None] * means[..., None, :] + 1e-4 * np.eye(3)
    cross = mean(hazy * t[..., None]) - means * mean(t)[..., None]
    slope = np.linalg.solve(covariance, cross[..., None])[..., 0]
    t = mean(mean(t) - (slope * means).sum(-1)) + (mean(slope) * hazy).sum(-1)
    return np.round(255 * np.clip((hazy - light) / np.maximum(t, 0.1)[..., None] + light, 0, 1)).astype("uint8")


@pytest.mark.parametrize("size", [(331, 293), (7, 401), (301, 1)])
@pytest.mark.parametrize("side", [64, 150, 1000])
def test_windows_give_the_image_that_is_restored_as_a_whole(monkeypatch, size, side):
    monkeypatch.setattr(dark_channel, "WINDOW", side)
    hazy = to_uint8(colorful(*size) * 0.5 + 0.45)
    hazy = np.clip(hazy + GENERATOR.integers(-9, 10, hazy.shape), 0, 255).astype("uint8")
    np.testing.assert_array_equal(dark_channel.restore(hazy), whole(hazy))


def test_a_restored_pixel_depends_on_no_pixel_beyond_the_reach(monkeypatch):
    monkeypatch.setattr(dark_channel, "atmospheric_light", lambda image, dark: np.array([0.9, 0.95, 1.0]))
    hazy = to_uint8(colorful(300, 20) * 0.5 + 0.3)
    other = hazy.copy()
    other[:20] = other[:20] // 2
    one, two = dark_channel.restore(hazy), dark_channel.restore(other)
    first = 20 + dark_channel.REACH
    np.testing.assert_array_equal(one[first:], two[first:])
    assert (one[first - 60 : first] != two[first - 60 : first]).any()


@pytest.mark.parametrize("t", [0.35, 0.6])
def test_haze_of_the_equation_is_removed(t):
    clear, light = colorful(120, 150), np.array([0.9, 0.92, 0.95])
    clear[:20, :20] = light  # where only haze is visible
    hazy = clear * t + light * (1 - t)
    restored = dark_channel.restore(to_uint8(hazy), omega=1.0)
    inner = np.s_[50:, 50:]  # outside the pure haze, where the prior does not hold
    before, after = (psnr(np.ascontiguousarray(x[inner]), to_uint8(clear)[inner]) for x in (to_uint8(hazy), restored))
    assert before < 16
    assert after > before + 12


def test_omega_is_the_share_of_the_haze_that_is_removed():
    clear = colorful(60, 60)
    clear[:20, :20] = 0.9  # where only haze is visible
    hazy = to_uint8(clear * 0.5 + 0.45)
    none, some, all_of_it = (dark_channel.restore(hazy, omega=omega) for omega in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(none, hazy)
    assert none.mean() > some.mean() > all_of_it.mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2), (33, 16)])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_any_size_and_flat_images(size, value):
    image = np.full((*size, 3), value, "uint8")
    restored = dark_channel.restore(image)
    assert restored.dtype == np.uint8 and restored.shape == image.shape
    np.testing.assert_array_equal(restored, image)  # a flat image is its own atmospheric light
    noise = GENERATOR.integers(0, 256, (*size, 3), dtype="uint8")
    original = noise.copy()
    assert dark_channel.restore(noise).shape == noise.shape
    np.testing.assert_array_equal(noise, original)


def test_the_psnr_of_real_photographs_increases():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} does not exist: no real pairs to score")
    pairs = pair_folders(SHARED / "hazy", SHARED / "GT").pairs[::40]
    before, after = [], []
    for pair in pairs:
        hazy, clear = (load_rgb(SHARED / name)[0] for name in (f"hazy/{pair.hazy}", f"GT/{pair.clear}"))
        before.append(psnr(hazy, clear))
        after.append(psnr(dark_channel.restore(hazy), clear))
    assert np.mean(after) > np.mean(before) + 1
