"""The strength of a restoration, against the formula in float64."""

import numpy as np
import pytest

from hazeheal.inference import strength


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, 1.5])
def test_it_is_the_rounded_and_clipped_formula(dtype, value, monkeypatch):
    monkeypatch.setattr(strength, "_STRIP", 100)  # several strips
    random, white = np.random.default_rng(0), np.iinfo(dtype).max
    hazy, restored = random.integers(0, white + 1, (2, 37, 21, 3)).astype(dtype)
    given = hazy.copy(), restored.copy()
    found = strength.blend(hazy, restored, value)
    expected = np.clip(hazy + value * (restored.astype(np.float64) - hazy), 0, white)
    assert found.dtype == dtype
    assert np.abs(found - expected).max() <= 0.51  # float32 may round a value near the middle to the other side
    assert np.array_equal(hazy, given[0]) and np.array_equal(restored, given[1])


def test_zero_is_the_hazy_image_and_one_the_restored_one_and_more_is_clipped():
    hazy, restored = np.full((1, 2, 3), 100, np.uint8), np.full((1, 2, 3), 10, np.uint8)
    restored[0, 1] = 250
    assert np.array_equal(strength.blend(hazy, restored, 0), hazy)
    assert np.array_equal(strength.blend(hazy, restored, 1), restored)
    assert strength.blend(hazy, restored, 1.5)[0, :, 0].tolist() == [0, 255]  # -35 and 325
