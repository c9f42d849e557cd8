"""Reads an image file with its metadata, which `encode_image` writes with the restored image.

    original = read("scan.png")
    data = encode(restored, original, format="PNG")

What is kept:

    16 bits         of a PNG, TIFF or JPEG 2000; of a TIFF the type of samples too. All other formats get 8 bits per channel
    gray            stays gray: the luma of the restored image
    alpha           unchanged, in formats that have it (JPEG does not). The network does not see transparent pixels,
                    and they stay as they are
    EXIF            byte for byte, except for the orientation and the thumbnail. The orientation is applied to the
                    pixels and set to 1. The thumbnail, which shows the haze, is removed
    XMP, IPTC       as EXIF (`text_metadata`)
    ICC profile     unchanged; left out if it is for another color space than the result's (CMYK)
    TIFF            resolution, texts, dates, camera and place, GeoTIFF tags, and lossless compression; bands
                    that are not restored, and pixels without data (`tiff_file`)
"""

import dataclasses
import numbers
import os
import struct
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from hazeheal.data.images import image_io, jpeg_2000, tiff, to_rgb
from hazeheal.data.images.passthrough import PNG_SIGNATURE
from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions
from hazeheal.data.images.wide import WideImage
from hazeheal.data.images.wide_pillow import visible
from hazeheal.errors import DataError
from hazeheal.inference import png_chunks, text_metadata, tiff_file
from hazeheal.inference.invalid_pixels import fill_invalid

_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_ORIENTATION, _EXIF_PREFIX = 0x0112, b"Exif\0\0"
# Description, make, model, resolution, software, date, artist, computer, copyright; EXIF, GPS; IPTC, Photoshop and XMP;
# GeoTIFF and GDAL.
_TIFF_TAGS = {
    *(269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 33432, 34665, 34853),
    *(700, 33723, 34377),
    *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113),
}
_XMP, _PHOTOSHOP, _RESOLUTION = 700, 34377, (282, 283)
_TIFF_LOSSLESS = {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"}


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
        format: Pillow's name of the file's format.
        bits: Bits per sample of a JPEG 2000.
        exif, icc: EXIF data with an orientation of 1, and the ICC profile; b"" if the file has none.
        xmp, photoshop: XMP and Photoshop's image resources, with those of IPTC, upright and without previews; or b"".
        comment: That of a JPEG.
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
    format: str = ""
    bits: int = 16
    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    photoshop: bytes = b""
    comment: bytes = b""
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
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
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
        return {"format": "TIFF", "icc": b"", "options": {"compression": "tiff_adobe_deflate"}}
    icc = opened.layout.icc if opened.layout.icc[16:20] in (b"RGB ", b"GRAY") else b""
    source = tiff_file.TiffSource.of(path, opened.layout, options)
    fields = {"format": "TIFF", "wide": opened.wide, "tiff": source, "icc": icc, "gray": len(source.bands) == 1}
    alpha = opened.wide.alpha
    return fields | ({"alpha": alpha} if alpha is not None and alpha.dtype in (np.uint8, np.uint16) else {})


def _metadata(opened):
    """The fields of `ImageFile` of a file that Pillow has decoded. `wide` is included only for 16 bits."""
    image, data = opened.image, opened.data
    transpose = to_rgb.upright_transpose(image)
    fields = {"gray": image.mode in _GRAY_MODES, "format": image.format, "options": {}}
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
    if (bits := jpeg_2000.bits_per_sample(data)) > 8:
        fields["bits"] = bits
        if not jpeg_2000.is_installed():
            raise DataError(f"JPEG 2000 of {bits} bits would lose the lower ones; pip install 'hazeheal[tiff]'")
    xmp = image.info.get("xmp") or b""
    fields["xmp"] = text_metadata.upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp)
    if image.format in ("JPEG", "MPO"):
        fields["photoshop"] = text_metadata.read_photoshop(image.applist)
        fields["comment"] = image.info.get("comment") or b""
    if image.format == "TIFF":
        fields["tags"] = _tiff_tags(image)
        fields["photoshop"] = fields["tags"].get(_PHOTOSHOP, b"")
        if image.info.get("compression") in _TIFF_LOSSLESS:
            fields["options"]["compression"] = image.info["compression"]
    else:  # a TIFF has these among its tags; for one without a resolution, Pillow reports 1
        fields["exif"] = upright_exif(image.info.get("exif") or b"")
        fields["dpi"] = image.info.get("dpi")
    if image.format == "WEBP" and b"VP8L" in data[:64]:
        fields["options"]["lossless"] = True
    return fields


def _tiff_tags(image):
    """Returns the tags of a TIFF that are kept. Texts are bytes, as Pillow writes texts in ASCII only."""
    tags = image.getexif()
    for tag in set(tags) - _TIFF_TAGS:
        del tags[tag]
    is_sound = all(isinstance(tags.get(tag, 1), numbers.Real) and 0 < tags.get(tag, 1) < 1e9 for tag in _RESOLUTION)
    for tag in _RESOLUTION if not is_sound else ():
        tags.pop(tag, None)
    if _XMP in tags:
        tags[_XMP] = text_metadata.upright_xmp(bytes(tags[_XMP]))
    if _PHOTOSHOP in tags:
        tags[_PHOTOSHOP] = text_metadata.without_previews(bytes(tags[_PHOTOSHOP]))
    # Reads the directories while the file is open.
    for values in (tags, *(tags.get_ifd(directory) for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))):
        for tag, value in list(values.items()):
            if isinstance(value, str) and not value.isascii():
                values[tag] = value.encode("latin-1")  # as Pillow decoded it
    return tags


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
