"""Decodes the content of an image file to upright 8-bit RGB: by Pillow, or by tifffile where Pillow misreads a TIFF.

`image_io` reads the files, and turns the errors into those that name the file.
"""

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from hazeheal.data.images import color_profile, libtiff_errors, plugins, tiff, tiff_bands, to_rgb, wide_pillow
from hazeheal.data.images.passthrough import Passthrough, inspect_file
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.data.images.to_rgb import UnsupportedImageError
from hazeheal.data.images.wide import WideImage, from_samples

_TIFF_REASON = "tiff, not JPEG or PNG"


@dataclasses.dataclass(frozen=True)
class Opened:
    """An image file while it is decoded, for functions that read more of it.

    Attributes:
        image: The image as Pillow has decoded it (not upright, of any mode), or None if tifffile has.
        data: The bytes of the file, or b"" if tifffile has decoded it.
        wide: Its samples, upright, if it has more than 8 bits or was decoded by tifffile; else None.
        layout: What the header of a TIFF says, if tifffile has decoded it.
    """

    image: Image.Image | None
    data: bytes
    wide: WideImage | None
    layout: tiff.Layout | None = None


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        image: The upright image, of mode RGB.
        passthrough: Whether the bytes of its file can stand for it.
        profile: Name of the color profile by which it was converted to sRGB, or "".
        white: The value of white of an image with more than 8 bits per sample, or None.
        extracted: What the function of `image_io.decode` returned.
    """

    image: Image.Image
    passthrough: Passthrough
    profile: str = ""
    white: float | None = None
    extracted: Any = None


Extract = Callable[[Opened], Any] | None


def decode_by_pillow(data: bytes, options: PixelOptions, extract: Extract, *, max_pixels: int) -> Decoded:
    """Decodes the bytes of a file.

    Raises:
        UnsupportedImageError: The image is of a kind that is not supported, or has too many pixels.
        Exception: Whatever decoders raise for damaged files.
    """
    if reason := plugins.register(data[:64]):
        raise UnsupportedImageError(reason)
    with Image.open(io.BytesIO(data)) as image, libtiff_errors.collect() as errors:
        check_size(image.width, image.height, max_pixels)
        if image.format == "EPS":
            raise UnsupportedImageError("EPS files need an interpreter; save the image as PNG")
        if image.format == "TIFF":
            to_rgb.refuse_camera_raw(image.tag_v2.get, data)
            to_rgb.refuse_plain_ycbcr(image)
        passthrough = inspect_file(data, format=image.format or "unknown")
        frames = to_rgb.count_frames(image)
        if frames > 1:
            raise UnsupportedImageError(f"animated or multi-page ({frames} frames); save one frame as an image")
        image.load()
        if errors:
            raise ValueError(errors[0])
        check_size(image.width, image.height, max_pixels)  # Some containers contain the true size only in the data.
        transpose = to_rgb.upright_transpose(image)
        if passthrough.reusable and transpose is not None:
            passthrough = Passthrough(False, passthrough.format, "its EXIF orientation had to be applied")
        wide = wide_pillow.read_wide(image, data, white=options.white)
        extracted = None
        if extract is not None:
            upright = None if wide is None else wide.transposed(transpose)
            extracted = extract(Opened(image, data, upright))
        colors = image if wide is None else _as_pillow(wide)
        rgb, profile = _to_srgb(colors, image.info.get("icc_profile"), options)
        if transpose is not None:
            rgb = rgb.transpose(transpose)
        if profile and passthrough.reusable:
            passthrough = Passthrough(False, passthrough.format, "its colors were converted to sRGB")
        return Decoded(rgb, passthrough, profile, _white(wide), extracted)


def decode_tiff(
    source: tiff.Source, layout: tiff.Layout, options: PixelOptions, extract: Extract, *, max_pixels: int
) -> Decoded:
    """Decodes a TIFF that Pillow does not decode correctly; otherwise as `decode_by_pillow`."""
    check_size(layout.width, layout.height, max_pixels)
    passthrough, transpose = Passthrough(False, "tiff", _TIFF_REASON), to_rgb.transpose_of(layout.orientation)
    bands = layout.choose_bands(options.bands)
    if layout.photometric == tiff.SEPARATED and len(bands) == 4:
        inks = from_samples(tiff_bands.read_bands(source, layout, bands), full=layout.full, white=options.white)
        colors, wide = Image.fromarray(inks.to_uint8(), "CMYK"), None
    else:
        wide = read_tiff(source, layout, options)
        colors = _as_pillow(wide)
    extracted = None
    if extract is not None:
        extracted = extract(Opened(None, b"", None if wide is None else wide.transposed(transpose), layout))
    rgb, profile = _to_srgb(colors, layout.icc, options)
    rgb = rgb if transpose is None else rgb.transpose(transpose)
    return Decoded(rgb, passthrough, profile, _white(wide), extracted)


def read_tiff(source: tiff.Source, layout: tiff.Layout, options: PixelOptions) -> WideImage:
    """Reads the chosen bands of a TIFF, and which pixels have data; not upright."""
    bands = layout.choose_bands(options.bands)
    has_alpha = layout.alpha is not None and layout.alpha not in bands
    samples = tiff_bands.read_bands(source, layout, (*bands, layout.alpha) if has_alpha else bands)
    samples, alpha = (samples[..., :-1], samples[..., -1]) if has_alpha else (samples, None)
    if layout.premultiplied and has_alpha and ((alpha != 0) & (alpha != layout.full)).any():
        raise UnsupportedImageError(f"{layout}: its colors are multiplied by its alpha; save it without alpha")
    return from_samples(
        samples,
        full=layout.full,
        white=options.white,
        inverted=layout.photometric == tiff.MINISWHITE,
        alpha=alpha,
        valid=find_valid(samples, alpha, layout.no_data),
    )


def find_valid(samples: np.ndarray, alpha: np.ndarray | None, no_data: float | None) -> np.ndarray | None:
    """Returns which pixels `[H, W, C]` are visible, finite and not `no_data` in all bands; None if all are."""
    valid = np.ones(samples.shape[:2], bool) if alpha is None else alpha > 0
    if samples.dtype.kind == "f":
        valid &= np.isfinite(samples).all(axis=2)
    if no_data is not None:
        valid &= (samples != no_data).any(axis=2)
    return None if valid.all() else valid


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises UnsupportedImageError if an image has more than `max_pixels` pixels."""
    if width * height > max_pixels:
        raise UnsupportedImageError(
            f"{width * height:,} pixels are more than the {max_pixels:,} allowed; reduce its size"
        )


def _as_pillow(wide):
    pixels = wide.to_uint8()
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if wide.samples.shape[2] == 1 else pixels)


def _to_srgb(image, icc, options):
    """Returns an image as mode RGB, and the name of the profile by which it was converted to sRGB, or ""."""
    profile = ""
    if options.color == "convert" and icc:
        image, profile = color_profile.to_srgb(image, icc)
    return to_rgb.to_rgb(image), profile


def _white(wide):
    return None if wide is None or wide.samples.dtype == np.uint8 else wide.white
