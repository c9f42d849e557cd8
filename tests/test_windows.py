"""Windows give the result of the whole image, and pixels without data do not reach the network."""

import itertools

import numpy as np
import pytest
from test_restorer import apart, make_gan, noise, whole
from test_view import FIELDS, SIZE

from hazeheal.inference.invalid_pixels import fill_invalid
from hazeheal.inference.restorer import Restorer
from hazeheal.models.windows import WindowedView, apply_maps, resampling


def windows(height, width, rows, columns):
    for top, left in itertools.product(range(0, height, rows), range(0, width, columns)):
        yield slice(top, min(top + rows, height)), slice(left, min(left + columns, width))


def in_windows(restorer, image, *, rows, columns):
    height, width = image.shape[:2]
    white = np.iinfo(image.dtype).max
    unit, restored = image.astype(np.float32) / white, np.empty(image.shape)
    view = WindowedView(height, width, size=restorer.view_size)
    for part in windows(height, width, rows, columns):
        view.add(unit[part], part[0].start, part[1].start)
    maps = restorer.maps(2 * view.filled() - 1)
    for part in windows(height, width, rows, columns):
        restored[part] = apply_maps(maps, unit[part], part[0].start, part[1].start, height, width)
    return np.rint(restored * white).astype(image.dtype)


@pytest.mark.parametrize("output", ["scattering", "residual"])
@pytest.mark.parametrize("size", [(1, 1), (31, 50), (97, 41), (200, 260)])
def test_windows_equal_the_whole_image(size, output):
    gan = make_gan(**FIELDS | {"model__output": output})
    image = noise(*size, dtype=np.uint16)
    restored = in_windows(Restorer(gan), image, rows=48, columns=64)
    assert apart(restored, whole(gan, image)).max() <= 3  # of 65535


def test_mirror():
    gan = make_gan(**FIELDS)
    image = noise(70, 90)
    restorer = Restorer(gan, mirror=True)
    assert apart(in_windows(restorer, image, rows=32, columns=48), restorer.restore(image)).max() <= 1


def test_the_view_is_the_mean_of_the_valid_pixels():
    image, valid = noise(90, 130) / 255, np.ones((90, 130), bool)
    valid[:, :50] = False
    valid[40:60, 70:80] = False
    view = WindowedView(90, 130, size=SIZE)
    for part in windows(90, 130, 32, 32):
        view.add(image[part], part[0].start, part[1].start, valid=valid[part])
    down, across = resampling(SIZE, 90), resampling(SIZE, 130)
    share = down @ valid.astype(np.float32) @ across.T
    total = np.einsum("ih,hwc,jw->ijc", down, image * valid[..., None], across)
    known = share > 1e-3
    np.testing.assert_allclose(view.filled()[known], total[known] / share[known, None], atol=1e-4)
    left = view.filled()[:, 0]
    assert (np.abs(view.filled()[~known][:, None] - view.filled()[known][None]).max(-1).min(1) < 1e-6).all()
    assert left.min() > 0


def test_an_image_without_valid_pixels_has_a_view():
    view = WindowedView(40, 40, size=SIZE)
    view.add(np.ones((40, 40, 3)), 0, 0, valid=np.zeros((40, 40), bool))
    assert not view.filled().any()


def test_filled_pixels_change_the_view_little():
    image, valid = noise(300, 400), np.ones((300, 400), bool)
    valid[:, :150] = False
    black = np.where(valid[..., None], image, 0).astype(np.uint8)
    filled = fill_invalid(black, valid)
    np.testing.assert_array_equal(filled[valid], image[valid])
    edge, beyond = image[:, 150:170].mean((0, 1)), filled[:, 130:150].mean((0, 1))
    np.testing.assert_allclose(beyond, edge, atol=12)
    assert fill_invalid(image, None) is image
