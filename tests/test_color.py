"""The color metrics of an evaluation against published values and against the values of version 0.1."""

import numpy as np
import pytest
from skimage import color
from test_metrics import noise, noisy, scene

from hazeheal.evaluation import scores as scoring

# From table 1 of Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", 2005: pairs chosen so that common
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
    return np.stack(np.meshgrid(values, values, values), -1).reshape(20, 50, 3)


# (image, clear, PSNR of Y, SSIM of Y, CIEDE2000); the values are those of version 0.1, which computed them itself.
VERSION_0_1 = {
    "noisy": (scene(40, 53), noisy(scene(40, 53)), 31.264655579976473, 0.7907240194283481, 5.95372279112055),
    "unrelated": (
        *(noise(20, 37), scene(20, 37)),
        *(13.847082095216159, 0.04431238127947574, 39.74032139081566),
    ),
    "reversed": (
        *(cube(), cube()[::-1, :, ::-1]),
        *(7.858223077900021, -0.019056679097797038, 68.34517703021788),
    ),
}


def test_published_differences():
    first, second, expected = (np.array(column, "float64") for column in zip(*PUBLISHED, strict=True))
    np.testing.assert_allclose(color.deltaE_ciede2000(first, second), expected, atol=5.1e-5)


@pytest.mark.parametrize("name", VERSION_0_1)
def test_scores_are_those_of_version_0_1(name):
    image, clear, psnr_y, ssim_y, ciede2000 = VERSION_0_1[name]
    scores = scoring.score(image, clear)
    assert scores["psnr_y"] == pytest.approx(psnr_y, abs=1e-6)
    assert scores["ssim_y"] == pytest.approx(ssim_y, abs=1e-6)
    assert scores["ciede2000"] == pytest.approx(ciede2000, abs=1e-6)


def test_y_is_that_of_basicsr():
    """BasicSR's bgr2ycbcr: the same weights, on BGR in [0, 1]."""
    expected = cube()[..., ::-1] / 255.0 @ [24.966, 128.553, 65.481] + 16.0
    np.testing.assert_allclose(color.rgb2ycbcr(cube())[..., 0], expected, atol=1e-9)
