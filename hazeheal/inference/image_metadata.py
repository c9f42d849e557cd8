"""One image file with what belongs to it: alpha, EXIF, color profile, resolution, 16 bits; read, and written back.

    photo = read("scan.png")
    data = encode(restored, photo, format="PNG")

What is kept, and what not:

    16-bit PNG      stays one; the pixels go through tf.io.decode_png and encode_png, as Pillow has no 16-bit color.
                    All other formats are written with 8 bits a channel
    gray            stays gray: the luma of what the network makes of it
    alpha           as it was, in formats that have it (JPEG has none)
    EXIF            byte for byte, but for the orientation, which is applied to the pixels and set to 1, and for the
                    thumbnail, which would still show the haze. XMP is left out: it may tell an orientation too
    ICC profile     as it was; one of another color space than the result's (CMYK) is left out
    of a TIFF       resolution, description, dates, camera and place, GeoTIFF tags, and its lossless compression
"""

import dataclasses
import io
import struct

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image

from hazeheal.data.images import image_io, to_rgb
from hazeheal.data.images.passthrough import PNG_SIGNATURE
from hazeheal.errors import DataError
from hazeheal.inference import png_chunks

_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda a: a[:, ::-1],
    Image.Transpose.ROTATE_180: lambda a: a[::-1, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda a: a[::-1],
    Image.Transpose.TRANSPOSE: lambda a: a.swapaxes(0, 1),
    Image.Transpose.ROTATE_270: lambda a: np.rot90(a, 3),
    Image.Transpose.TRANSVERSE: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    Image.Transpose.ROTATE_90: lambda a: np.rot90(a),
}
_ORIENTATION, _EXIF_PREFIX = 0x0112, b"Exif\0\0"
# Description, make, model, resolution, software, date, artist, copyright; EXIF, GPS; GeoTIFF and GDAL.
_TIFF_TAGS = {
    *(270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 34665, 34853),
    *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113),
}
_TIFF_LOSSLESS = {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"}


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image, upright.

    Attributes:
        rgb: uint8 or uint16 [H, W, 3].
        alpha: [H, W] of the same type, or None.
        gray: Whether the file holds one channel of light.
        exif: Its EXIF with an orientation of 1, or b"".
        icc: Its ICC profile, or b"".
        dpi: Its resolution, or None.
        chunks: Of a PNG: what else is kept of it, in its own bytes.
        tags: Of a TIFF: a `PIL.Image.Exif` of what is kept of it, or None.
        options: What Pillow's `save` is to be told for the file's own format.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    gray: bool = False
    exif: bytes = b""
    icc: bytes = b""
    dpi: tuple | None = None
    chunks: bytes = b""
    tags: Image.Exif | None = None
    options: dict = dataclasses.field(default_factory=dict)


def read(path) -> Photo:
    """Reads one file.

    Raises:
        DataError: As `images.load_rgb` says.
    """

    def look(image, data):
        try:
            return _belongings(image, data)
        except Exception as error:  # the image itself is whole: Pillow has just decoded it
            raise DataError(
                f"{path}: damaged metadata ({type(error).__name__}: {error}); save it anew"
            ) from error

    rgb, _, found = image_io.load(path, look)
    return Photo(**{"rgb": rgb} | found)


def _belongings(image, data):
    """The fields of `Photo` but for 8-bit pixels, of a decoded image and its file."""
    upright = _TURNS.get(to_rgb.upright_transpose(image), lambda a: a)
    sixteen, alpha, chunks, gray = {}, None, b"", image.mode in _GRAY_MODES
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        alpha = upright(np.asarray(image.convert("RGBA").getchannel("A")))
    if data.startswith(PNG_SIGNATURE):
        chunks = png_chunks.kept_chunks(data)
        if png_chunks.bit_depth(data) == 16:
            values = tf.io.decode_png(data, channels=3 if alpha is None else 4, dtype=tf.uint16).numpy()
            values = upright(values)
            alpha = None if alpha is None else values[..., 3]
            sixteen["rgb"] = np.ascontiguousarray(values[..., :3])
        gray = png_chunks.is_gray(data)
    icc = image.info.get("icc_profile") or b""
    tags, options = None, {}
    if image.format == "TIFF":
        tags = image.getexif()
        for tag in set(tags) - _TIFF_TAGS:
            del tags[tag]
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags.get_ifd(directory)  # read now, while the file is open
        compression = image.info.get("compression")
        options["compression"] = compression if compression in _TIFF_LOSSLESS else "tiff_adobe_deflate"
    if image.format == "WEBP" and b"VP8L" in data[:64]:
        options["lossless"] = True
    return sixteen | {
        "alpha": alpha,
        "gray": gray,
        "exif": b"" if image.format == "TIFF" else upright_exif(image.info.get("exif") or b""),
        "icc": icc if icc[16:20] == (b"GRAY" if gray else b"RGB ") else b"",
        # Of a TIFF it is among the tags; where they have none, Pillow tells one of 1.
        "dpi": None if image.format == "TIFF" else image.info.get("dpi"),
        "chunks": chunks,
        "tags": tags,
        "options": options,
    }


def upright_exif(exif: bytes) -> bytes:
    """EXIF, with or without its `Exif` in front, as one that says "upright" and has no thumbnail; b"" if damaged."""
    body = bytearray(exif.removeprefix(_EXIF_PREFIX))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(body[:4]))
    if order is None:
        return b""
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(order + "H", body, entry) == (_ORIENTATION,):
                struct.pack_into(order + "HIHH", body, entry + 2, 3, 1, 1, 0)  # one SHORT: 1
        if start + 2 + 12 * count + 4 <= len(body):
            struct.pack_into(order + "I", body, start + 2 + 12 * count, 0)  # no second directory
    except struct.error:
        return b""
    return _EXIF_PREFIX + bytes(body)


def encode(restored: np.ndarray, photo: Photo, *, format: str) -> bytes:
    """The bytes of a file that holds a restored image with what belonged to the hazy one.

    Args:
        restored: uint8 or uint16 [H, W, 3].
        photo: As `read` gave it; its alpha must be of the image's size.
        format: PNG, JPEG, TIFF, WEBP, ...: as Pillow calls it.

    Raises:
        OSError, ValueError: The format cannot hold it (65500 pixels a side are the most of a JPEG).
    """
    pixels = _luma(restored) if photo.gray else restored
    if photo.alpha is not None and format in ("PNG", "TIFF", "WEBP", "AVIF", "JPEG2000"):
        pixels = np.dstack([pixels, photo.alpha])
    if pixels.dtype == np.uint16 and format == "PNG":
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        return png_chunks.with_chunks(tf.io.encode_png(pixels).numpy(), photo.chunks, exif=photo.exif)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    options = _common(photo) | _options(photo, format)
    buffer = io.BytesIO()
    if format == "PNG" and photo.chunks:
        Image.fromarray(pixels).save(buffer, "PNG")
        return png_chunks.with_chunks(buffer.getvalue(), photo.chunks, exif=photo.exif)
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def _luma(rgb):
    return np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(rgb.dtype)


def _common(photo):
    known = {"exif": photo.exif, "icc_profile": photo.icc, "dpi": photo.dpi}
    return {key: value for key, value in known.items() if value}


def _options(photo, format):
    if format == "JPEG":
        return {"quality": 95, "subsampling": 0}
    if format == "TIFF":
        own = {"compression": "tiff_adobe_deflate"} | photo.options
        return own | ({} if photo.tags is None else {"exif": photo.tags})
    if format in ("WEBP", "AVIF"):
        return {"quality": 95} | photo.options | ({"exact": True} if format == "WEBP" else {})
    return {}
