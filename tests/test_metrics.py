"""PSNR and SSIM compared with scikit-image."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from hazeheal.metrics import psnr_ssim


def reference(a, b):
    kwargs = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    return peak_signal_noise_ratio(a, b, data_range=255), structural_similarity(a, b, data_range=255, **kwargs)


def scene(height, width, seed=0):
    """A smooth image with edges, uint8."""
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [127 + 80 * np.sin(x / 7 + p) * np.cos(y / 11 - p) + 40 * (x + y > height) for p in phase]
    return np.clip(np.stack(waves, -1), 0, 255).astype("uint8")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def noisy(image, sigma=12, seed=5):
    disturbed = image + np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(disturbed, 0, 255).astype("uint8")


PAIRS = {
    "noise": (noise(40, 40), noise(40, 40, 1)),
    "smooth": (scene(64, 64), scene(64, 64, 1)),
    "odd sides": (scene(33, 57), noisy(scene(33, 57))),
    "one window": (scene(11, 11), noisy(scene(11, 11))),
    "one row of windows": (scene(11, 30), noisy(scene(11, 30))),
    "constant": (np.full((20, 20, 3), 10, "uint8"), np.full((20, 20, 3), 200, "uint8")),
    "constant against noise": (np.full((20, 20, 3), 128, "uint8"), noise(20, 20)),
    "one channel differs": (scene(30, 30), scene(30, 30) ^ np.array([255, 0, 0], "uint8")),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equal_to_scikit_image(name):
    a, b = PAIRS[name]
    psnr, ssim = reference(a, b)
    assert psnr_ssim.psnr(a[None], b[None]).numpy()[0] == pytest.approx(psnr, abs=1e-9)
    assert psnr_ssim.ssim(a[None], b[None]).numpy()[0] == pytest.approx(ssim, abs=1e-9)


@pytest.mark.parametrize("image", [scene(24, 31), noise(15, 12), np.zeros((12, 12, 3), "uint8")])
def test_equal_images(image):
    assert psnr_ssim.psnr(image[None], image[None]).numpy()[0] == np.inf
    assert psnr_ssim.ssim(image[None], image[None]).numpy()[0] == pytest.approx(1, abs=1e-12)
    assert reference(image, noisy(image))[1] < 1


def test_float_images_are_not_rounded():
    a = scene(30, 30).astype("float32")
    b = a + np.float32(0.25)
    assert psnr_ssim.psnr(a[None], b[None]).numpy()[0] == pytest.approx(20 * np.log10(255 / 0.25), abs=1e-6)
    assert psnr_ssim.ssim(a[None], b[None]).numpy()[0] == pytest.approx(reference(a, b)[1], abs=1e-6)


def test_each_image_of_a_batch_is_scored_separately():
    a = np.stack([scene(30, 41, i) for i in range(3)])
    b = np.stack([noisy(p, 5 * i + 1) for i, p in enumerate(a)])
    wanted = np.array([reference(x, y) for x, y in zip(a, b, strict=True)])
    for function, column in ((psnr_ssim.psnr, 0), (psnr_ssim.ssim, 1)):
        out = function(a, b)
        assert out.dtype == tf.float64
        np.testing.assert_allclose(out, wanted[:, column], atol=1e-9)


def test_open_sizes_in_a_graph_and_xla_give_the_same():
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    graph = tf.function(lambda a, b: (psnr_ssim.psnr(a, b), psnr_ssim.ssim(a, b)), input_signature=[spec, spec])
    for height, width in ((25, 19), (12, 48), (5, 30)):
        a, b = scene(height, width)[None], noisy(scene(height, width))[None]
        eager = [psnr_ssim.psnr(a, b), psnr_ssim.ssim(a, b)]
        np.testing.assert_allclose(graph(a, b), eager, atol=1e-12)
    compiled = tf.function(psnr_ssim.ssim, jit_compile=True)(tf.constant(a), tf.constant(b))
    np.testing.assert_allclose(compiled, eager[1], atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(110, 90), (43, 97)])
@pytest.mark.parametrize("strip", [1, 7000])
def test_strips_of_a_large_image_give_the_values_of_the_whole_image(monkeypatch, strip, height, width):
    """Sides of several blocks, the last one of which overlaps the one before it, in one strip and in many."""
    monkeypatch.setattr(psnr_ssim, "STRIP", strip)
    images = [scene(height, width, i) for i in range(2)]
    pairs = [(image, noisy(image, 5 + 20 * i)) for i, image in enumerate(images)]
    a, b = (np.stack(side) for side in zip(*pairs, strict=True))
    wanted = np.array([reference(x, y) for x, y in pairs])
    np.testing.assert_allclose(psnr_ssim.psnr(a, b), wanted[:, 0], atol=1e-9)
    np.testing.assert_allclose(psnr_ssim.ssim(a, b), wanted[:, 1], atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (10, 10), (4, 20), (20, 7)])
def test_sides_shorter_than_the_window_are_mirrored(height, width):
    """scikit-image refuses such images. Compares with scipy: short sides are mirrored, long sides are cropped."""
    a = noise(height, width).astype("float64")
    b = noisy(noise(height, width)).astype("float64")
    with pytest.raises(ValueError, match="win_size exceeds"):
        reference(a, b)

    def blur(x):
        return gaussian_filter(x, (1.5, 1.5, 0), truncate=3.5, mode="reflect")

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    full = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    rows = slice(5, -5) if height >= 11 else slice(None)
    columns = slice(5, -5) if width >= 11 else slice(None)
    out = psnr_ssim.ssim(a[None], b[None]).numpy()[0]
    assert out == pytest.approx(full[rows, columns].mean(), abs=1e-9)
    assert psnr_ssim.ssim(a[None], a[None]).numpy()[0] == pytest.approx(1, abs=1e-12)
