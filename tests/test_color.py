"""Y, L*a*b* and CIEDE2000 against scikit-image and published values."""

import numpy as np
import pytest
import tensorflow as tf
from skimage import color

from hazeheal.metrics import color as colors

# From table 1 of Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", 2005: pairs made so that usual
# mistakes show (mean hue across 0, grays, the blue rotation term).
PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, 2.8361, -74.0200), (50, 0, -82.7485), 3.4412),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, -1, 2), (50, 0, 0), 2.3669),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0009), 7.1792),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0011), 7.2195),
    ((50, -0.0010, 2.4900), (50, 0.0009, -2.4900), 4.8045),
    ((50, -0.0010, 2.4900), (50, 0.0011, -2.4900), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
]


def cube():
    """Every mixture of 0, 1, 9, 10, 11, 60, 128, 200, 254 and 255: grays, black, both sides of sRGB's bend."""
    values = np.array([0, 1, 9, 10, 11, 60, 128, 200, 254, 255], "uint8")
    return np.stack(np.meshgrid(values, values, values), -1).reshape(1, 20, 50, 3)


def test_published_differences():
    first, second, wanted = (np.array(column, "float64") for column in zip(*PUBLISHED, strict=True))
    found = colors.lab_difference(tf.constant(first), tf.constant(second)).numpy()
    np.testing.assert_allclose(found, wanted, atol=5.1e-5)


def test_lab_is_that_of_scikit_image():
    np.testing.assert_allclose(colors.lab(cube()), color.rgb2lab(cube()), atol=1e-9)


def test_difference_is_that_of_scikit_image():
    generator = np.random.default_rng(0)
    a, b = cube(), generator.permutation(cube().reshape(-1, 3)).reshape(cube().shape)
    near = np.clip(a + generator.integers(-3, 4, a.shape), 0, 255).astype("uint8")
    gray = np.repeat(a[..., :1], 3, -1)
    for other in (b, near, gray, a[..., ::-1], a):
        wanted = color.deltaE_ciede2000(color.rgb2lab(a), color.rgb2lab(other))
        # Hues of near-grays are rounding; so the two are compared as precisely as the term allows.
        np.testing.assert_allclose(colors.lab_difference(colors.lab(a), colors.lab(other)), wanted, atol=1e-6)
        assert colors.ciede2000(a, other).numpy()[0] == pytest.approx(wanted.mean(), abs=1e-8)


def test_a_batch_is_taken_image_by_image():
    a = np.stack([np.full((4, 6, 3), 90, "uint8"), cube()[0, :4, :6]])
    b = np.stack([np.full((4, 6, 3), 99, "uint8"), cube()[0, 4:8, :6]])
    both = colors.ciede2000(a, b)
    assert both.dtype == tf.float64
    for i in range(2):
        assert both.numpy()[i] == pytest.approx(
            colors.ciede2000(a[i : i + 1], b[i : i + 1]).numpy()[0], abs=1e-12
        )


def test_luma_is_that_of_scikit_image_and_spans_16_to_235():
    y = colors.luma(cube())
    assert y.shape == (1, 20, 50, 1)
    np.testing.assert_allclose(y[..., 0], color.rgb2ycbcr(cube())[..., 0], atol=1e-9)
    assert (y.numpy().min(), y.numpy().max()) == pytest.approx((16, 235))
    # BasicSR's bgr2ycbcr: the same weights, on BGR in [0, 1].
    basicsr = cube()[..., ::-1] / 255.0 @ [24.966, 128.553, 65.481] + 16.0
    np.testing.assert_allclose(y[..., 0], basicsr, atol=1e-9)


def test_open_sizes_in_a_graph_give_the_same():
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    graph = tf.function(colors.ciede2000, input_signature=[spec, spec])
    for part in (cube()[:, :7, :31], cube()):
        np.testing.assert_allclose(
            graph(part, part[:, ::-1]), colors.ciede2000(part, part[:, ::-1]), atol=1e-9
        )
