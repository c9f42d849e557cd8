"""The chosen bands of a large TIFF, read window by window through rasterio (`geotiff`)."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hazeheal.data.images import tiff
from hazeheal.data.images.decoder import find_valid
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.data.images.white_level import find_white, sampling_step
from hazeheal.data.images.wide import luma, store, to_range
from hazeheal.errors import DataError
from hazeheal.inference.borders import find_border
from hazeheal.utils.console import error_text

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

WINDOW = 1024  # about the sides of a window, in pixels
_REDUCED = 1024  # the longest side of the scene in which a border is searched


class Window(NamedTuple):
    """A part of a scene.

    Attributes:
        rows, columns: Its position.
        samples: The chosen bands `[h, w, 1 or 3]`, of the type of the file.
        valid: `[h, w]` bool: the pixels with data; None if all have.
    """

    rows: slice
    columns: slice
    samples: np.ndarray
    valid: np.ndarray | None


class Scene:
    """The chosen bands of an opened scene.

    Attributes:
        height, width: Its size.
        bands: Their numbers, from 0.
        white: The value of white.
        inverted: Whether 0 is white.
    """

    def __init__(self, dataset: "DatasetReader", layout: tiff.Layout, options: PixelOptions) -> None:
        """Finds the bands, white and a border of one value, for which it may read the scene twice."""
        self._dataset, self._layout = dataset, layout
        self.height, self.width = dataset.height, dataset.width
        self.bands = layout.choose_bands(options.bands)
        self.inverted = layout.photometric == tiff.MINISWHITE
        self._alpha = None if layout.alpha in self.bands else layout.alpha
        from rasterio.enums import MaskFlags

        flags = dataset.mask_flag_enums[self.bands[0]]
        self._has_mask = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        self._no_data = layout.no_data
        self.white = find_white(self._sample(), full=layout.full, white=options.white)
        if self._no_data is None and self._alpha is None and not self._has_mask:
            self._no_data = self._value_of_border()

    def positions(self) -> list[tuple[slice, slice]]:
        """Returns the rows and columns of the windows, each of whole blocks of the file."""
        height, width = self._dataset.block_shapes[0]
        if width >= self.width:  # strips
            rows, columns = max(1, WINDOW * WINDOW // self.width // height) * height, self.width
        else:
            rows, columns = (max(1, WINDOW // side) * side for side in (height, width))
        return [
            (slice(top, min(top + rows, self.height)), slice(left, min(left + columns, self.width)))
            for top in range(0, self.height, rows)
            for left in range(0, self.width, columns)
        ]

    def read(self, rows: slice, columns: slice) -> Window:
        """Reads one window; raises DataError if the file is damaged."""
        from rasterio.windows import Window as Part

        part, mask = Part.from_slices(rows, columns), None
        bands = self.bands if self._alpha is None else (*self.bands, self._alpha)
        samples = self._decoded(bands, window=part)
        if self._has_mask:
            with self._reading():
                mask = self._dataset.read_masks(self.bands[0] + 1, window=part) > 0
        alpha = None if self._alpha is None else samples[..., -1]
        samples = samples[..., : len(self.bands)]
        valid = find_valid(samples, alpha, self._no_data)
        if mask is not None:
            valid = mask if valid is None else valid & mask
        return Window(rows, columns, samples, None if valid is None or valid.all() else valid)

    def windows(self) -> Iterator[Window]:
        """Reads one window after another."""
        for rows, columns in self.positions():
            yield self.read(rows, columns)

    def in_unit_range(self, window: Window) -> np.ndarray:
        """Returns a window as `[h, w, 3]` float32 in [0, 1], where 0 is black."""
        values = np.nan_to_num(to_range(window.samples, white=self.white, inverted=self.inverted) / self.white)
        return np.broadcast_to(values, (*values.shape[:2], 3)).astype(np.float32)

    def stored(self, restored: np.ndarray, window: Window) -> np.ndarray:
        """Returns restored pixels in [0, 1] as samples of the file. Pixels without data stay as they are."""
        values = restored.astype(np.float64)
        values = luma(values) if len(self.bands) == 1 else values
        samples = store(values * self.white, window.samples, white=self.white, inverted=self.inverted)
        return samples if window.valid is None else np.where(window.valid[..., None], samples, window.samples)

    def _value_of_border(self):
        """Returns the value that all bands have on a uniform border; None without one, or if it has several values."""
        from rasterio.windows import Window as Part

        ends = [(slice(0, min(4, side)), slice(max(0, side - 4), side)) for side in (self.height, self.width)]
        corners = (self._decoded(self.bands, window=Part.from_slices(*place)) for place in itertools.product(*ends))
        if all(np.ptp(corner) > 0 for corner in corners):
            return None
        scale = min(1, _REDUCED / max(self.height, self.width))
        size = [max(1, round(side * scale)) for side in (self.height, self.width)]
        samples = self._decoded(self.bands, out_shape=(len(self.bands), *size))
        everything = Window(slice(0, size[0]), slice(0, size[1]), samples, None)
        image = np.rint(65535 * self.in_unit_range(everything)).astype(np.uint16)
        border = find_border(image)
        values = () if border is None else np.unique(samples[border.outside(image.shape)])
        return values[0] if len(values) == 1 else None

    def _decoded(self, bands, **part):
        """The samples of a part of bands, `[h, w, C]`."""
        with self._reading():
            return np.moveaxis(self._dataset.read([band + 1 for band in bands], **part), 0, 2)

    @contextlib.contextmanager
    def _reading(self):
        from rasterio.errors import RasterioError

        try:
            yield
        except RasterioError as error:
            raise DataError(
                f"{self._dataset.name}: truncated or damaged ({root_message(error)}); replace it"
            ) from error

    def _sample(self):
        """Valid samples from which white is found: every k-th pixel of every k-th row."""
        if self._layout.full is not None and self._layout.full <= 255:
            return np.zeros(0, self._layout.dtype)
        step, found = sampling_step(self.height, self.width), []
        for window in self.windows():
            top, left = -window.rows.start % step, -window.columns.start % step
            samples = window.samples[top::step, left::step]
            found.append(samples if window.valid is None else samples[window.valid[top::step, left::step]])
        return np.concatenate([part.reshape(-1) for part in found])


def root_message(error: BaseException) -> str:
    """Returns the message of GDAL, to which that of rasterio refers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error_text(error)
