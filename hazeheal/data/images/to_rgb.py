"""Converts an image that Pillow has opened to upright 8-bit RGB; `image_io` describes the rules for users."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ARRAYS = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda array: array[:, ::-1],
    Image.Transpose.ROTATE_180: lambda array: array[::-1, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda array: array[::-1],
    Image.Transpose.TRANSPOSE: lambda array: array.swapaxes(0, 1),
    Image.Transpose.ROTATE_270: lambda array: np.rot90(array, -1),
    Image.Transpose.TRANSVERSE: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    Image.Transpose.ROTATE_90: np.rot90,
}
# Those that exchange height and width.
SIDEWAYS = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
_NEW_SUBFILE_TYPE = 254
REDUCED_COPY, MASK = 0b001, 0b100  # of the tag NewSubfileType
_PHOTOMETRIC, _COMPRESSION, _DNG_VERSION = 262, 259, 50706
_YCBCR = 6
_RAW_PHOTOMETRICS = (32803, 34892)  # CFA and LinearRaw, of DNG


class UnsupportedImageError(Exception):
    """An image that Pillow can open and HazeHeal does not accept; the message is the reason."""


class UnknownSamplesError(UnsupportedImageError):
    """The white level or the bands of an image are not known; the message names the flag that gives them."""


def count_frames(image: Image.Image) -> int:
    """Returns the number of images in the file, without those that belong to the first one."""
    if image.format in ("MPO", "PSD"):
        return 1
    frames = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or frames == 1:
        return frames
    pages = 0
    for number in range(frames):
        image.seek(number)
        pages += not image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & (REDUCED_COPY | MASK)
    image.seek(0)
    return pages


def refuse_camera_raw(tag: Callable[[int], Any], head: bytes) -> None:
    """Raises UnsupportedImageError for raw data, and if the first image of a TIFF is only a preview.

    Args:
        tag: Returns the value of a tag of the first image, or None.
        head: The first bytes of the file.
    """
    kind = tag(_NEW_SUBFILE_TYPE)
    is_reduced = isinstance(kind, int) and bool(kind & REDUCED_COPY)
    is_dng = tag(_PHOTOMETRIC) in _RAW_PHOTOMETRICS or tag(_DNG_VERSION) is not None
    if is_reduced or is_dng or head[8:10] == b"CR":  # Canon CR2
        raise UnsupportedImageError("a camera raw file, or a preview of one; develop it and save it as TIFF or PNG")


def refuse_plain_ycbcr(image: Image.Image) -> None:
    """Raises UnsupportedImageError for a TIFF of uncompressed YCbCr, which Pillow before 13 takes for RGB of four bytes."""
    is_plain = image.tag_v2.get(_PHOTOMETRIC) == _YCBCR and image.tag_v2.get(_COMPRESSION, 1) == 1
    if is_plain and image.mode != "YCbCr":
        raise UnsupportedImageError(
            "uncompressed YCbCr, which Pillow reads from version 13 on; save the image as PNG, or use Python 3.11 or later "
            "and `pip install --upgrade pillow`"
        )


def upright_transpose(image: Image.Image) -> Image.Transpose | None:
    """Returns the transposition that the EXIF orientation requires, or None.

    To turn pixels, call it after loading the image: Pillow turns TIFF and AVIF images upright itself and then removes the tag.
    """
    try:
        return transpose_of(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # The metadata is damaged and the image is not: treat it as upright.
        return None


def transpose_of(orientation: int | None) -> Image.Transpose | None:
    """Returns the transposition that brings an image of this EXIF orientation upright, or None."""
    return _UPRIGHT.get(orientation)


def transpose_array(array: np.ndarray, transpose: Image.Transpose | None) -> np.ndarray:
    """Returns an array `[H, W, ...]` transposed as Pillow transposes an image; None leaves it as it is."""
    return array if transpose is None else _ARRAYS[transpose](array)


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a loaded image of 8 bits per sample and of any mode to mode RGB."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    if image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA")  # undoes premultiplied alpha and resolves a transparent palette
    return image if image.mode == "RGB" else image.convert("RGB")
