"""Synthetic haze: the scattering model, drawn parameters, fields of any shape, and depth maps."""

import unicodedata

import numpy as np
import pytest

from hazeheal.data.synthesis import scattering
from hazeheal.data.synthesis.noise import fractal
from hazeheal.errors import UsageError


def drawn(count=60, ranges=None, **changes):
    arguments = {"seed": 0, "version": 1} | changes
    return [scattering.draw(ranges or scattering.Ranges(), name=f"{i}.png", **arguments) for i in range(count)]


def test_add_haze_is_the_scattering_model():
    rng = np.random.default_rng(0)
    clear = rng.random((5, 7, 3)).astype(np.float32)
    depth = rng.random((5, 7)).astype(np.float32) * 3
    airlight = (0.9, 0.8, 0.7)
    hazy = scattering.add_haze(clear, depth=depth, beta=0.7, airlight=airlight)
    assert hazy.dtype == np.float32
    for y, x, c in np.ndindex(5, 7, 3):
        t = np.exp(-0.7 * float(depth[y, x]))
        assert hazy[y, x, c] == pytest.approx(clear[y, x, c] * t + airlight[c] * (1 - t), abs=1e-6)


def test_add_haze_at_its_limits():
    clear = np.random.default_rng(1).random((4, 4, 3), np.float32)
    depth = np.ones((4, 4))
    np.testing.assert_array_equal(scattering.add_haze(clear, depth=depth, beta=0), clear)
    np.testing.assert_allclose(scattering.add_haze(clear, depth=depth, beta=99, airlight=0.8), 0.8, atol=1e-6)
    assert scattering.add_haze(np.zeros((0, 4, 3)), depth=np.zeros((0, 4)), beta=1).shape == (0, 4, 3)


def test_apply_haze_is_the_scattering_model(monkeypatch):
    rng = np.random.default_rng(0)
    clear = rng.integers(0, 256, (37, 5, 3), dtype=np.uint8)
    depth = rng.uniform(0, 3, (37, 5)).astype(np.float32)
    one = scattering.Haze("depth", 0.7, (0.9, 0.8, 0.7), 0)
    t = np.exp(-0.7 * depth.astype(np.float64))[..., None]
    expected = clear * t + 255 * np.array([0.9, 0.8, 0.7]) * (1 - t)
    hazy = scattering.apply_haze(clear, one, depth=depth)
    assert hazy.dtype == np.uint8
    assert np.abs(hazy - expected).max() < 0.51  # half a level, and the last bit of float32
    monkeypatch.setattr(scattering, "_BAND_PIXELS", 20)  # four rows at a time
    np.testing.assert_array_equal(scattering.apply_haze(clear, one, depth=depth), hazy)


def test_no_haze_and_opaque_haze():
    clear = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    depth = np.ones((4, 4), np.float32)
    np.testing.assert_array_equal(
        scattering.apply_haze(clear, scattering.Haze("depth", 0.0, (1, 1, 1), 0), depth=depth), clear
    )
    assert (
        scattering.apply_haze(clear, scattering.Haze("depth", 50.0, (0.2, 0.4, 0.6), 0), depth=depth) == [51, 102, 153]
    ).all()


def test_draws_fill_their_ranges():
    ranges = scattering.Ranges(beta=(0.5, 2.0), airlight=(0.6, 0.9), tint=0.1)
    hazes = drawn(200, ranges)
    beta = np.array([one.beta for one in hazes])
    red, green, blue = np.array([one.airlight for one in hazes]).T
    assert beta.min() >= 0.5 and beta.max() <= 2 and np.ptp(beta) > 1.3
    assert green.min() >= 0.6 and green.max() <= 0.9 and np.ptp(green) > 0.25
    assert np.abs(red - blue).max() <= 0.1001 and (red - blue).min() < -0.08 and (red - blue).max() > 0.08
    np.testing.assert_allclose(red + blue, 2 * green, atol=2e-4)
    assert {one.kind for one in hazes} == set(scattering.KINDS)
    assert {one.kind for one in drawn(9, scattering.Ranges(kinds=("ramps",)))} == {"ramps"}
    assert all(max(one.airlight) <= 1 for one in drawn(50, scattering.Ranges(airlight=(1, 1), tint=0.5)))
    gray = drawn(5, scattering.Ranges(tint=0))
    assert all(len(set(one.airlight)) == 1 for one in gray)


def test_a_haze_depends_on_seed_name_and_version_alone():
    names = [unicodedata.normalize(form, "dünen/é.jpg") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    one, same = (scattering.draw(scattering.Ranges(), seed=3, name=name, version=2) for name in names)
    assert one == same
    others = [
        scattering.draw(scattering.Ranges(), seed=4, name=names[0], version=2),
        scattering.draw(scattering.Ranges(), seed=3, name=names[0], version=1),
        scattering.draw(scattering.Ranges(), seed=3, name="é.jpg", version=2),
    ]
    assert len({one, *others}) == 4


@pytest.mark.parametrize("kind", scattering.KINDS)
@pytest.mark.parametrize("size", [(1, 1), (3, 90), (90, 3), (64, 48)])
def test_fields_of_any_shape(kind, size):
    for seed in range(5):
        field = scattering.make_field(scattering.Haze(kind, 1.0, (1, 1, 1), seed), size)
        assert field.shape == size and field.dtype == np.float32
        assert field.min() > 0 and field.max() <= 1
        np.testing.assert_array_equal(field, scattering.make_field(scattering.Haze(kind, 1.0, (1, 1, 1), seed), size))
    assert size == (1, 1) or np.ptp(field) > 0.2


def test_ramps_are_near_at_the_bottom_and_tilt_both_ways():
    fields = [scattering.make_field(scattering.Haze("ramps", 1.0, (1, 1, 1), seed), (60, 80)) for seed in range(12)]
    for field in fields:
        assert (np.diff(field, axis=0) < 0).all(), "farther upwards, everywhere"
        assert field.max() == 1
    tilts = [field[:, -1].mean() - field[:, 0].mean() for field in fields]
    assert min(tilts) < -0.05 and max(tilts) > 0.05


def test_fractal_is_normalized_and_smooth():
    noise = fractal(np.random.default_rng(0), 128, cells=3, octaves=1)
    assert abs(float(noise.mean())) < 1e-4 and float(noise.std()) == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.2
    rough = fractal(np.random.default_rng(0), 128, cells=3, octaves=5)
    assert np.abs(np.diff(rough, axis=0)).mean() > 2 * np.abs(np.diff(noise, axis=0)).mean()


def test_fractal_noise_has_one_scale_along_both_sides():
    wide = fractal(np.random.default_rng(0), (60, 240), cells=6, octaves=4)
    assert abs(float(wide.mean())) < 1e-4 and float(wide.std()) == pytest.approx(1, abs=1e-3)
    down, right = (float(np.abs(np.diff(wide, axis=axis)).mean()) for axis in (0, 1))
    assert 0.6 < down / right < 1.6
    rng, again = np.random.default_rng(1), np.random.default_rng(1)
    np.testing.assert_array_equal(fractal(rng, 50, cells=2.3), fractal(again, (50, 50), cells=2.3))


def test_depth_map_values_become_distances():
    values = np.array([[0, 0.05, 0.5, 1]], np.float32)
    np.testing.assert_allclose(scattering.distance(values, scale=10), [[0, 0.5, 5, 10]], rtol=1e-6)
    np.testing.assert_allclose(scattering.distance(values, meaning="nearness", scale=2), [[2, 1.9, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(scattering.distance(values, meaning="disparity"), [[1, 1, 0.1, 0.05]], rtol=1e-6)


def test_depth_maps_are_resized():
    assert scattering.depth_fits((240, 320), (480, 640)) and scattering.depth_fits((241, 320), (480, 640))
    assert scattering.depth_fits((33, 50), (66, 101)) and not scattering.depth_fits((320, 240), (480, 640))
    assert not scattering.depth_fits((250, 320), (480, 640))
    depth = np.repeat(np.linspace(0, 1, 16, dtype=np.float32)[:, None], 8, 1)
    larger = scattering.resize_depth(depth, (32, 16))
    assert larger.shape == (32, 16) and larger.dtype == np.float32
    np.testing.assert_allclose(larger[1:-1:2].mean(1), np.linspace(0, 1, 32)[1:-1:2], atol=0.02)
    assert scattering.resize_depth(depth, (16, 8)) is depth


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kinds": ("clouds", "rain")}, "kind=clouds,rain must be"),
        ({"kinds": ()}, "kind= must be"),
        ({"kinds": ("depth", "clouds")}, "kind=depth,clouds must be"),
        ({"beta": (2, 1)}, "beta=2,1 must be LOW,HIGH"),
        ({"beta": (-1, 1)}, "beta=-1,1"),
        ({"beta": (1, float("inf"))}, "beta=1,inf"),
        ({"beta": (float("nan"), 1)}, "beta=nan,1"),
        ({"airlight": (0.5, 1.5)}, "airlight=0.5,1.5 must be LOW,HIGH with numbers in .0, 1."),
        ({"tint": -0.1}, "tint=-0.1"),
    ],
)
def test_invalid_ranges_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        scattering.Ranges(**fields)
