"""Converts images to sRGB by their embedded ICC profiles.

Decoders in training ignore profiles, so an image in Display P3 or Adobe RGB beside one in sRGB would differ from it by up
to 25 levels although both display the same colors.
"""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

_EQUAL = 2  # levels by which a profile may differ from sRGB and still count as sRGB: its many versions differ by 1
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}  # the color space of a profile, and the mode that it is for
_MODES = {"1": "L", "LA": "L", "La": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB"}


def to_srgb(image: Image.Image, icc: bytes) -> tuple[Image.Image, str]:
    """Converts a loaded image to sRGB, if its profile is for its mode and is not sRGB itself.

    Returns:
        The image, of mode RGB if it was converted and else unchanged, and the name of the profile, or "" if the image is
        unchanged. A damaged profile changes nothing.
    """
    mode = _MODES.get(image.mode, image.mode)
    if _SPACES.get(icc[16:20]) != mode:
        return image, ""
    conversion, name = _conversion(icc, mode)
    if conversion is None:
        return image, ""
    if image.mode in ("P", "PA", "La", "RGBa"):  # colors, transparent palettes and premultiplied alpha
        image = image.convert("RGBA")
    image = image.convert(mode)
    if mode == "L":
        return Image.fromarray(conversion[np.asarray(image)]), name
    return ImageCms.applyTransform(image, conversion), name


@functools.lru_cache(maxsize=16)
def _conversion(icc, mode):
    """The conversion of a profile to sRGB and the profile's name; (None, "") if it changes nothing or is damaged.

    The conversion is a transform, or for gray the color of each level: LittleCMS's transform of gray is off by 10 levels.
    """
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    flags |= ImageCms.Flags.NOOPTIMIZE if mode == "L" else 0
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    try:
        profile, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, srgb, mode, "RGB", renderingIntent=intent, flags=flags)
        name = ImageCms.getProfileDescription(profile).strip() or "unnamed profile"
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None, ""
    if mode == "CMYK":
        return transform, name
    levels = np.arange(256, dtype=np.uint8)[:: 15 if mode == "RGB" else 1]
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3) if mode == "RGB" else levels[None]
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform))
    before = grid if mode == "RGB" else grid[..., None]
    if np.abs(converted.astype(int) - before).max() <= _EQUAL:
        return None, ""
    return (converted[0] if mode == "L" else transform), name
