"""Reads any image file as an upright 8-bit RGB array, and writes an array as a file.

    image, passthrough = load_rgb("photo.jpg")  # uint8 [H, W, 3]
    passthrough.reusable                        # whether the file's own bytes may go into a record

How `load_rgb` treats each kind of image:

    gray, 1-bit, palette   each pixel gets the color that it displays
    alpha                  dropped, and the stored colors are used. Compositing would need a background, which is
                           neither haze nor scene. The readers of TensorFlow and OpenCV drop alpha too
    more than 8 bits       scaled so that white becomes 255, and rounded. White is `PixelOptions.white`, or else 65535
                           (4095 in a 12-bit TIFF). 16-bit samples that stay far below it are refused (`white_level`)
    float, signed, 32-bit  refused without `PixelOptions.white`
    more than three bands  of a TIFF: its declared colors, or `PixelOptions.bands`; refused without either
    CMYK, YCbCr, LAB, ...  converted to RGB
    ICC profile            applied with `PixelOptions.color="convert"`. By default it is not, as decoders in training
                           do not apply it
    no data                of a GeoTIFF, NaN and pixels of a TIFF with an alpha of 0 become black
    EXIF orientation       applied
    camera raw             refused: its first image is a small preview
    animation, many pages  refused. The extra images of an MPO photograph, reduced copies in a TIFF and the layers of
                           a PSD do not count as pages: the main image is used
    HEIC, JPEG XL          read with the extras `heic` and `jxl`, and refused without them
"""

import contextlib
import io
import logging
import os
import pathlib
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from hazeheal.data.images import plugins, tiff, tiff_bands, to_rgb
from hazeheal.data.images.decoder import Decoded, Opened, check_size, decode_by_pillow, decode_tiff
from hazeheal.data.images.passthrough import Passthrough
from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions
from hazeheal.data.images.to_rgb import UnknownSamplesError, UnsupportedImageError
from hazeheal.errors import DataError, OptionNeededError, UsageError
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.console import error_text

ImageSource = str | os.PathLike | bytes | bytearray | memoryview

MAX_PIXELS = 300_000_000

# Files with these suffixes count as images when a folder is listed.
_SUFFIXES = """
    .png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .dib .tif .tiff .webp .gif .avif .jp2 .j2k .jpx .jpf
    .ppm .pgm .pbm .pnm .pcx .tga .sgi .psd .ras .qoi
"""
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split()) | plugins.SUFFIXES

# Warnings about damaged tags would appear in the program's output without a file name.
for _library in ("PIL", "tifffile", "rasterio"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

_lock = threading.Lock()
_active = 0  # number of threads inside `strict`
_saved_settings: tuple = ()  # Pillow's settings and the warning filters before the first thread entered


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Makes Pillow refuse truncated files and more than `MAX_PIXELS`, whatever the program has set.

    Every function of this module does so itself. Entering the context once around many calls saves most of its cost.

    The settings are module globals of Pillow. So are the filters for its warnings about damaged metadata, which would
    appear in the program's output without a file name. Concurrent threads share the strict settings, and the last
    thread to leave restores the saved ones.
    """
    global _active, _saved_settings
    with _lock:
        if not _active:
            filters = warnings.catch_warnings()
            _saved_settings = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, filters
            filters.__enter__()
            warnings.simplefilter("ignore")
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, MAX_PIXELS
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if not _active:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, filters = _saved_settings
                filters.__exit__(None, None, None)


def load_rgb(
    source: ImageSource, *, name: str | None = None, options: PixelOptions = AS_STORED
) -> tuple[np.ndarray, Passthrough]:
    """Reads one image: an upright uint8 RGB array `[H, W, 3]`, and whether its file's bytes can be reused.

    Args:
        source: A path, or the file's bytes.
        name: Name of the image in errors; its path by default.
        options: How its samples become RGB.

    Raises:
        DataError: The file is missing, empty, truncated, damaged, animated, too large or not an image. The message
            contains the name and the reason.
        OptionNeededError: Its white level or its bands are not known. The message contains the flag too.
    """
    decoded = decode(source, name=name, options=options)
    return np.array(decoded.image, dtype=np.uint8), decoded.passthrough


def decode(
    source: ImageSource,
    extract: Callable[[Opened], Any] | None = None,
    *,
    name: str | None = None,
    options: PixelOptions = AS_STORED,
) -> Decoded:
    """Reads one image as `load_rgb`, but as a Pillow image of mode RGB without metadata.

    `extract` is called with the opened file, and its result is `Decoded.extracted`. It may raise DataError.
    """
    name = name or (f"image of {len(source)} bytes" if _is_bytes(source) else os.fsdecode(source))
    data = bytes(source) if _is_bytes(source) else b""
    try:
        with strict():
            if not _is_bytes(source):
                _check_file(source, name)
            head = data[:64] if _is_bytes(source) else _read(source, 64)
            if not head:
                raise DataError(f"{name}: the file is empty (0 bytes); replace it")
            layout = _tiff_layout(data or source) if tiff.is_tiff(head) else None
            if layout is not None and not (layout.is_for_pillow and not layout.has_choice(options.bands)):
                decoded = decode_tiff(data or source, layout, options, extract, max_pixels=MAX_PIXELS)
            else:
                if not data:
                    _check_bytes(os.path.getsize(source), MAX_PIXELS, name)
                    data = _read(source)
                decoded = decode_by_pillow(data, options, extract, max_pixels=MAX_PIXELS)
    except DataError:
        raise
    except UnknownSamplesError as error:
        raise OptionNeededError(f"{name}: {error}") from None
    except UnsupportedImageError as error:
        raise DataError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, MemoryError) as error:
        raise DataError(f"{name}: too large to decode ({error_text(error)}); reduce its size") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not an image, or its header is truncated or damaged (it begins with {head[:8]!r}); "
            "remove or replace it"
        ) from error
    # Decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
    except Exception as error:
        raise DataError(f"{name}: truncated or damaged ({error_text(error)}); replace it") from error
    decoded.image.info = {}  # Encoders would write some of it.
    return decoded


def is_tiff_file(path: str | os.PathLike) -> bool:
    """Returns whether a file begins as a TIFF; raises OSError if it cannot be read."""
    return tiff.is_tiff(_read(path, 4))


def _is_bytes(source):
    return isinstance(source, (bytes, bytearray, memoryview))


def _tiff_layout(source):
    """The layout of a TIFF, or None if its header is damaged, which Pillow reports."""
    try:
        return tiff.read_layout(source)
    except UnsupportedImageError:
        raise
    except Exception:
        return None


def read_size(
    path: str | os.PathLike, *, name: str | None = None, options: PixelOptions = AS_STORED
) -> tuple[int, int]:
    """Returns the upright (height, width) of an image file from its header, without decoding it.

    Raises:
        DataError: The header cannot be read, the image is too large, or its bands or its compression are not known.
    """
    name = name or os.fsdecode(path)
    try:
        if os.path.isfile(path):  # Opening a pipe would wait for a writer.
            with strict(), open(path, "rb") as file:
                head = file.read(64)
                layout = _tiff_layout(path) if tiff.is_tiff(head) else None
                if layout is not None and not (layout.is_for_pillow and not layout.has_choice(options.bands)):
                    return _tiff_size(path, layout, options, name)
                plugins.register(head)
                file.seek(0)
                with Image.open(file) as image:
                    width, height = image.size
                    # A PNG may store its EXIF after the pixels, and Pillow would decode them to find it.
                    transpose = None
                    if image.format != "PNG" or "exif" in image.info:
                        transpose = to_rgb.upright_transpose(image)
            _check_bytes(os.path.getsize(path), width * height, name)
            if width * height <= MAX_PIXELS:
                return (width, height) if transpose in to_rgb.SIDEWAYS else (height, width)
    except DataError:
        raise
    except Exception:  # `decode` reports the reason.
        pass
    image = decode(path, name=name, options=options).image
    return image.height, image.width


def _tiff_size(path, layout, options, name):
    _check_bytes(os.path.getsize(path), layout.width * layout.height, name, least=2 * layout.bytes)
    tiff_bands.check_readable(layout, layout.choose_bands(options.bands))
    check_size(layout.width, layout.height, MAX_PIXELS)
    is_sideways = to_rgb.transpose_of(layout.orientation) in to_rgb.SIDEWAYS
    return (layout.width, layout.height) if is_sideways else (layout.height, layout.width)


def _check_bytes(size: int, pixels: int, name: str, *, least: int = 0) -> None:
    """Refuses a file of more than `least` or 8 bytes per pixel (16-bit RGBA, uncompressed) and 64 MiB of metadata."""
    if size > 2**26 + max(least, 8 * pixels):
        raise DataError(f"{name}: {size:,} bytes are too many for {pixels:,} pixels; save it again")


def _check_file(source: str | os.PathLike, name: str) -> None:
    """Raises DataError if a path is not that of a file of a possible size."""
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{name}: not a regular file; give an image file")
        if not tiff.is_tiff(_read(source, 4)):  # The size of a TIFF depends on its bands.
            _check_bytes(status.st_size, MAX_PIXELS, name)
    except FileNotFoundError:
        raise DataError(f"{name}: the file does not exist") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({error_text(error)})") from error


def _read(source: str | os.PathLike, count: int = -1) -> bytes:
    """Reads the whole file or its beginning, so that no handle stays open when a decoder fails."""
    with open(os.fsdecode(source), "rb") as file:
        return file.read(count)


def encode(image: np.ndarray, *, format: str = "png", quality: int = 95) -> bytes:
    """Encodes a uint8 RGB image `[H, W, 3]`; equal images give equal bytes with the same library versions.

    Args:
        format: `png` (lossless) or `jpeg` (baseline, without chroma subsampling).
        quality: JPEG quality, 1 to 100.

    Raises:
        UsageError: The image, the format or the quality is invalid.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(f"an image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    return encode_image(Image.fromarray(np.ascontiguousarray(image)), format=format, quality=quality)


def encode_image(image: Image.Image, *, format: str = "png", quality: int = 95) -> bytes:
    """Encodes a Pillow image of mode RGB, as `encode` encodes an array."""
    if not 1 <= quality <= 100:
        raise UsageError(f"quality={quality} must be in 1 to 100")
    buffer = io.BytesIO()
    if format == "png":
        image.save(buffer, "PNG", compress_level=6)
    elif format == "jpeg":
        if max(image.size) > 65500:
            raise UsageError(f"{image.width}x{image.height}: a JPEG has at most 65500 pixels a side; use png")
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
    else:
        raise UsageError(f"format={format!r} is not known; use png or jpeg")
    return buffer.getvalue()


def save(image: np.ndarray, path: str | os.PathLike, *, quality: int = 95) -> None:
    """Writes a uint8 image `[H, W, 3]` atomically as PNG or JPEG, by the suffix of `path`.

    The folder is created if necessary. `quality` is that of a JPEG, 1 to 100.

    Raises:
        UsageError: The suffix is not .png, .jpg or .jpeg, or the image cannot be encoded.
        OutputError: The file cannot be written.
    """
    path = pathlib.Path(path)
    format = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}.get(path.suffix.lower())
    if format is None:
        raise UsageError(f"{path}: cannot write images as {path.suffix!r}; use .png, .jpg or .jpeg")
    data = encode(image, format=format, quality=quality)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
