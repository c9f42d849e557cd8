"""Writes a restored TIFF with the layout and the tags of the hazy one, through tifffile.

For the kinds that Pillow cannot write: more than 8 bits, separate planes, further bands. `geotiff` restores large scenes.
"""

import dataclasses
import io
import os

import numpy as np
import tifffile

from hazeheal.data.images import tiff, tiff_bands, to_rgb
from hazeheal.data.images.pixel_options import PixelOptions

# Tags that describe how the pixels are stored, point to other directories, or are written as arguments.
_STRUCTURE = {
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 292, 293, 296, 317),
    *(320, 322, 323, 324, 325, 330, 332, 338, 339, 347, 400, 529, 530, 531, 532, 34665, 34675, 34853, 40965),
    700,  # XMP, which may contain an orientation that has been applied
}
_LOSSLESS = {"LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA", "ZSTD"}


@dataclasses.dataclass(frozen=True)
class TiffSource:
    """The TIFF that an image was read from.

    Attributes:
        path: Its path.
        layout: What its header says.
        bands: Numbers, from 0, of the bands that were restored.
    """

    path: str | os.PathLike
    layout: tiff.Layout
    bands: tuple[int, ...]

    @classmethod
    def of(cls, path: str | os.PathLike, layout: tiff.Layout, options: PixelOptions) -> "TiffSource":
        """Describes a file and the bands that `options` choose."""
        return cls(path, layout, layout.choose_bands(options.bands))


def encode(restored: np.ndarray, source: TiffSource) -> bytes:
    """Encodes restored bands with all other bands of the source.

    Args:
        restored: `[H, W, C]`, upright, with the type and the white of the source.
        source: The hazy TIFF.
    """
    layout = source.layout
    samples = restored
    if source.bands != tuple(range(layout.bands)):
        samples = tiff_bands.read_bands(source.path, layout, tuple(range(layout.bands)))
        samples = to_rgb.transpose_array(samples, to_rgb.transpose_of(layout.orientation)).copy()
        samples[..., list(source.bands)] = restored
    samples = _in_full_bits(samples, layout.bits)
    if layout.planar == tiff.PLANAR and layout.bands > 1:
        samples, planes = np.moveaxis(samples, 2, 0), {"planarconfig": "separate"}
    elif layout.bands > 1:
        planes = {"planarconfig": "contig"}
    else:
        samples, planes = samples[..., 0], {}
    buffer = io.BytesIO()
    with tifffile.TiffFile(source.path) as original:
        page, order = original.pages[0], original.byteorder
        tifffile.imwrite(
            buffer,
            np.ascontiguousarray(samples),
            byteorder=order,
            bigtiff=original.is_bigtiff,
            photometric=layout.photometric,
            extrasamples=layout.extra or None,
            iccprofile=layout.icc or None,
            extratags=list(_other_tags(original, page)),
            metadata=None,
            software=False,
            **planes,
            **_segments(page),
            **_compression(page),
            **_resolution(page),
        )
    return buffer.getvalue()


def _in_full_bits(samples, bits):
    """Scales packed samples of 9 to 15 bits, or of fewer than 8, to all bits of their type."""
    full = 8 * samples.dtype.itemsize
    if bits in (full, 24):
        return samples
    values = samples.astype(np.float64) * ((2**full - 1) / (2**bits - 1))
    return np.rint(values).astype(samples.dtype)


def _segments(page):
    """The arguments of tiles or strips as in the source."""
    if page.is_tiled and page.tilelength % 16 == 0 and page.tilewidth % 16 == 0:
        return {"tile": (page.tilelength, page.tilewidth)}
    return {"rowsperstrip": page.rowsperstrip} if page.rowsperstrip else {}


def _compression(page):
    """The arguments of a lossless compression: that of the source if it can be written, and else Deflate."""
    codecs = tifffile.TIFF
    if page.compression == 1:
        return {}
    name = getattr(page.compression, "name", "")
    name = name if name in _LOSSLESS and page.compression in codecs.COMPRESSORS else "ADOBE_DEFLATE"
    predictor = page.predictor if page.predictor in codecs.PREDICTORS and name != "PACKBITS" else 1
    return {"compression": name, **({"predictor": predictor} if predictor != 1 else {})}


def _resolution(page):
    x, y = (page.tags.valueof(tag) for tag in (282, 283))
    if not all(isinstance(value, tuple) and len(value) == 2 and min(value) > 0 for value in (x, y)):
        return {}
    return {"resolution": (x, y), "resolutionunit": page.tags.valueof(296, 2)}


def _other_tags(original, page):
    """Yields the tags that say something of the image, byte for byte."""
    handle = original.filehandle
    for tag in page.tags:
        is_directory = tag.dtype in (13, 18)
        if tag.code in _STRUCTURE or is_directory:
            continue
        handle.seek(tag.valueoffset)
        content = handle.read(tag.valuebytecount)
        yield tag.code, tag.dtype, tag.count, content, True
