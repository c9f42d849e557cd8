"""Reads any image file as an upright 8-bit RGB array, and writes an array as a file.

    image, passthrough = load_rgb("photo.jpg")  # uint8 [H, W, 3]
    passthrough.reusable                        # whether the file's own bytes may go into a record

How `load_rgb` treats each kind of image:

    gray, 1-bit, palette   each pixel gets the color that it displays
    alpha                  dropped, and the stored colors are used. Compositing would need a background, which is
                           neither haze nor scene. The readers of TensorFlow and OpenCV drop alpha too
    16-bit gray            scaled so that 65535 (4095 in a 12-bit TIFF) becomes 255, and rounded. Of 16-bit colors
                           Pillow returns the upper 8 bits
    CMYK, YCbCr, LAB, ...  converted to RGB. ICC profiles are not applied, as decoders in training do not apply them
    EXIF orientation       applied
    float, 32-bit integer  refused: the white level is unknown
    camera raw             refused: its first image is a small preview
    animation, many pages  refused. The extra images of an MPO photograph, reduced copies in a TIFF and the layers of
                           a PSD do not count as pages: the main image is used
"""

import contextlib
import io
import os
import pathlib
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from hazeheal.data.images import to_rgb
from hazeheal.data.images.passthrough import Passthrough, inspect_file
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.console import error_text

ImageSource = str | os.PathLike | bytes | bytearray | memoryview

MAX_PIXELS = 300_000_000

# Files with these suffixes count as images when a folder is listed.
_SUFFIXES = """
    .png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .dib .tif .tiff .webp .gif .avif .jp2 .j2k .jpx .jpf
    .ppm .pgm .pbm .pnm .pcx .tga .sgi .psd .ras .qoi
"""
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())

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


def load_rgb(source: ImageSource, *, name: str | None = None) -> tuple[np.ndarray, Passthrough]:
    """Reads one image: an upright uint8 RGB array `[H, W, 3]`, and whether its file's bytes can be reused.

    Args:
        source: A path, or the file's bytes.
        name: Name of the image in errors; its path by default.

    Raises:
        DataError: The file is missing, empty, truncated, damaged, animated, too large or not an image. The message
            contains the name and the reason.
    """
    return load(source, name=name)[:2]


def load(
    source: ImageSource,
    extract: Callable[[Image.Image, bytes], Any] | None = None,
    *,
    name: str | None = None,
) -> tuple[np.ndarray, Passthrough, Any]:
    """Reads one image as `load_rgb`, and returns the result of `extract` as well.

    `extract` is called with the decoded image as Pillow opened it (not upright, of any mode) and the file's bytes. It
    may raise DataError.
    """
    upright, passthrough, extracted = _load(source, extract, name)
    return np.array(upright, dtype=np.uint8), passthrough, extracted


def load_image(source: ImageSource, *, name: str | None = None) -> tuple[Image.Image, Passthrough]:
    """Reads one image as `load_rgb`, but as a Pillow image of mode RGB without metadata."""
    image, passthrough, _ = _load(source, None, name)
    image.info = {}  # Encoders would write some of it.
    return image, passthrough


def _load(source, extract, name) -> tuple[Image.Image, Passthrough, Any]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        name = name or f"image of {len(data)} bytes"
    else:
        name = name or os.fsdecode(source)
        data = _read(source, name)
    if not data:
        raise DataError(f"{name}: the file is empty (0 bytes); replace it")
    try:
        with strict(), Image.open(io.BytesIO(data)) as image:
            return _decode(image, data, extract)
    except DataError:  # from `extract`
        raise
    except to_rgb.UnsupportedImageError as error:
        raise DataError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, MemoryError) as error:
        raise DataError(f"{name}: too large to decode ({error_text(error)}); reduce its size") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not an image, or its header is truncated or damaged (it begins with {data[:8]!r}); "
            "remove or replace it"
        ) from error
    # Decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
    except Exception as error:
        raise DataError(f"{name}: truncated or damaged ({error_text(error)}); replace it") from error


def _decode(image, data, extract) -> tuple[Image.Image, Passthrough, Any]:
    _check_size(image)
    if image.format == "EPS":
        raise to_rgb.UnsupportedImageError("EPS files need an interpreter; save the image as PNG")
    if to_rgb.is_preview(image, data):
        raise to_rgb.UnsupportedImageError(
            "a camera raw file, or a preview of one; develop it and save it as TIFF or PNG"
        )
    passthrough = inspect_file(data, format=image.format or "unknown")
    frames = to_rgb.count_frames(image)
    if frames > 1:
        raise to_rgb.UnsupportedImageError(f"animated or multi-page ({frames} frames); save one frame as an image")
    white = to_rgb.white_level(image)
    image.load()
    _check_size(image)  # Some containers contain the true size only in the data.
    transpose = to_rgb.upright_transpose(image)
    if passthrough.reusable and transpose is not None:
        passthrough = Passthrough(False, passthrough.format, "its EXIF orientation had to be applied")
    extracted = None if extract is None else extract(image, data)
    rgb = to_rgb.to_rgb(image, white)
    return rgb if transpose is None else rgb.transpose(transpose), passthrough, extracted


def _check_size(image: Image.Image) -> None:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise to_rgb.UnsupportedImageError(
            f"{pixels:,} pixels are more than the {MAX_PIXELS:,} allowed; reduce its size"
        )


def read_size(path: str | os.PathLike, *, name: str | None = None) -> tuple[int, int]:
    """Returns the upright (height, width) of an image file from its header, without decoding it.

    Raises:
        DataError: The header cannot be read, or the image is too large.
    """
    name = name or os.fsdecode(path)
    try:
        if os.path.isfile(path):  # Opening a pipe would wait for a writer.
            with strict(), Image.open(path) as image:
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
    except Exception:  # `load_rgb` reports the reason.
        pass
    return load_rgb(path, name=name)[0].shape[:2]


def _check_bytes(size: int, pixels: int, name: str) -> None:
    """Refuses a file of more than 8 bytes per pixel (16-bit RGBA, uncompressed) and 64 MiB of metadata."""
    if size > 2**26 + 8 * pixels:
        raise DataError(f"{name}: {size:,} bytes are too many for {pixels:,} pixels; save it again")


def _read(source: str | os.PathLike, name: str) -> bytes:
    """Reads the whole file, so that no handle stays open when a decoder fails."""
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{name}: not a regular file; give an image file")
        _check_bytes(status.st_size, MAX_PIXELS, name)
        return pathlib.Path(os.fsdecode(source)).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{name}: the file does not exist") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({error_text(error)})") from error


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
