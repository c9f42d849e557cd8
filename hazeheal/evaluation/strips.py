"""Computations on parts of an image, in threads, so that their memory does not grow with the image.

for part in strips(height, width, reach=5):
    values = neighborhoods(image[part.outer])[part.inner]      # those of the whole image

Each part is computed with the pixels around it that its result depends on.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from hazeheal.utils.cpu import usable_cores
from hazeheal.utils.parallel import ordered_map
from hazeheal.utils.slices import slices

Value = TypeVar("Value")
STRIP = 1 << 18  # pixels; 2 MB for each value of a pixel in float64
Slices = tuple[slice, slice]


@dataclasses.dataclass(frozen=True)
class Part:
    """A rectangle of an image, as (rows, columns).

    Attributes:
        own: The rectangle itself. Those of all parts cover the image without overlap.
        outer: The rectangle and the pixels around it, as far as the image and the reach go.
        inner: The rectangle within `outer`.
    """

    own: Slices
    outer: Slices
    inner: Slices


def strips(height: int, width: int, *, reach: int, pixels: int | None = None) -> Iterator[Part]:
    """Yields strips of rows of about the same height.

    Args:
        height, width: Size of the image.
        reach: Number of rows above and below that a strip needs.
        pixels: Largest number of pixels in a strip of several rows; None: `STRIP`.
    """
    for rows in slices(height, max(1, (STRIP if pixels is None else pixels) // width)):
        yield _part((rows, slice(0, width)), (height, width), reach)


def windows(height: int, width: int, *, side: int, reach: int) -> Iterator[Part]:
    """Yields rectangles of at most `side` x `side` pixels, which need `reach` pixels around them."""
    for rows in slices(height, side):
        for columns in slices(width, side):
            yield _part((rows, columns), (height, width), reach)


def map_parts(function: Callable[[Part], Value], parts: Iterator[Part]) -> Iterator[Value]:
    """Yields `function(part)` of all parts in order; a thread for each core computes them."""
    cores = usable_cores()
    return (value for _, value in ordered_map(function, parts, threads=cores, ahead=cores))


def sum_parts(function: Callable[[Part], np.ndarray], parts: Iterator[Part]) -> np.ndarray:
    """Returns the sum of `function(part)` of all parts, in order."""
    return sum(map_parts(function, parts), start=np.float64(0))


def _part(own, size, reach):
    outer = tuple(slice(max(0, s.start - reach), min(n, s.stop + reach)) for s, n in zip(own, size, strict=True))
    inner = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(own, outer, strict=True))
    return Part(own, outer, inner)
