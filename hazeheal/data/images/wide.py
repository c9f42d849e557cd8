"""Images with more than 8 bits per sample, or with bands to choose from, and their conversion to 8 bits.

wide.to_uint8()                # [H, W, 3] for a record
wide.for_network()             # [H, W, 3] uint8 or uint16 for `Restorer`
wide.from_network(restored)    # back to the samples of the file
"""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from hazeheal.data.images.to_rgb import transpose_array
from hazeheal.data.images.white_level import find_white, sampling_step

_ROWS = 1 << 20  # pixels that are converted at once
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True)
class WideImage:
    """The color samples of an image as they are stored, with what gives them a meaning.

    Attributes:
        samples: `[H, W, 1]` or `[H, W, 3]`, of any integer or float type.
        white: The value of white; 0 is black.
        inverted: Whether 0 is white and `white` is black (MINISWHITE).
        alpha: `[H, W]`, or None.
        valid: `[H, W]` bool: the pixels that are not transparent and have data; None if all do.
    """

    samples: np.ndarray
    white: float
    inverted: bool = False
    alpha: np.ndarray | None = None
    valid: np.ndarray | None = None

    def to_uint8(self) -> np.ndarray:
        """Returns the image as `[H, W, 3]` uint8, scaled so that white becomes 255, and rounded. No data becomes 0."""
        scaled = np.empty(self.samples.shape, np.uint8)
        table = self._table()
        for rows in _blocks(scaled.shape):
            part = self.samples[rows]
            scaled[rows] = table[part] if table is not None else self._scaled(part, 255)
        if self.valid is not None:
            scaled[~self.valid] = 0
        return np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled

    def for_network(self) -> np.ndarray:
        """Returns the image as `[H, W, 3]` uint8 if it has 8 bits, and else as uint16, where white is 65535."""
        kind, full = (np.uint8, 255) if self.samples.dtype == np.uint8 else (np.uint16, 65535)
        if self.samples.dtype == kind and self.white == full and not self.inverted:
            scaled = self.samples
        else:
            scaled = np.empty(self.samples.shape, kind)
            for rows in _blocks(self.samples.shape):
                scaled[rows] = self._scaled(self.samples[rows], full)
        return np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled

    def from_network(self, restored: np.ndarray) -> np.ndarray:
        """Returns a restored image of `for_network` in the samples of this one.

        Samples below 0 or above white keep their distance from it. Pixels that are not valid stay as they are.
        """
        full = np.iinfo(restored.dtype).max
        samples = np.empty_like(self.samples)
        for rows in _blocks(samples.shape):
            values, old = restored[rows].astype(np.float64), self.samples[rows]
            if samples.shape[2] == 1:
                values = luma(values)
            samples[rows] = store(values * (self.white / full), old, white=self.white, inverted=self.inverted)
            if self.valid is not None:
                samples[rows] = np.where(self.valid[rows, :, None], samples[rows], old)
        return samples

    def transposed(self, transpose: Image.Transpose | None) -> "WideImage":
        """Returns the image transposed as Pillow transposes one; None leaves it as it is."""
        arrays = {"samples": self.samples, "alpha": self.alpha, "valid": self.valid}
        changed = {k: transpose_array(array, transpose) for k, array in arrays.items() if array is not None}
        return dataclasses.replace(self, **changed)

    def _scaled(self, samples, full):
        """Scales samples so that white becomes `full`, as float64 that truncates to the nearest integer."""
        values = to_range(samples, white=self.white, inverted=self.inverted)
        return np.floor(np.nan_to_num(values) * (full / self.white) + 0.5)

    def _table(self):
        """The 8-bit value of each sample of an unsigned type, or None for other types."""
        if self.samples.dtype not in (np.uint8, np.uint16):
            return None
        every = np.arange(np.iinfo(self.samples.dtype).max + 1, dtype=self.samples.dtype)
        return self._scaled(every, 255).astype(np.uint8)


def to_range(samples: np.ndarray, *, white: float, inverted: bool) -> np.ndarray:
    """Returns samples as float64 in [0, white], where 0 is black."""
    values = np.clip(samples.astype(np.float64), 0, white)
    return white - values if inverted else values


def store(values: np.ndarray, old: np.ndarray, *, white: float, inverted: bool) -> np.ndarray:
    """Converts restored values in [0, white] to stored samples that replace `old`, the reverse of `to_range`.

    What was cut off from the old samples below 0 and above white is added again. Integers are rounded.
    """
    values = white - values if inverted else values
    values = values + (old - np.clip(old.astype(np.float64), 0, white))
    if old.dtype.kind != "f":
        limits = np.iinfo(old.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(old.dtype)


def luma(rgb: np.ndarray) -> np.ndarray:
    """Returns the luma of `[..., 3]` as `[..., 1]`."""
    return (rgb @ _LUMA)[..., None]


def _blocks(shape):
    """Yields slices of rows that hold about `_ROWS` pixels."""
    step = max(1, _ROWS // shape[1])
    return (slice(start, start + step) for start in range(0, shape[0], step))


def from_samples(samples: np.ndarray, *, full: int | None, white: float | str | None, **others: Any) -> WideImage:
    """Makes a `WideImage` and finds its white (`white_level.find_white`); `others` are its further attributes."""
    step = sampling_step(*samples.shape[:2])
    values, valid = samples[::step, ::step], others.get("valid")
    values = values if valid is None else values[valid[::step, ::step]]
    return WideImage(samples, find_white(values, full=full, white=white), **others)
