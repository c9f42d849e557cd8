"""A large image restored by a network that looks at a view of it: strip by strip, on the host.

The network sees the view alone (`models.view`), so that it needs no tiles; what is as large as the image is its
reduction to the view and the laying of the enlarged maps on its pixels. Both go by strips of rows here, in NumPy, and
give what the generator itself gives of the whole image, to the rounding of float32.
"""

import numpy as np

from hazeheal.models.view import resampling

STRIP = 1 << 20  # pixels at a time
BLOCK = 1 << 13  # columns at a time


def restore(network, image, *, view_size) -> np.ndarray:
    """Restores one image.

    Args:
        network: A `Network` of a generator with a view.
        image: uint8 or uint16 [H, W, 3].
        view_size: Of the generator.

    Returns:
        The restored one, of the same shape and type.
    """
    white, (height, width) = np.iinfo(image.dtype).max, image.shape[:2]
    maps = network.maps(_normalized(_reduced(image, view_size), white)[None])
    restored = np.empty_like(image)
    for rows in _cuts(height, max(1, STRIP // width)):
        places = np.arange(height, dtype=np.float32)[rows]
        laid = _enlarged(_enlarged(maps, places, height, axis=0), np.arange(width), width, axis=1)
        hazy = _normalized(image[rows], white)
        # As `models.view.Laid`.
        value = hazy + (laid if laid.shape[2] == 3 else laid[..., :3] * hazy - laid[..., 3:])
        restored[rows] = np.rint(np.clip((value + 1) * np.float32(white / 2), 0, white))
    return restored


def _reduced(image, view_size):
    """float32 [view_size, view_size, 3], of the values of the image: as `models.view.View`, block by block."""
    height, width = image.shape[:2]
    small = np.zeros((view_size, view_size, 3), np.float32)
    for columns in _cuts(width, BLOCK):
        reduced = np.zeros((view_size, columns.stop - columns.start, 3), np.float32)
        for rows in _cuts(height, max(1, STRIP // reduced.shape[1])):
            down = resampling(view_size, height, part=rows, lib=np)
            reduced += np.tensordot(down, image[rows, columns].astype(np.float32), axes=1)
        across = resampling(view_size, width, part=columns, lib=np)
        small += across @ reduced
    return small


def _enlarged(maps, places, side, *, axis):
    """Maps at the pixels `places` of a side that is theirs enlarged to `side`: bilinear, and beyond the edge its pixel."""
    size = maps.shape[axis]
    centers = np.clip((places + np.float32(0.5)) * np.float32(size / side) - np.float32(0.5), 0, size - 1)
    low = centers.astype(np.int32)
    share = (centers - low).astype(np.float32).reshape([-1, 1, 1] if axis == 0 else [-1, 1])
    first = maps.take(low, axis=axis)
    return first + share * (maps.take(np.minimum(low + 1, size - 1), axis=axis) - first)


def _normalized(values, white):
    return values.astype(np.float32) / np.float32(white / 2) - 1


def _cuts(side, step):
    return [slice(start, min(start + step, side)) for start in range(0, side, step)]
