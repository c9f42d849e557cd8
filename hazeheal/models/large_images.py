"""Cuts a large image into the tiles of a plan, and takes the averages over it that the network needs (`averages`)."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hazeheal.models.rearrange import mirrored_indices
from hazeheal.models.tiles import Plan

# (pixels of a tile; top, bottom, left and right of its core; the averages that the network uses, None: its own).
Part = tuple[np.ndarray, tuple[int, int, int, int], np.ndarray | None]


def cut_out(image: np.ndarray, plan: Plan, row: int, column: int) -> np.ndarray:
    """Returns the pixels of a tile, mirrored beyond the image border. A single tile is the image itself."""
    if len(plan.tiles) == 1:
        return image
    for axis, side, number in ((0, plan.rows, row), (1, plan.columns, column)):
        positions = np.arange(side.size) + side.starts[number]
        image = image.take(mirrored_indices(positions, image.shape[axis]), axis=axis)
    return image


def image_averages(
    image: np.ndarray,
    plan: Plan,
    collect: Callable[[Iterable[Part]], Iterator[np.ndarray]],
    *,
    tile_size: int,
    multiple: int,
) -> np.ndarray:
    """Returns the averages over an image that does not fit into the network, float32 `[N]`.

    First those of the image reduced to one tile; with these, those over the cores of all tiles. The first averages in
    the network are then exact, and the next ones close (docs/inference.md).

    Args:
        image: `[H, W, 3]` uint8 or uint16.
        plan: Its tiles.
        collect: From parts to the averages over their cores, float32 `[N]` each, in order (`averages.collect`).
        tile_size: That of the plan.
        multiple: The network's stride.
    """
    small = _reduced(image, tile_size, multiple)
    (averages,) = collect([(small, (0, small.shape[0], 0, small.shape[1]), None)])
    parts = ((cut_out(image, plan, *tile), plan.core(*tile), averages) for tile in plan.tiles)
    total = sum(plan.share(*tile) * part for tile, part in zip(plan.tiles, collect(parts), strict=True))
    return total.astype(np.float32)


def _reduced(image, tile_size, multiple):
    """Returns an image reduced by a whole number to a tile's pixels, then mirrored to multiples of the stride."""
    factor = math.ceil(math.sqrt(image.shape[0] * image.shape[1]) / tile_size)
    down, across = (min(factor, side) for side in image.shape[:2])
    height, width = image.shape[0] // down, image.shape[1] // across
    blocks = image[: height * down, : width * across].reshape(height, down, width, across, 3)
    small = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(image.dtype)
    for axis, side in enumerate((height, width)):
        padded = -(-side // multiple) * multiple
        small = small.take(mirrored_indices(np.arange(padded), side), axis=axis)
    return small
