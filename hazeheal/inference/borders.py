"""Uniform borders, found from the pixels: letterbox bars, the collar of a rotated scene, the surround of a fisheye lens.

    border = find_border(image)                          # None without one
    restored = network(border.content(image))
    border.around(restored, image)

A border has one color, and a sharp edge that is straight or convex. Photographs have one or the other: an even sky ends at
a ragged skyline or fades into fog, and so do a blown-out sky and a dark foreground. What is not found stays a part of the
scene.

Bars are cut off, so that the result within them is that of the picture alone. What is left beside convex content gets the
colors that continue it (`invalid_pixels`).
"""

from typing import NamedTuple

import numpy as np

# All levels are of 255.
NOISE = 6  # of JPEG and video: levels on a border
_STEP = 12  # levels from a border to its content, at least
_CONSTANT = 2  # levels: range of an image of one color
_EXTREME = 12  # levels from black and white, at most
_RINGING = 24  # levels that JPEG adds to a border near its edge, at most
_MIXED = 16  # pixels from the edge: a block of JPEG, of colors at half the resolution
_BEHIND = 4  # lines behind them that show the content
_EDGE = 4  # pixels of the content at the edge whose colors are not continued
_THICKEST = 0.45  # bar, of a side
_SMALLEST_COLLAR = 0.002  # of an image
_SAMPLES = 256  # pixels of a line, and cells of a side, that are looked at
_SMALLEST = 16  # pixels a side of an image that can have a border


class Border(NamedTuple):
    """The uniform border of an image.

    Attributes:
        rows, columns: The box around what is within it.
        valid: `[h, w]` bool: False on the border within the box; None if there is none.
    """

    rows: slice
    columns: slice
    valid: np.ndarray | None

    def content(self, image: np.ndarray) -> np.ndarray:
        """Returns the box of an image `[H, W, 3]`, in which colors of the content replace the border."""
        box = image[self.rows, self.columns]
        if self.valid is None:
            return box
        from hazeheal.inference.invalid_pixels import fill_invalid  # imports TensorFlow

        return fill_invalid(box, self.valid, seen=_away_from_border(self.valid))

    def outside(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns `[H, W]` bool: True on the border of an image of this shape, `[H, W, 3]`."""
        outside = np.ones(shape[:2], bool)
        outside[self.rows, self.columns] = False if self.valid is None else ~self.valid
        return outside

    def around(self, restored: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Returns an image with the restored `content`, `[h, w, 3]`, within its border; may change `restored`."""
        box = image[self.rows, self.columns]
        if self.valid is not None:
            np.copyto(restored, box, where=~self.valid[..., np.newaxis])
        if box.shape == image.shape:
            return restored
        result = image.copy()
        result[self.rows, self.columns] = restored
        return result


def levels_apart(pixels: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Returns the largest difference of the channels of pixels to a color, in levels of 255.

    Args:
        pixels: `[..., 3]`, uint8 or uint16.
        color: `[3]` or `[..., 3]` int32, in the range of the pixels.
    """
    channels = np.moveaxis(np.abs(pixels.astype(np.int32) - color), -1, 0)
    return np.maximum(np.maximum(*channels[:2]), channels[2]) / np.float32(_unit(pixels))


def find_border(image: np.ndarray) -> Border | None:
    """Finds the uniform border of an image `[H, W, 3]`, uint8 or uint16. An image of one color is all border."""
    height, width = image.shape[:2]
    if min(height, width) < _SMALLEST:
        return None
    if _is_constant(image[:: height // _SMALLEST, :: width // _SMALLEST]) and _is_constant(image):
        return Border(slice(0, height), slice(0, width), np.zeros((height, width), bool))
    rows, columns = _within_bars(image)
    inner = image[rows, columns]
    valid = _within_collar(inner)
    if valid is None:
        return Border(rows, columns, None) if inner.shape != image.shape else None
    # The box around the content.
    down, across = (np.flatnonzero(valid.any(axis)) for axis in (1, 0))
    valid = valid[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    top, left = rows.start + int(down[0]), columns.start + int(across[0])
    return Border(slice(top, top + valid.shape[0]), slice(left, left + valid.shape[1]), valid)


def _away_from_border(valid):
    """Returns `valid` without the pixels at the border, with whose color JPEG and scaling have mixed them."""
    away = valid.copy()
    for axis in (0, 1):
        near, far = (mask.swapaxes(0, axis) for mask in (away, valid))
        near[_EDGE:] &= far[:-_EDGE]
        near[:-_EDGE] &= far[_EDGE:]
    return away if away.any() else valid


def _unit(image):
    """The value of a level of 255."""
    return np.iinfo(image.dtype).max // 255


def _is_constant(image):
    return all(np.ptp(image[..., channel]) <= _CONSTANT * _unit(image) for channel in range(3))


def _within_bars(image):
    """Returns the rows and columns of an image within its bars."""
    box, found = [[0, side] for side in image.shape[:2]], True
    while found:  # behind a bar there may be one of another color
        found = False
        for axis in (0, 1):
            lines = image[slice(*box[0]), slice(*box[1])]
            lines = lines.swapaxes(0, 1) if axis else lines
            bars = [_bar(lines), _bar(lines[::-1])]
            if bars.count(0) == 1 and _is_on_both_sides(lines, max(bars)):  # to content of its color
                bars = [max(bars)] * 2
            box[axis] = [box[axis][0] + bars[0], box[axis][1] - bars[1]]
            found = found or any(bars)
    return slice(*box[0]), slice(*box[1])


def _is_on_both_sides(lines, bar):
    """Whether the first and the last lines have the color of a bar on one of the sides."""
    ends = [end[:, :: max(1, end.shape[1] // _SAMPLES)] for end in (lines[:bar], lines[-bar:])]
    color = np.median(lines[0], axis=0).astype(np.int32)
    return all((levels_apart(end, color) <= NOISE).mean() > 0.9 for end in ends)


def _bar(lines):
    """Returns how many of the first lines `[N, M, 3]` are a bar; 0 if there is none."""
    pixels = lines[:, :: max(1, lines.shape[1] // _SAMPLES)]
    if np.ptp(pixels[0], axis=0).max() > 2 * NOISE * _unit(lines):
        return 0
    color, clean = np.median(pixels[0], axis=0).astype(np.int32), 0  # `clean`: lines of this color
    while clean < len(lines):
        is_clean = (levels_apart(pixels[clean : clean + 16], color) <= NOISE).mean(1) >= 0.99
        clean += len(is_clean) if is_clean.all() else int(is_clean.argmin())
        if not is_clean.all():
            break
    start = max(0, clean - 3)
    apart = levels_apart(pixels[start : clean + _MIXED + _BEHIND], color)
    middle = np.median(apart, axis=1)
    content = np.median(middle[-_BEHIND:])
    # Mixed lines belong to the side to which they are closer.
    step = max(_STEP, content / 2)
    edge = int((middle > step).argmax())
    bar = start + edge
    if content <= _STEP or middle[edge] <= step or not 1 <= bar <= min(clean + _MIXED, _THICKEST * len(lines)):
        return 0
    # Where half of a skyline has begun, much of it began lines before.
    before, behind = apart[max(0, edge - 3) : max(1, edge - 1)].max(0), apart[min(edge + 1, len(apart) - 1)]
    return bar if (before > step / 2).mean() <= 0.03 and (behind > step).mean() >= 0.6 else 0


def _within_collar(image):
    """Returns `[H, W]` bool: the convex content of an image whose corners have one color; None if there is no collar."""
    found = _color_of_corners(image)
    if found is None:
        return None
    color, corners = found
    step = -(-max(image.shape[:2]) // _SAMPLES)
    rows, columns = (np.minimum(np.arange(0, side, step) + step // 2, side - 1) for side in image.shape[:2])
    apart = levels_apart(image[rows[:, np.newaxis], columns], color)
    # From the collar of exactly one value to the one with ringing, for less and less content of almost its color.
    for noise, least in ((0, 0), (NOISE, NOISE), (NOISE, _STEP)):
        hull = _content(apart, corners, noise=noise, least=least)
        if hull is not None:
            valid = _at_edge(image, hull, step, color, noise=noise and _RINGING)
            return valid if valid.any() else None
    return None


def _color_of_corners(image):
    """Returns the color that most corners have, and these corners; None if they cannot be those of a collar."""
    corners = [(y, x) for y in (0, -1) for x in (0, -1)]
    values = np.array([image[corner] for corner in corners], np.int32)
    near = np.abs(values[:, np.newaxis] - values).max(-1) <= NOISE * _unit(image)
    same = np.flatnonzero(near[near.sum(1).argmax()])
    color = values[near.sum(1).argmax()]
    is_white = color.min() >= (255 - _EXTREME) * _unit(image)
    if (not is_white and color.max() > _EXTREME * _unit(image)) or len(same) < 3:
        blocks = [image[tuple(slice(4) if place == 0 else slice(-4, None) for place in corners[i])] for i in same]
        if any(np.ptp(block, axis=(0, 1)).any() for block in blocks) or (is_white and same[-1] < 2):
            return None  # of several colors, or a blown-out sky
    return color, [corners[i] for i in same]


def _content(apart, corners, *, noise, least):
    """Returns the convex hull `[h, w]` of the content, from how far cells are apart from the color of the corners."""
    from scipy import ndimage  # loads slowly, and few images need it

    labels, count = ndimage.label(apart <= noise)
    of_border = np.zeros(count + 1, bool)
    of_border[[labels[corner] for corner in corners]] = True
    of_border[0] = False
    border = of_border[labels]
    labels, count = ndimage.label(~border)
    if not count or border.mean() < _SMALLEST_COLLAR:
        return None
    solid = inside = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    if least > noise:  # ringing must not widen the hull
        solid = ndimage.binary_opening(inside & (apart > max(least, np.median(apart[inside]) / 8)))
    if not solid.any():
        return None
    hull = _hull(solid)
    outside = border & ~hull
    is_around = (
        outside.sum() >= 0.95 * border.sum()
        and (~hull & ~border).sum() <= 0.35 * border.sum()
        and inside[hull].mean() >= (0.98 if noise else 0.995)
        and (len(corners) > 2 or ((apart[outside] == 0).mean() >= 0.9 and border.mean() <= _THICKEST))
    )
    if not is_around:
        return None
    ring = ndimage.binary_erosion(hull, iterations=2, border_value=1)
    ring &= ~ndimage.binary_erosion(ring, border_value=1)
    is_sharp = ring.any() and (apart[ring] > _STEP).mean() >= (0.7 if len(corners) == 4 else 0.85)
    return hull if is_sharp else None


def _at_edge(image, hull, step, color, *, noise):
    """Returns the content `[H, W]` from its hull in cells. At the edge, pixels of the color are none of it."""
    from scipy import ndimage

    wide = ndimage.binary_dilation(hull, iterations=2)
    near = wide & ~ndimage.binary_erosion(hull, iterations=-(-_MIXED // step), border_value=1)
    valid, cells = np.empty(image.shape[:2], bool), np.arange(image.shape[1]) // step
    for i, top in enumerate(range(0, len(image), step)):
        rows, places = slice(top, top + step), np.flatnonzero(near[i, cells])
        valid[rows] = wide[i, cells]
        valid[rows, places] = levels_apart(image[rows, places], color) > noise
    return valid


def _hull(mask):
    """Returns the convex hull of a mask, from the ends of its rows."""
    rows = np.flatnonzero(mask.any(1))
    ends = mask[rows].argmax(1), -(mask.shape[1] - 1 - mask[rows, ::-1].argmax(1))
    height, columns = np.arange(rows[0], rows[-1] + 1), np.arange(mask.shape[1])
    first, last = (_below(rows, end, height)[:, np.newaxis] for end in ends)
    hull = np.zeros_like(mask)
    hull[height] = (columns > first - 1e-6) & (columns < 1e-6 - last)
    return hull


def _below(x, y, places):
    """Returns at `places` the lower convex hull of points; x rises."""
    chain = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(chain) > 1 and _is_above(chain[-1], chain[-2], point):
            chain.pop()
        chain.append(point)
    return np.interp(places, *zip(*chain, strict=True))


def _is_above(point, a, b):
    return (point[1] - a[1]) * (b[0] - a[0]) >= (b[1] - a[1]) * (point[0] - a[0])
