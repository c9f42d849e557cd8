"""The plan of tiles: coverage, overlap, alignment, and weights that sum to one."""

import numpy as np
import pytest

from hazeheal.errors import UsageError
from hazeheal.models.receptive_field import receptive_field
from hazeheal.models.tiles import plan_tiles, smallest_tile


def plan(height, width, *, tile_size, depth):
    before, after = receptive_field(depth)
    return plan_tiles(height, width, tile_size=tile_size, multiple=2**depth, before=before, after=after)


def least(depth):
    before, after = receptive_field(depth)
    return smallest_tile(multiple=2**depth, before=before, after=after)


def random_axes():
    random = np.random.default_rng(0)
    for _ in range(150):
        depth = int(random.integers(1, 6))
        tile_size = least(depth) + int(random.integers(0, 500))
        height, width = map(int, random.integers(1, 3000, 2))
        made = plan(height, width, tile_size=tile_size, depth=depth)
        assert made.rows.size * made.columns.size <= tile_size**2
        yield from ((side, axis, depth) for side, axis in ((height, made.rows), (width, made.columns)))


def test_tiles_cover_a_side_and_obey_the_rules():
    several = 0
    for side, axis, depth in random_axes():
        before, after = receptive_field(depth)
        assert side <= axis.padded < side + 2**depth
        assert axis.starts[0] == 0
        assert axis.starts[-1] + axis.size == axis.padded
        assert not any(number % 2**depth for number in (*axis.starts, axis.size))
        total, covered = np.zeros(axis.padded), np.zeros(axis.padded)
        for start, weights, (begin, end) in zip(axis.starts, axis.weights, axis.cores, strict=True):
            total[start : start + axis.size] += weights
            covered[start + begin : start + end] += 1
            # The receptive field of the core's pixels is inside the tile or beyond the image border.
            assert start == 0 or begin >= before
            assert start + axis.size == axis.padded or end <= axis.size - after
            assert begin % 2**depth == end % 2**depth == 0
            # The receptive field of a pixel with a weight is inside the tile or beyond the image border.
            weighted = np.flatnonzero(weights)
            assert start == 0 or weighted[0] >= before
            assert start + axis.size == axis.padded or weighted[-1] + 1 <= axis.size - after
        np.testing.assert_allclose(total, 1, atol=1e-6)
        assert np.all(covered == 1)
        several += len(axis.starts) > 1
    assert several > 100


def test_the_shares_of_the_tiles_sum_to_one_and_their_cores_cover_the_image_once():
    made = plan(1500, 1101, tile_size=600, depth=3)
    assert len(made.tiles) > 4
    assert sum(made.share(*tile) for tile in made.tiles) == pytest.approx(1)
    covered = np.zeros([1500, 1101], int)
    for tile in made.tiles:
        rows, columns = made.core_in_image(*tile)
        assert rows.stop <= 1500 and columns.stop <= 1101
        covered[rows, columns] += 1
        top, bottom, left, right = made.core(*tile)
        assert bottom - top - 8 < rows.stop - rows.start <= bottom - top
        assert right - left - 8 < columns.stop - columns.start <= right - left
    assert (covered == 1).all()


def test_weights_are_smooth():
    axis = plan(64, 12000, tile_size=500, depth=2).columns
    assert len(axis.starts) > 2
    for weights in axis.weights:
        assert np.abs(np.diff(weights)).max() < 0.05, "a step from 0 to 1 would be a visible seam"


@pytest.mark.parametrize(
    ("size", "tiles"),
    [((1024, 1024), 1), ((1, 1), 1), ((33, 10000), 1), ((1025, 1024), 2), ((3000, 4000), 30)],
)
def test_an_image_that_fits_is_one_tile(size, tiles):
    assert len(plan(*size, tile_size=1024, depth=5).tiles) == tiles


def test_a_tile_that_is_too_small_is_refused():
    assert len(plan(500, 500, tile_size=least(5), depth=5).tiles) > 1
    with pytest.raises(UsageError, match=f"tile_size={least(5) - 1} is too small.*use {least(5)} or more"):
        plan(10, 10, tile_size=least(5) - 1, depth=5)
