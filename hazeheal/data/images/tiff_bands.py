"""Reads bands of a TIFF, through tifffile.

Pillow misreads or refuses 16 bits with separate planes, inverted gray, more than four bands, signed and float samples. Here
they are decoded segment by segment (strip or tile), so that only the chosen bands are in memory.
"""

import functools
import importlib.util
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from hazeheal.data.images.tiff import MINISBLACK, PHOTOMETRICS, PLANAR, RGB, SEPARATED, Layout, Source, opened
from hazeheal.data.images.to_rgb import UnsupportedImageError


def check_readable(layout: Layout, bands: tuple[int, ...]) -> None:
    """Raises UnsupportedImageError if bands of a TIFF that is not plain cannot be decoded; reads no pixels."""
    known = layout.photometric in PHOTOMETRICS
    if layout.dtype is None or not known or (layout.photometric == SEPARATED and layout.dtype.kind != "u"):
        raise UnsupportedImageError(f"{layout}: not supported; save it as RGB with 8 or 16 bits")
    if not (layout.can_decode or _has_rasterio() or _pillow_decodes(layout, bands)):
        raise UnsupportedImageError(
            f"{layout} in {layout.bits} bits: its compression {layout.compression} needs the package imagecodecs; "
            "pip install 'hazeheal[tiff]'"
        )


@functools.cache
def _has_rasterio() -> bool:
    return importlib.util.find_spec("rasterio") is not None


def _pillow_decodes(layout, bands):
    """Whether Pillow, with libtiff, returns exactly the samples of these bands."""
    if layout.dtype.kind != "u" or layout.planar == PLANAR:
        return False
    is_gray = layout.bands == 1 and layout.photometric == MINISBLACK and layout.bits in (8, 12, 16)
    colors = (0, 1, 2, 3) if layout.alpha == 3 and not layout.premultiplied else (0, 1, 2)
    return is_gray or (layout.photometric == RGB and layout.bits == 8 and bands in (colors, (0, 1, 2)))


def read_bands(source: Source, layout: Layout, bands: tuple[int, ...]) -> np.ndarray:
    """Reads bands of a TIFF as `[H, W, len(bands)]`, not upright, of the type of the file.

    Raises:
        UnsupportedImageError: The compression cannot be decoded.
        Exception: The file is damaged.
    """
    check_readable(layout, bands)
    if layout.can_decode:
        return _read_by_tifffile(source, layout, bands)
    if _has_rasterio():
        return _read_by_rasterio(source, bands)
    with Image.open(opened(source)) as image:
        samples = np.asarray(image)
        return samples[..., None] if samples.ndim == 2 else samples[..., : len(bands)]


def _read_by_tifffile(source, layout, bands):
    shape = layout.height, layout.width, len(bands)
    samples = np.zeros(shape, layout.dtype)
    with tifffile.TiffFile(opened(source)) as tiff:
        page = tiff.pages[0]
        per_plane = max(1, len(page.dataoffsets) // (layout.bands if layout.planar == PLANAR else 1))
        options: dict[str, Any] = {"_fullsize": page.is_tiled}
        if page.compression in (6, 7, 34892, 33007):
            options |= {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        for number, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
            plane = number // per_plane
            if layout.planar == PLANAR and plane not in bands:
                continue
            data = None
            if count:  # a sparse file leaves out empty segments
                tiff.filehandle.seek(offset)
                data = tiff.filehandle.read(count)
                if len(data) < count:
                    raise ValueError(f"the file ends {count - len(data):,} bytes before the end of segment {number}")
            segment, (_, _, top, left, _), part = page.decode(data, number, **options)
            height, width = min(part[1], layout.height - top), min(part[2], layout.width - left)
            target = samples[top : top + height, left : left + width]
            if segment is None:
                target[:] = layout.no_data or 0
            elif layout.planar == PLANAR:
                for channel in (i for i, band in enumerate(bands) if band == plane):
                    target[..., channel] = segment[0, :height, :width, 0]
            else:
                target[:] = segment[0, :height, :width, list(bands)].transpose(1, 2, 0)
    return samples


def _read_by_rasterio(source, bands):
    import rasterio
    from rasterio.io import MemoryFile

    indexes = [band + 1 for band in bands]
    if not isinstance(source, bytes):
        with rasterio.open(source) as dataset:
            return np.moveaxis(dataset.read(indexes), 0, 2)
    with MemoryFile(source) as file, file.open() as dataset:
        return np.moveaxis(dataset.read(indexes), 0, 2)
