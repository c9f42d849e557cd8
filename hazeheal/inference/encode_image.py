"""Encodes a restored image with the metadata of the hazy one (`image_metadata`)."""

import io
from typing import Any

import numpy as np
import tensorflow as tf
import tifffile
from PIL import Image

from hazeheal.data.images import jpeg_2000
from hazeheal.data.images.wide import luma
from hazeheal.inference import png_chunks, text_metadata, tiff_file
from hazeheal.inference.image_metadata import ImageFile

_WITH_ALPHA = ("PNG", "TIFF", "WEBP", "AVIF", "JPEG2000")
_WITH_16_BITS = ("PNG", "TIFF", "JPEG2000")
# Options of Pillow's `save`.
_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"quality": 95, "exact": True},
    "AVIF": {"quality": 95},
}
_PHOTOSHOP = 34377


def encode(restored: np.ndarray, original: ImageFile, *, format: str, quality: int | None = None) -> bytes:
    """Encodes a restored image with the metadata of the hazy one.

    Args:
        restored: `[H, W, 3]`, of the type of `original.rgb`.
        original: The hazy image as `image_metadata.read` returned it. Its alpha must have the size of the restored image.
        format: Pillow's name of the format: PNG, JPEG, TIFF, WEBP, ...
        quality: Of JPEG, WEBP and AVIF, from 1 to 100; None: 95.

    Raises:
        OSError, ValueError: The format cannot store the image. A JPEG, for example, has at most 65500 pixels per side.
    """
    if original.tiff is not None and format == "TIFF":
        return tiff_file.encode(original.wide.from_network(restored), original.tiff)
    pixels = _samples(restored, original, format)
    if original.gray and pixels.shape[2] == 3:
        pixels = _gray(pixels)
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if original.alpha is not None and format in _WITH_ALPHA:
        pixels = np.dstack([pixels, _of_type(original.alpha, pixels.dtype)])
    if pixels.dtype == np.uint16:
        return _ENCODERS_OF_16_BITS[format](pixels, original)
    return _encode_by_pillow(pixels, original, format, quality)


def _samples(restored, original, format):
    """The restored image in samples that the format can hold: those of the file, or of 8 or 16 bits with full white."""
    wide = original.wide
    if wide is not None and (
        restored.dtype == np.uint8 or (format == original.format and wide.samples.dtype == np.uint16)
    ):
        return wide.from_network(restored)
    if wide is not None and wide.valid is not None:
        restored = np.where(wide.valid[..., np.newaxis], restored, original.rgb)
    can_hold = format in _WITH_16_BITS and (format != "JPEG2000" or jpeg_2000.is_installed())
    return restored if can_hold else _of_type(restored, np.uint8)


def _gray(pixels):
    gray = np.empty((*pixels.shape[:2], 1), pixels.dtype)
    for row, colors in zip(gray, pixels, strict=True):  # as float64 needs eight times the memory
        row[:] = np.rint(luma(colors))
    return gray


def _of_type(pixels, dtype):
    if pixels.dtype == dtype:
        return pixels
    if dtype == np.uint16:
        return pixels.astype(np.uint16) * 257
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _encode_png(pixels, original):
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    return _with_png_metadata(tf.io.encode_png(pixels).numpy(), original)  # Pillow has no 16-bit colors


def _with_png_metadata(data, original):
    icc = b"" if b"iCCP" in original.chunks else original.icc
    return png_chunks.with_chunks(data, original.chunks, exif=original.exif, xmp=original.xmp, icc=icc)


def _encode_jpeg_2000(pixels, original):
    bits = original.bits if original.format == "JPEG2000" else 16
    if pixels.ndim == 3 and bits < 16 and pixels.shape[2] in (2, 4):
        pixels = np.dstack([pixels[..., :-1], pixels[..., -1] >> (16 - bits)])
    return jpeg_2000.encode(pixels, bits=bits)


def _encode_tiff(pixels, original):
    """A TIFF of 16 bits of an image in another format."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    options: dict[str, Any] = {"photometric": "rgb" if channels >= 3 else "minisblack", "compression": "adobe_deflate"}
    if channels in (2, 4):
        options["extrasamples"] = ["unassalpha"]
    tags = [(700, 1, len(original.xmp), original.xmp, True)] if original.xmp else []
    tags += [(_PHOTOSHOP, 1, len(original.photoshop), original.photoshop, True)] if original.photoshop else []
    if original.dpi:
        options |= {"resolution": tuple(map(float, original.dpi)), "resolutionunit": "inch"}
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, pixels, iccprofile=original.icc or None, extratags=tags, metadata=None, software=False, **options
    )
    return buffer.getvalue()


_ENCODERS_OF_16_BITS = {"PNG": _encode_png, "JPEG2000": _encode_jpeg_2000, "TIFF": _encode_tiff}


def _encode_by_pillow(pixels, original, format, quality):
    buffer = io.BytesIO()
    if format == "PNG":
        Image.fromarray(pixels).save(buffer, "PNG", **({"dpi": original.dpi} if original.dpi else {}))
        return _with_png_metadata(buffer.getvalue(), original)
    options = _OPTIONS.get(format, {}) | (original.options if format == original.format else {})
    if quality is not None and "quality" in options:
        options |= {"quality": quality}
    metadata = {"exif": original.exif, "icc_profile": original.icc, "dpi": original.dpi}
    if format == "TIFF":
        metadata["exif"] = original.tags or _with_tags(original)
    if format in ("WEBP", "AVIF"):
        metadata["xmp"] = original.xmp
    if format == "JPEG":
        metadata["comment"] = original.comment
    Image.fromarray(pixels).save(
        buffer, format, **options, **{name: value for name, value in metadata.items() if value}
    )
    data = buffer.getvalue()
    if format == "JPEG":
        return text_metadata.add_to_jpeg(data, xmp=original.xmp, photoshop=original.photoshop)
    return data


def _with_tags(original):
    """The tags of a TIFF that was an image of another format."""
    tags = Image.Exif()
    if original.exif:
        tags.load(original.exif)
    if original.xmp:
        tags[700] = original.xmp
    if original.photoshop:
        tags[_PHOTOSHOP] = original.photoshop
    return tags
