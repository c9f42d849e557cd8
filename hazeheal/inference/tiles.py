"""How an image that does not fit is cut into overlapping tiles, and with which weights they are put together.

    plan = plan_tiles(3000, 4000, tile_size=1024, multiple=32, before=159, after=190)
    for tile in plan.tiles:
        values = network(padded[tile.top : tile.top + plan.rows.size, tile.left : tile.left + plan.columns.size])
        total[...] += tile.weights * values

Three rules make the result that of the whole image, for a network whose pixels see `before` and `after` of them:

1. Tiles start at multiples of 2^depth, so that every stride and every padding of the network falls where it falls
   in the whole image. All tiles of an image have one size, a multiple of 2^depth too: the image is thought to
   be mirrored to such a size, as the network itself does (`layers.MirrorPad`).
2. A pixel of a tile counts only where all that it sees lies within the tile, or beyond the image's own border.
3. Where two tiles count, one fades into the other along half a period of a cosine; the weights of a pixel sum to 1.

Pure arithmetic on the host; no TensorFlow.
"""

import dataclasses
import functools
import math

import numpy as np

from hazeheal.errors import UsageError

BLEND = 64  # pixels at least, over which two tiles fade into each other


@dataclasses.dataclass(frozen=True)
class Axis:
    """The cuts along one side.

    Attributes:
        padded: The side with what is mirrored behind it, a multiple of 2^depth.
        size: Pixels of each tile, a multiple of 2^depth.
        starts: Where each tile starts, multiples of 2^depth; the last one ends at `padded`.
        before, after: How far a pixel sees.
        multiple: 2^depth.
    """

    padded: int
    size: int
    starts: tuple[int, ...]
    before: int
    after: int
    multiple: int

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """float32 [tiles, size]: what each pixel of each tile counts; the sum over all tiles is 1 everywhere."""
        raw = np.ones((len(self.starts), self.size))
        for number, (left, right) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            begin, end = right + self.before, left + self.size - self.after  # where both count
            rising = np.sin((np.arange(end - begin) + 0.5) / (end - begin) * (math.pi / 2)) ** 2
            raw[number, begin - left : end - left] *= rising[::-1]
            raw[number, end - left :] = 0
            raw[number + 1, begin - right : end - right] *= rising
            raw[number + 1, : begin - right] = 0
        total = np.zeros(self.padded)
        for start, row in zip(self.starts, raw, strict=True):
            total[start : start + self.size] += row
        return np.stack(
            [row / total[start : start + self.size] for start, row in zip(self.starts, raw, strict=True)]
        ).astype(np.float32)

    @functools.cached_property
    def cores(self) -> tuple[tuple[int, int], ...]:
        """A part (from, to) of each tile in its own pixels: together the padded side, each pixel of it once.

        They begin and end at multiples of 2^depth, and count everywhere.
        """
        margin = round_up(self.before, self.multiple)
        cuts = [0, *(start + margin for start in self.starts[1:]), self.padded]
        return tuple(
            (begin - start, end - start)
            for start, begin, end in zip(self.starts, cuts, cuts[1:], strict=False)
        )


@dataclasses.dataclass(frozen=True)
class Tile:
    """One tile: its first row and column in the padded image, and its number along each side."""

    top: int
    left: int
    row: int
    column: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """All tiles of an image, row by row.

    Attributes:
        height, width: Of the image.
        rows, columns: The cuts of its height and of its width.
    """

    height: int
    width: int
    rows: Axis
    columns: Axis

    @functools.cached_property
    def tiles(self) -> tuple[Tile, ...]:
        return tuple(
            Tile(top, left, row, column)
            for row, top in enumerate(self.rows.starts)
            for column, left in enumerate(self.columns.starts)
        )

    def core(self, tile) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)) of the tile's part of the padded image, in its own pixels."""
        return self.rows.cores[tile.row], self.columns.cores[tile.column]

    def share(self, tile) -> float:
        """What of the padded image that part is; the shares of all tiles sum to 1."""
        (top, bottom), (left, right) = self.core(tile)
        return (bottom - top) * (right - left) / (self.rows.padded * self.columns.padded)


def plan_tiles(height, width, *, tile_size, multiple, before, after) -> Plan:
    """Plans the fewest tiles of at most tile_size^2 pixels, and the smallest that are not more.

    An image of no more pixels than that is one tile, whatever its shape; a long one gets long tiles.

    Args:
        height, width: Of the image, from 1 up.
        tile_size: Side of a square of the most pixels that the network is to be given at once.
        multiple: 2^depth of the network.
        before, after: How far a restored pixel sees (`generator.receptive_field`).

    Raises:
        UsageError: The tile size is smaller than such a network can do with (`smallest_tile`).
    """
    least = smallest_tile(multiple=multiple, before=before, after=after)
    if tile_size < least:
        raise UsageError(
            f"tile_size={tile_size} is too small: a pixel of this network sees {before + after + 1} pixels "
            f"along a side; use {least} or more"
        )
    padded_height, padded_width = round_up(height, multiple), round_up(width, multiple)
    most = tile_size // multiple * multiple
    tile_width = min(padded_width, most)
    tile_height = min(padded_height, most * most // tile_width)
    tile_width = min(padded_width, most * most // tile_height)
    cut = functools.partial(_cut, multiple=multiple, before=before, after=after)
    return Plan(height, width, cut(padded_height, tile_height), cut(padded_width, tile_width))


def smallest_tile(*, multiple, before, after) -> int:
    """The smallest `tile_size`: neighbors overlap by what a pixel sees and the fading, and get on by one step."""
    return _overlap(multiple, before, after) + multiple


def round_up(value, multiple):
    return -(-value // multiple) * multiple


def _overlap(multiple, before, after):
    return round_up(before, multiple) + round_up(after, multiple) + round_up(BLEND, multiple)


def _cut(padded, largest, *, multiple, before, after):
    largest = largest // multiple * multiple
    if padded <= largest:
        return Axis(padded, padded, (0,), before, after, multiple)
    overlap = _overlap(multiple, before, after)
    count = -(-(padded - overlap) // (largest - overlap))
    size = round_up(-(-(padded - overlap) // count) + overlap, multiple)
    spare = (padded - size) // multiple  # steps that the last tile starts behind the first
    starts = tuple(i * spare // (count - 1) * multiple for i in range(count))
    return Axis(padded, size, starts, before, after, multiple)
