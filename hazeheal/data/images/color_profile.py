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


def to_srgb(image: Image.Image, icc: bytes) -> tuple[Image.Image, str]:
    """Converts a loaded image to sRGB, if its profile is for its mode and is not sRGB itself.

    Returns:
        The image, of mode RGB if it was converted and else unchanged, and the name of the profile, or "" if the image is
        unchanged. A damaged profile changes nothing.
    """
    mode = {"1": "L", "LA": "L", "La": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB"}.get(image.mode)
    mode = mode or image.mode
    if _SPACES.get(icc[16:20]) != mode:
        return image, ""
    transform, name = _transform(icc, mode)
    if transform is None:
        return image, ""
    if image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
    return ImageCms.applyTransform(image.convert(mode), transform), name


@functools.lru_cache(maxsize=16)
def _transform(icc, mode):
    """The transform of a profile to sRGB and the profile's name; (None, "") if it changes nothing or is damaged."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        name = ImageCms.getProfileDescription(profile).strip()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None, ""
    return (transform, name or "unnamed profile") if _changes(transform, mode) else (None, "")


def _changes(transform, mode):
    """Whether a transform changes colors visibly."""
    if mode == "CMYK":
        return True
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3) if mode == "RGB" else levels[None]
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform)).astype(int)
    return np.abs(converted - grid.reshape(1, -1, 3 if mode == "RGB" else 1)).max() > _EQUAL
