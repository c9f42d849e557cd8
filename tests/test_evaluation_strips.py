"""Parts of an image cover it once, and contain what they need."""

import numpy as np
import pytest

from hazeheal.evaluation import strips


@pytest.mark.parametrize("size", [(1, 1), (10, 7), (37, 64), (100, 3)])
@pytest.mark.parametrize("reach", [0, 2, 50])
@pytest.mark.parametrize(
    "parts",
    [
        lambda *size, **kwargs: strips.strips(*size, pixels=90, **kwargs),
        lambda *size, **kwargs: strips.windows(*size, side=9, **kwargs),
    ],
)
def test_parts_cover_the_image_once_with_their_surroundings(size, reach, parts):
    image, count = np.arange(size[0] * size[1]).reshape(size), np.zeros(size, int)
    for part in parts(*size, reach=reach):
        count[part.own] += 1
        np.testing.assert_array_equal(image[part.outer][part.inner], image[part.own])
        for axis, (own, outer) in enumerate(zip(part.own, part.outer, strict=True)):
            assert outer == slice(max(0, own.start - reach), min(size[axis], own.stop + reach))
    assert (count == 1).all()


def test_strips_have_about_the_same_height_and_at_most_the_given_pixels():
    rows = [part.own[0].stop - part.own[0].start for part in strips.strips(100, 8, reach=0, pixels=7 * 8)]
    assert sum(rows) == 100 and max(rows) == 7 and min(rows) == 6
    assert len([*strips.strips(5, 1000, reach=0, pixels=10)]) == 5  # a row is the least


def test_values_are_computed_in_order_and_errors_reach_the_caller():
    parts = [*strips.windows(40, 40, side=8, reach=0)]
    found = [*strips.map_parts(lambda part: (part.own[0].start, part.own[1].start), iter(parts))]
    assert found == [(part.own[0].start, part.own[1].start) for part in parts]
    total = strips.sum_parts(lambda part: np.array([1.0, part.own[0].start]), iter(parts))
    assert total.tolist() == [25, sum(part.own[0].start for part in parts)]

    def fail(part):
        raise ValueError(part.own[0].start)

    with pytest.raises(ValueError, match="0"):
        list(strips.map_parts(fail, iter(parts)))
