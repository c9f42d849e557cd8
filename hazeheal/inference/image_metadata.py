"""Reads an image file with its metadata, and writes a restored image with the same metadata.

    original = read("scan.png")
    data = encode(restored, original, format="PNG")

What is kept:

    16 bits         of a PNG (by tf.io, as Pillow has no 16-bit color) and of a TIFF, whose type of samples is kept too.
                    All other formats get 8 bits per channel
    gray            stays gray: the luma of the restored image
    alpha           unchanged, in formats that have it (JPEG does not). The network does not see transparent pixels,
                    and they stay as they are
    EXIF            byte for byte, except for the orientation and the thumbnail. The orientation is applied to the
                    pixels and set to 1. The thumbnail, which shows the haze, is removed. XMP is left out, as it may
                    contain an orientation too
    ICC profile     unchanged; left out if it is for another color space than the result's (CMYK)
    TIFF            resolution, description, dates, camera and place, GeoTIFF tags, and lossless compression; bands
                    that are not restored, and pixels without data (`tiff_file`)
"""

import dataclasses
import io
import os
import struct
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image

from hazeheal.data.images import image_io, tiff, to_rgb
from hazeheal.data.images.passthrough import PNG_SIGNATURE
from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions
from hazeheal.data.images.wide import WideImage, luma
from hazeheal.data.images.wide_pillow import visible
from hazeheal.errors import DataError
from hazeheal.inference import png_chunks, tiff_file
from hazeheal.inference.invalid_pixels import fill_invalid

_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_ORIENTATION, _EXIF_PREFIX = 0x0112, b"Exif\0\0"
# Description, make, model, resolution, software, date, artist, copyright; EXIF, GPS; GeoTIFF and GDAL.
_TIFF_TAGS = {
    *(270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 34665, 34853),
    *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113),
}
_TIFF_LOSSLESS = {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"}
# Options of Pillow's `save`.
_QUALITY = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"quality": 95, "exact": True},
    "AVIF": {"quality": 95},
}


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An upright image and the metadata of its file.

    Attributes:
        rgb: `[H, W, 3]`, uint8 or uint16, scaled so that white is the largest value of the type.
        wide: The stored samples, if they are not those of `rgb`: of other types or white levels, or with pixels that the
            network must not see; else None.
        tiff: The TIFF that `tiff_file` writes again, or None.
        alpha: `[H, W]` of the same type, or None.
        gray: Whether the file has one gray channel.
        exif, icc: EXIF data with an orientation of 1, and the ICC profile; b"" if the file has none.
        dpi: Resolution, or None.
        chunks: The metadata chunks of a PNG (`png_chunks`).
        tags: The tags of a TIFF that are kept, or None.
        options: Options of Pillow's `save` for the format of the file, which the result has too.
    """

    rgb: np.ndarray
    wide: WideImage | None = None
    tiff: tiff_file.TiffSource | None = None
    alpha: np.ndarray | None = None
    gray: bool = False
    exif: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    chunks: bytes = b""
    tags: Image.Exif | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def for_network(self) -> np.ndarray:
        """Returns `rgb` with the colors around them in place of transparent pixels and those without data."""
        return self.rgb if self.wide is None else fill_invalid(self.rgb, self.wide.valid)


def read(path: str | os.PathLike, options: PixelOptions = AS_STORED) -> ImageFile:
    """Reads one file. The color profile is not applied, whatever `options` say.

    Raises:
        DataError: The image or its metadata cannot be read (`data.images.image_io.load_rgb`).
    """

    def extract(opened):
        if opened.image is None:
            return _of_tiff(path, opened, options)
        try:
            return _metadata(opened)
        except Exception as error:  # Pillow has decoded the image, so only the metadata can be damaged
            raise DataError(
                f"{path}: damaged metadata ({type(error).__name__}: {error}); save the image again"
            ) from error

    _refuse_mask(path)
    decoded = image_io.decode(path, extract, options=dataclasses.replace(options, color="keep"))
    fields = {"rgb": np.array(decoded.image)} | decoded.extracted
    valid = visible(fields.get("alpha"))
    if fields.get("wide") is None and valid is not None:
        fields["wide"] = WideImage(fields["rgb"], 255, alpha=fields["alpha"], valid=valid)
    if fields.get("wide") is not None:
        fields["rgb"] = fields["wide"].for_network()
    return ImageFile(**fields)


def _refuse_mask(path):
    """Raises DataError for a TIFF with a mask, which only `geotiff` keeps."""
    try:
        has_mask = image_io.is_tiff_file(path) and tiff.read_layout(path).has_mask
    except Exception:  # `image_io.decode` reports it
        return
    if has_mask:
        raise DataError(f"{path}: a TIFF with a mask, which would be lost; pip install 'hazeheal[geo]' to restore it")


def _of_tiff(path, opened, options):
    """The fields of `ImageFile` of a TIFF that tifffile has decoded."""
    if opened.wide is None:  # CMYK
        return {"icc": b"", "options": {"compression": "tiff_adobe_deflate"}}
    return {"wide": opened.wide, "tiff": tiff_file.TiffSource.of(path, opened.layout, options)}


def _metadata(opened):
    """The fields of `ImageFile` of a file that Pillow has decoded. `wide` is included only for 16 bits."""
    image, data = opened.image, opened.data
    transpose = to_rgb.upright_transpose(image)
    fields = {"gray": image.mode in _GRAY_MODES, "options": {}}
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        fields["alpha"] = to_rgb.transpose_array(alpha, transpose)
    if opened.wide is not None:
        fields["wide"] = opened.wide
        fields |= {"alpha": opened.wide.alpha} if opened.wide.alpha is not None else {}
    if data.startswith(PNG_SIGNATURE):
        fields |= {"gray": png_chunks.is_gray(data), "chunks": png_chunks.metadata_chunks(data)}
    icc = image.info.get("icc_profile") or b""
    if icc[16:20] == (b"GRAY" if fields["gray"] else b"RGB "):
        fields["icc"] = icc
    if image.format == "TIFF":
        tags = fields["tags"] = image.getexif()
        for tag in set(tags) - _TIFF_TAGS:
            del tags[tag]
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags.get_ifd(directory)  # reads it while the file is open
        if image.info.get("compression") in _TIFF_LOSSLESS:
            fields["options"]["compression"] = image.info["compression"]
    else:  # a TIFF has these among its tags; for one without a resolution, Pillow reports 1
        fields["exif"] = upright_exif(image.info.get("exif") or b"")
        fields["dpi"] = image.info.get("dpi")
    if image.format == "WEBP" and b"VP8L" in data[:64]:
        fields["options"]["lossless"] = True
    return fields


def upright_exif(exif: bytes) -> bytes:
    """Sets the orientation of EXIF data to 1 and removes the thumbnail.

    Takes EXIF data with or without the prefix `Exif`. Returns them with the prefix, or b"" if they are damaged.
    """
    body = bytearray(exif.removeprefix(_EXIF_PREFIX))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(body[:4]))
    if order is None:
        return b""
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, start)
        end = start + 2 + 12 * count
        for entry in range(start + 2, end, 12):
            if struct.unpack_from(order + "H", body, entry) == (_ORIENTATION,):
                struct.pack_into(order + "HIHH", body, entry + 2, 3, 1, 1, 0)  # one SHORT: 1
        if end + 4 <= len(body):
            struct.pack_into(order + "I", body, end, 0)  # no second directory, the thumbnail
    except struct.error:
        return b""
    return _EXIF_PREFIX + bytes(body)


def encode(restored: np.ndarray, original: ImageFile, *, format: str) -> bytes:
    """Encodes a restored image with the metadata of the hazy one.

    Args:
        restored: `[H, W, 3]`, of the type of `original.rgb`.
        original: The hazy image as `read` returned it. Its alpha must have the size of the restored image.
        format: Pillow's name of the format: PNG, JPEG, TIFF, WEBP, ...

    Raises:
        OSError, ValueError: The format cannot store the image. A JPEG, for example, has at most 65500 pixels per side.
    """
    if original.tiff is not None and format == "TIFF":
        return tiff_file.encode(original.wide.from_network(restored), original.tiff)
    pixels, wide = restored, original.wide
    if wide is not None and (restored.dtype == np.uint8 or (format == "PNG" and wide.samples.dtype == np.uint16)):
        pixels = wide.from_network(restored)
    if original.gray and pixels.shape[2] == 3:
        pixels = np.rint(luma(pixels)).astype(restored.dtype)
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if original.alpha is not None and format in ("PNG", "TIFF", "WEBP", "AVIF", "JPEG2000"):
        pixels = np.dstack([pixels, original.alpha])
    if pixels.dtype == np.uint16 and format == "PNG":
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        return png_chunks.with_chunks(tf.io.encode_png(pixels).numpy(), original.chunks, exif=original.exif)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    buffer = io.BytesIO()
    if format == "PNG" and original.chunks:
        Image.fromarray(pixels).save(buffer, "PNG")
        return png_chunks.with_chunks(buffer.getvalue(), original.chunks, exif=original.exif)
    exif = original.tags if format == "TIFF" and original.tags else original.exif
    metadata = {"exif": exif, "icc_profile": original.icc, "dpi": original.dpi}
    options = {key: value for key, value in metadata.items() if value} | _QUALITY.get(format, {})
    Image.fromarray(pixels).save(buffer, format, **options | original.options)
    return buffer.getvalue()
