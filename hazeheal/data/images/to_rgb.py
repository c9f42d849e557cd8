"""Converts an image that Pillow has opened to upright 8-bit RGB; `image_io` describes the rules for users."""

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
# Those that exchange height and width.
SIDEWAYS = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_NEW_SUBFILE_TYPE = 254
_REDUCED_COPY, _REDUCED_COPY_OR_MASK = 0b001, 0b101
_DNG_VERSION = 50706


class UnsupportedImageError(Exception):
    """An image that Pillow can open and HazeHeal does not accept; the message is the reason."""


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
        pages += not image.tag_v2.get(_TIFF_NEW_SUBFILE_TYPE, 0) & _REDUCED_COPY_OR_MASK
    image.seek(0)
    return pages


def is_preview(image: Image.Image, data: bytes) -> bool:
    """Returns whether a file's first image is only a preview: a camera raw file, or a TIFF with a reduced copy first."""
    if image.format != "TIFF":
        return False
    kind = image.tag_v2.get(_TIFF_NEW_SUBFILE_TYPE, 0)
    is_reduced = isinstance(kind, int) and bool(kind & _REDUCED_COPY)
    return is_reduced or _DNG_VERSION in image.tag_v2 or data[8:10] == b"CR"  # Canon CR2


def upright_transpose(image: Image.Image) -> Image.Transpose | None:
    """Returns the transposition that the EXIF orientation requires, or None.

    To turn pixels, call it after loading the image: Pillow turns TIFF and AVIF images upright itself and then removes the tag.
    """
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # The metadata is damaged and the image is not: treat it as upright.
        return None


def white_level(image: Image.Image) -> int | None:
    """Returns the largest value of integer samples of more than 8 bits, or None if it is unknown."""
    bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,))[0] if image.format == "TIFF" else 16
    return 2**bits - 1 if bits <= 16 else None


def to_rgb(image: Image.Image, white: int | None) -> Image.Image:
    """Converts a loaded image of any mode to mode RGB. `white` is its `white_level` before it was loaded.

    Raises:
        UnsupportedImageError: The samples are float or 32-bit integers, or exceed the white level.
    """
    if image.mode == "F" or (image.mode == "I" and white is None):
        kind = "float" if image.mode == "F" else "32-bit integer"
        raise UnsupportedImageError(f"{kind} samples without a known white level; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int32)
        if values.min() < 0 or values.max() > white:
            raise UnsupportedImageError(f"gray values {values.min()} to {values.max()} are outside 0 to {white}")
        return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    if image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA")  # undoes premultiplied alpha and resolves a transparent palette
    return image if image.mode == "RGB" else image.convert("RGB")
