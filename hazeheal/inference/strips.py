"""A large picture restored by a network that looks at a view of it: strip by strip, on the host.

The network sees the view alone (`models.view`), so that it needs no tiles; what is as large as the picture is its
reduction to the view and the laying of the enlarged maps on its pixels. Both go by strips of rows here, in NumPy, and
give what the generator itself gives of the whole picture, to the rounding of float32.
"""

import numpy as np

from hazeheal.models.view import resampling

STRIP = 1 << 20  # pixels at a time
BLOCK = 1 << 13  # columns at a time


def restore(network, picture, *, view_size) -> np.ndarray:
    """Restores one picture.

    Args:
        network: A `Network` of a generator with a view.
        picture: uint8 or uint16 [H, W, 3].
        view_size: Of the generator.

    Returns:
        The restored one, of the same shape and type.
    """
    white, (height, width) = np.iinfo(picture.dtype).max, picture.shape[:2]
    maps = network.maps(_normalised(_reduced(picture, view_size), white)[None])
    restored = np.empty_like(picture)
    for rows in _cuts(height, max(1, STRIP // width)):
        places = np.arange(height, dtype=np.float32)[rows]
        laid = _enlarged(_enlarged(maps, places, height, axis=0), np.arange(width), width, axis=1)
        hazy = _normalised(picture[rows], white)
        # As `models.view.Laid`.
        value = hazy + (laid if laid.shape[2] == 3 else laid[..., :3] * hazy - laid[..., 3:])
        restored[rows] = np.rint(np.clip((value + 1) * np.float32(white / 2), 0, white))
    return restored


def _reduced(picture, view_size):
    """float32 [view_size, view_size, 3], of the values of the picture: as `models.view.View`, block by block."""
    height, width = picture.shape[:2]
    small = np.zeros((view_size, view_size, 3), np.float32)
    for columns in _cuts(width, BLOCK):
        reduced = np.zeros((view_size, columns.stop - columns.start, 3), np.float32)
        for rows in _cuts(height, max(1, STRIP // reduced.shape[1])):
            down = resampling(view_size, height, part=rows, lib=np)
            reduced += np.tensordot(down, picture[rows, columns].astype(np.float32), axes=1)
        across = resampling(view_size, width, part=columns, lib=np)
        small += across @ reduced
    return small


def _enlarged(maps, places, side, *, axis):
    """Maps at the pixels `places` of a side that is theirs enlarged to `side`: bilinear, and beyond the edge its pixel."""
    size = maps.shape[axis]
    centres = np.clip((places + np.float32(0.5)) * np.float32(size / side) - np.float32(0.5), 0, size - 1)
    low = centres.astype(np.int32)
    share = (centres - low).astype(np.float32).reshape([-1, 1, 1] if axis == 0 else [-1, 1])
    first = maps.take(low, axis=axis)
    return first + share * (maps.take(np.minimum(low + 1, size - 1), axis=axis) - first)


def _normalised(values, white):
    return values.astype(np.float32) / np.float32(white / 2) - 1


def _cuts(side, step):
    return [slice(start, min(start + step, side)) for start in range(0, side, step)]
