"""Plans overlapping tiles for images that are too large for the device, and the weights that blend them.

    plan = plan_tiles(3000, 4000, tile_size=1024, multiple=32, before=159, after=190)
    for row, column in plan.tiles:
        top, left = plan.rows.starts[row], plan.columns.starts[column]
        values = network(padded[top : top + plan.rows.size, left : left + plan.columns.size])
        total[...] += weights * values

For a network whose output pixel p depends on the input pixels p - before .. p + after, three rules make the blended
tiles equal the result of the whole image:

1. Tiles start at multiples of the network's stride (`multiple`), so every strided convolution and its padding are
   aligned as in the whole image. All tiles of an image have the same size, also a multiple. The image is mirrored up
   to a multiple, as the network itself pads it (`rearrange.MirrorPad`).
2. A pixel of a tile has a nonzero weight only if its receptive field is inside the tile or beyond the image border.
3. Where two tiles overlap, one fades into the other over half a period of a cosine. The weights of a pixel sum to 1.

This module is arithmetic on the host and does not use TensorFlow.
"""

import dataclasses
import functools
import itertools
import math

import numpy as np

from hazeheal.errors import UsageError

BLEND = 64  # smallest width, in pixels, over which two tiles fade into each other


@dataclasses.dataclass(frozen=True)
class Axis:
    """The tiles along one side of an image.

    Attributes:
        padded: Length of the side, rounded up to a multiple of the network's stride.
        size: Length of each tile, a multiple of the stride.
        starts: First pixel of each tile, multiples of the stride. The last tile ends at `padded`.
        weights: `[tiles, size]` float32: the blending weight of each pixel of each tile.
        cores: First and end pixel of a part of each tile, in its own pixels, multiples of the stride; together the parts
            cover the padded side once.
    """

    padded: int
    size: int
    starts: tuple[int, ...]
    weights: np.ndarray
    cores: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """All tiles of an image: the tiles along its height are its `rows`, those along its width its `columns`."""

    height: int
    width: int
    rows: Axis
    columns: Axis

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """The (row, column) of each tile in the grid of tiles, row by row."""
        return list(itertools.product(range(len(self.rows.starts)), range(len(self.columns.starts))))

    def core(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Returns top, bottom, left and right of the tile's core, in its own pixels."""
        return (*self.rows.cores[row], *self.columns.cores[column])

    def core_in_image(self, row: int, column: int) -> tuple[slice, slice]:
        """Returns the rows and the columns of the image that the tile's core covers, without the padding."""
        (top, bottom), (left, right) = self.rows.cores[row], self.columns.cores[column]
        first_row, first_column = self.rows.starts[row], self.columns.starts[column]
        rows = slice(first_row + top, min(first_row + bottom, self.height))
        return rows, slice(first_column + left, min(first_column + right, self.width))

    def share(self, row: int, column: int) -> float:
        """Returns the share of the padded image that the tile's core covers; those of all tiles sum to 1."""
        top, bottom, left, right = self.core(row, column)
        return (bottom - top) * (right - left) / (self.rows.padded * self.columns.padded)


def plan_tiles(height: int, width: int, *, tile_size: int, multiple: int, before: int, after: int) -> Plan:
    """Plans the smallest number of tiles of at most tile_size^2 pixels, and then the smallest such tiles.

    An image of at most tile_size^2 pixels is one tile, whatever its shape. A long image gets long tiles.

    Args:
        height, width: Size of the image in pixels, 1 or more.
        tile_size: The network gets at most tile_size^2 pixels at once.
        multiple: Stride of the network (`receptive_field.multiple`).
        before, after: Receptive field of the network (`receptive_field.receptive_field`).

    Raises:
        UsageError: The tile size is below `smallest_tile`.
    """
    smallest = smallest_tile(multiple=multiple, before=before, after=after)
    if tile_size < smallest:
        raise UsageError(
            f"tile_size={tile_size} is too small: the receptive field of this network is {before + after + 1} "
            f"pixels; use {smallest} or more"
        )
    padded_height, padded_width = _round_up(height, multiple), _round_up(width, multiple)
    longest = tile_size // multiple * multiple
    tile_width = min(padded_width, longest)
    tile_height = min(padded_height, longest * longest // tile_width)
    tile_width = min(padded_width, longest * longest // tile_height)
    cut = functools.partial(_cut, multiple=multiple, before=before, after=after)
    return Plan(height, width, cut(padded_height, tile_height), cut(padded_width, tile_width))


def smallest_tile(*, multiple: int, before: int, after: int) -> int:
    """Returns the smallest possible `tile_size`: the overlap of two tiles plus one step."""
    return _overlap(multiple, before, after) + multiple


def _round_up(value, multiple):
    return -(-value // multiple) * multiple


def _overlap(multiple, before, after):
    return _round_up(before, multiple) + _round_up(after, multiple) + _round_up(BLEND, multiple)


def _cut(padded, longest, *, multiple, before, after):
    """Returns the `Axis` of a side for tiles of at most `longest` pixels."""
    longest = longest // multiple * multiple
    if padded <= longest:
        return Axis(padded, padded, (0,), np.ones((1, padded), np.float32), ((0, padded),))
    overlap = _overlap(multiple, before, after)
    count = -(-(padded - overlap) // (longest - overlap))
    size = _round_up(-(-(padded - overlap) // count) + overlap, multiple)
    steps = (padded - size) // multiple  # from the start of the first tile to the start of the last
    starts = tuple(i * steps // (count - 1) * multiple for i in range(count))
    # A core begins where all pixels of the tile's receptive field are in the tile.
    cuts = [0, *(start + _round_up(before, multiple) for start in starts[1:]), padded]
    cores = tuple(
        (begin - start, end - start) for start, (begin, end) in zip(starts, itertools.pairwise(cuts), strict=True)
    )
    return Axis(padded, size, starts, _weights(padded, size, starts, before, after), cores)


def _weights(padded, size, starts, before, after):
    weights = np.ones((len(starts), size))
    for number, (left, right) in enumerate(itertools.pairwise(starts)):
        begin, end = right + before, left + size - after  # both tiles are valid here
        rising = np.sin((np.arange(end - begin) + 0.5) / (end - begin) * (math.pi / 2)) ** 2
        weights[number, begin - left : end - left] *= rising[::-1]
        weights[number, end - left :] = 0
        weights[number + 1, begin - right : end - right] *= rising
        weights[number + 1, : begin - right] = 0
    total = np.zeros(padded)
    for start, row in zip(starts, weights, strict=True):
        total[start : start + size] += row
    for start, row in zip(starts, weights, strict=True):
        row /= total[start : start + size]
    return weights.astype(np.float32)
