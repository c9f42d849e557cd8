"""Restores consecutive frames without flicker: what a generator estimates is smoothed over time.

A generator estimates the haze of each frame anew, and its estimates jump from frame to frame where the scene hardly
changes. So their means over coarse cells follow slowly (`CELL_TIME`), and so does the mean brightness that they add
(`BRIGHTNESS_TIME`). The differences within a cell stay those of the frame itself: details are not blurred, and moving
objects leave no traces of their shape. After a cut everything starts anew, so that the first frame of a scene is what the
generator alone makes of it. Only means are kept from frame to frame.
"""

import collections
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hazeheal.inference.video.cuts import CutDetector
from hazeheal.inference.video.steady_border import SteadyBorder

if TYPE_CHECKING:
    from hazeheal.inference.restorer import Restorer

CELL_TIME, BRIGHTNESS_TIME = 1.0, 2.0  # time constants in seconds
# What is added to the mean brightness changes at most as much as the mean brightness of the input and by this per second,
# so that the result moves at most twice as much as the input.
_SLACK = 0.5 / 127.5  # half a level
CELLS = 8  # per side
_SAMPLES = 64  # per side: means over smaller cells, from which everything is computed
_STRIP = 1 << 19  # pixels that are corrected at once


def restore_smoothly(images: Iterable[tuple[float, np.ndarray]], restorer: "Restorer") -> Iterator[np.ndarray]:
    """Restores consecutive frames, without their uniform border, which stays as it is.

    Args:
        images: (time in seconds, `[H, W, 3]` uint8 or uint16).
        restorer: A generator with `view_size`, `estimate` and `apply`, or any with `restore_all`.

    Yields:
        The restored images, in order.
    """
    restore = _restore_with_maps if getattr(restorer, "view_size", 0) else _restore_images
    find_border, waiting = SteadyBorder(), collections.deque()

    def contents():
        for time, image in images:
            border = find_border(image)
            waiting.append((border, image))
            yield time, image if border is None else border.content(image)

    for restored in restore(contents(), restorer):
        border, image = waiting.popleft()
        yield restored if border is None else border.around(restored, image)


def _restore_with_maps(images, restorer):
    smoother = MapSmoother()
    for time, image in images:
        yield restorer.apply(smoother(restorer.estimate(image), image, time), image)


def _restore_images(images, restorer):
    smoother, waiting = ImageSmoother(), collections.deque()

    def hazy():
        for time, image in images:
            waiting.append((time, image))
            yield image

    for restored in restorer.restore_all(hazy()):
        time, image = waiting.popleft()
        yield smoother(restored, image, time)


class _Smoother:
    """Means that follow slowly, and start anew after a cut."""

    def __init__(self):
        self._cuts = CutDetector()
        self._means, self._time, self._seconds, self._brightness, self._moved = {}, None, 0.0, None, 0.0

    def _look(self, image, time):
        """Returns the means over the samples of a frame, in [-1, 1], and starts anew after a cut."""
        samples = 2 * block_means(image, _SAMPLES) / np.iinfo(image.dtype).max - 1
        if self._cuts.is_cut(samples):
            self._means.clear()
        self._seconds = 0.0 if self._time is None else max(0.0, time - self._time)
        brightness = float(samples.mean())
        self._moved = 0.0 if self._brightness is None else abs(brightness - self._brightness)
        self._time, self._brightness = time, brightness
        return samples

    def _follow(self, name, value, time_constant, *, limit=None):
        """Returns how far the mean of a value is from the value. The mean moves at most by `limit`."""
        mean = self._means.get(name, value)
        step = (1 - math.exp(-self._seconds / time_constant)) * (value - mean)
        self._means[name] = mean + (step if limit is None else np.clip(step, -limit, limit))
        return self._means[name] - value

    def _follow_brightness(self, x, y):
        """Returns what to add to restored samples y of x, so that the mean of what they add follows slowly."""
        shown = np.clip(y, -1, 1)
        limit = self._moved + _SLACK * self._seconds
        apart = self._follow("brightness", (shown - x).mean((0, 1)), BRIGHTNESS_TIME, limit=limit)
        # What is black or white stays so.
        return apart / np.maximum((np.abs(y) < 1).mean((0, 1)), 0.5)


class MapSmoother(_Smoother):
    """Smooths the maps of a generator with a view (`Restorer.estimate`)."""

    def __call__(self, maps: Sequence[np.ndarray], image: np.ndarray, time: float) -> list[np.ndarray]:
        """Returns the maps for the next frame.

        Args:
            maps: `[S, S, C]`, as `models.view.apply_parts` takes them side by side; one, or two for their mean.
            image: The frame, `[H, W, 3]` uint8 or uint16.
            time: In seconds.
        """
        samples = self._look(image, time)
        smoothed, restored = [], 0.0
        for i, part in enumerate(maps):
            apart = self._follow(i, block_means(part, CELLS), CELL_TIME)
            part = part + enlarged(apart, *part.shape[:2])
            # Maps may have fewer positions than there are samples.
            small = enlarged(block_means(part, samples.shape[:2]), *samples.shape[:2])
            restored = restored + _applied(small, samples) / len(maps)
            smoothed.append(part)
        apart = self._follow_brightness(samples, restored).astype(np.float32)
        for part in smoothed:
            channels = part.shape[2]
            if channels == 3:
                part += apart
            else:  # B, of all bins
                part[..., channels // 2 :] -= np.tile(apart, channels // 6)
        return smoothed


def _applied(maps, samples):
    from hazeheal.models.view import apply_parts  # imports TensorFlow

    return np.asarray(apply_parts(np.split(maps, maps.shape[2] // 3, -1), samples.astype(np.float32)))


class ImageSmoother(_Smoother):
    """Smooths restored images: the contrast and the offsets with which a frame gives its restored image.

    Restored images are close to gain * hazy + offset, with a gain for each color and offsets for each cell.
    """

    def __call__(self, restored: np.ndarray, image: np.ndarray, time: float) -> np.ndarray:
        """Returns the smoothed image for the next frame.

        Args:
            restored: `[H, W, 3]` uint8 or uint16, of the generator.
            image: The frame, of the same shape and type.
            time: In seconds.
        """
        x = self._look(image, time)
        y = 2 * block_means(restored, _SAMPLES) / np.iinfo(image.dtype).max - 1
        gain = _slope(x, y)
        more_gain = self._follow("gain", gain, CELL_TIME)
        offsets = self._follow("offsets", block_means(y - gain * x, CELLS), CELL_TIME)
        y = y + more_gain * x + enlarged(offsets, *x.shape[:2])
        offsets = offsets + self._follow_brightness(x, y)
        if not offsets.any() and not more_gain.any():
            return restored
        return _corrected(restored, image, more_gain, offsets)


def _slope(x, y):
    """The gain of y over x by least squares, for each color; 1 where x is flat."""
    x, y = x - x.mean((0, 1)), y - y.mean((0, 1))
    flat = 1e-4  # a variance of about one level
    return ((x * y).mean((0, 1)) + flat) / ((x * x).mean((0, 1)) + flat)


def _corrected(restored, image, gain, offsets):
    """Returns restored + gain * image + offsets, all in [-1, 1]."""
    half, (height, width) = np.iinfo(image.dtype).max / 2, image.shape[:2]
    # gain * (2 v / white - 1) in values v
    offsets, gain = ((offsets - gain) * half).astype(np.float32), gain.astype(np.float32)
    down, across = _interpolation(height, offsets.shape[0]), _interpolation(width, offsets.shape[1])
    result, step = np.empty_like(restored), max(1, _STRIP // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        values = _interpolated(offsets, down[rows], across)
        values += restored[rows]
        values += gain * image[rows]
        result[rows] = np.rint(np.clip(values, 0, 2 * half))
    return result


def block_means(array: np.ndarray, counts: int | tuple[int, int]) -> np.ndarray:
    """Returns the means `[rows, columns, C]` float32 over equal blocks of `[H, W, C]`, at most `counts` per side."""
    rows, columns = (counts, counts) if isinstance(counts, int) else counts
    height, width, channels = array.shape
    rows, columns = min(rows, height), min(columns, width)
    edges = np.arange(rows + 1) * height // rows
    lines = array.reshape(height, -1)
    kind = np.uint32 if array.dtype.kind == "u" else np.float32
    # Row by row of blocks, as this is 7 times faster than `np.add.reduceat`.
    sums = np.stack([np.add.reduce(lines[a:b], axis=0, dtype=kind) for a, b in itertools.pairwise(edges)])
    means = (sums / np.diff(edges)[:, np.newaxis].astype(np.float32)).reshape(rows, width, channels)
    edges = np.arange(columns + 1) * width // columns
    sums = np.add.reduceat(means, edges[:-1], axis=1, dtype=np.float32)
    return (sums / np.diff(edges)[:, np.newaxis].astype(np.float32)).astype(np.float32)


def enlarged(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns `[rows, columns, C]` enlarged bilinearly to `[height, width, C]`."""
    return _interpolated(cells, _interpolation(height, cells.shape[0]), _interpolation(width, cells.shape[1]))


def _interpolated(cells, down, across):
    return across @ np.tensordot(down, cells, axes=1)


def _interpolation(size, cells):
    """The matrix `[size, cells]` that interpolates between the centers of cells."""
    places = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(cells))).astype(np.float32)
