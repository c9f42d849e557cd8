"""Any image file becomes an upright 8-bit RGB array, and an array becomes a file.

    image, kept = load_rgb("photo.jpg")      # uint8 [H, W, 3]
    kept.reusable                              # may the file's bytes go into a record as they are?

What `load_rgb` does with each kind of image:

    gray, 1-bit, palette   the color that each pixel shows
    alpha                  dropped: the colors stored under it stay. Composition would need a background, which is
                           neither haze nor scene; TensorFlow's and OpenCV's readers drop it too
    16-bit gray            scaled so that 65535 becomes 255, and rounded (12-bit TIFF: 4095); of 16-bit colors
                           Pillow gives the upper 8 bits
    CMYK, YCbCr, LAB, ...  converted to RGB. Embedded ICC profiles are not applied: no decoder in training does
    EXIF orientation       applied
    float, 32-bit integer  refused: nothing says which value is white
    animated, many pages   refused. The further images of an MPO photograph, reduced copies inside a TIFF and the
                           layers of a PSD are not pages: the main image is taken
"""

import contextlib
import io
import os
import pathlib
import re
import stat
import threading
import warnings

import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from hazeheal.data.images.passthrough import PNG_SIGNATURE, Kept, inspect
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.console import error_text

# What counts as an image when a folder is listed; whether it is one shows when it is read.
_SUFFIXES = """
    .png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .dib .tif .tiff .webp .gif .avif .jp2 .j2k .jpx .jpf
    .ppm .pgm .pbm .pnm .pcx .tga .sgi .psd .ras .qoi
"""
PICTURE_SUFFIXES = frozenset(_SUFFIXES.split())
_MAGIC = {b"\xff\xd8\xff": "JPEG", PNG_SIGNATURE: "PNG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_EXIF_ORIENTATION = 0x0112
MAX_PIXELS = 300_000_000
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Refused(Exception):
    """An image that can be opened and is not wanted; the text is the reason."""


def load_rgb(source, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> tuple[np.ndarray, Kept]:
    """Reads one image: the upright image, and whether the bytes can be kept; as `load` does."""
    return load(source, lambda image, data: None, max_pixels=max_pixels, name=name)[:2]


def load(source, look, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> tuple:
    """Reads one image, and what else is wanted of its file.

    Args:
        source: A path, or the file's bytes.
        look: Called with the `PIL.Image.Image`, decoded and as it lies in the file, and the file's bytes.
        max_pixels: Larger images are refused before they are decoded.
        name: What errors call the image; by default its path.

    Returns:
        The upright image, uint8 [H, W, 3] RGB in [0, 255], whether the bytes can be kept, and what `look` has returned.

    Raises:
        DataError: The file is missing, empty, truncated, damaged, animated, too large or not an image; the
            message names it and gives the reason.
    """
    return _load(
        source, look, lambda image: np.array(image, dtype=np.uint8), max_pixels=max_pixels, name=name
    )


def load_image(source, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> tuple[Image.Image, Kept]:
    """Reads one image for what Pillow does itself: as `load_rgb`, but an RGB `PIL.Image.Image` without metadata."""
    return _load(source, lambda image, data: None, _bare, max_pixels=max_pixels, name=name)[:2]


def _bare(image):
    image.info = {}  # encoders would write some of it
    return image


def _load(source, look, finish, *, max_pixels, name) -> tuple:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        name = name or f"image of {len(data)} bytes"
    else:
        name = name or os.fsdecode(source)
        data = _read(source, name, max_pixels)
    if not data:
        raise DataError(f"{name}: the file is empty (0 bytes); replace it")
    try:
        with strict(max_pixels), Image.open(io.BytesIO(data)) as image:
            upright, kept, seen = _decode(image, data, look, max_pixels)
            return finish(upright), kept, seen
    except DataError:  # of `look`
        raise
    except _Refused as refusal:
        raise DataError(f"{name}: {refusal}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))  # "Image size (N pixels) exceeds limit ..."
        raise DataError(f"{name}: {_too_large(int(pixels[0]) if pixels else 0, max_pixels)}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: {_unidentified(data)}") from error
    except MemoryError as error:
        raise DataError(f"{name}: not enough memory to decode it; make it smaller") from error
    except (
        Exception
    ) as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        raise DataError(f"{name}: truncated or damaged ({error_text(error)}); replace it") from error


def read_size(path, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> tuple[int, int]:
    """Upright (height, width) of an image file as its header tells; nothing is decoded.

    Args:
        path, max_pixels, name: As in `load_rgb`.

    Raises:
        DataError: The header cannot be read, or the file is larger than such an image can be; the message names it.
    """
    name = name or os.fsdecode(path)
    try:
        size = os.stat(path).st_size
        if size and os.path.isfile(path):
            with strict(max_pixels), Image.open(path) as image:
                width, height = image.size
                # A PNG may keep its EXIF behind the pixels, and Pillow would decode them to look there.
                turned = False
                if image.format != "PNG" or "exif" in image.info:
                    with contextlib.suppress(Exception):  # damaged: taken as upright, as `load_rgb` does
                        turned = image.getexif().get(_EXIF_ORIENTATION) in (5, 6, 7, 8)
            if size > _most_bytes(width * height):
                raise DataError(
                    f"{name}: {size:,} bytes are more than {width}x{height} pixels take; save it anew"
                )
            if width * height <= max_pixels:
                return (width, height) if turned else (height, width)
    except DataError:
        raise
    except Exception:  # whatever it is, load_rgb gives it a name
        pass
    return load_rgb(path, max_pixels=max_pixels, name=name)[0].shape[:2]


def _most_bytes(pixels: int) -> int:
    """Of a file: 8 bytes hold an uncompressed pixel of 16-bit RGBA, and there may be much beside them."""
    return 2**26 + 8 * pixels


def _read(source, name: str, max_pixels: int) -> bytes:
    """The whole file, so that no handle stays open while, or because, a decoder fails."""
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{name}: a folder or a device; give an image file")
        if status.st_size > _most_bytes(max_pixels):
            raise DataError(f"{name}: {status.st_size:,} bytes are more than {max_pixels:,} pixels take")
        return pathlib.Path(os.fsdecode(source)).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{name}: the file does not exist") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({error_text(error)})") from error


_lock = threading.Lock()
_decoding: list[int] = []  # max_pixels of every thread inside `strict`
_found: tuple = ()  # Pillow's settings before the first of them came, and the filters of warnings


@contextlib.contextmanager
def strict(max_pixels: int = MAX_PIXELS):
    """Makes Pillow refuse truncated files and go by our limit of size, whatever the program has set.

    Every function here does it by itself; around many calls it spares them most of what it costs.

    Both are module globals that Pillow reads while it decodes, and so are the filters of its warnings, which are
    of damaged metadata and would stand in a program's output without the name of a file. Threads that decode at
    the same time share the strict settings; the last to leave puts back what the first one found.
    """
    global _found
    with _lock:
        if not _decoding:
            _found = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, warnings.catch_warnings()
            _found[2].__enter__()
            warnings.simplefilter("ignore")
        _decoding.append(max_pixels)
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, max(_decoding)
    try:
        yield
    finally:
        with _lock:
            _decoding.remove(max_pixels)
            if _decoding:
                Image.MAX_IMAGE_PIXELS = max(_decoding)
            else:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, filters = _found
                filters.__exit__(None, None, None)


def _decode(image: Image.Image, data: bytes, look, max_pixels: int) -> tuple:
    def check_size():
        if image.width * image.height > max_pixels:
            raise _Refused(_too_large(image.width * image.height, max_pixels))

    check_size()
    if image.format == "EPS":
        raise _Refused("EPS is a program that another program would have to run; save the image as PNG")
    kept = inspect(data, format=image.format or "unknown")
    frames = _count_frames(image)
    if frames > 1:
        raise _Refused(f"animated, or of several pages ({frames} frames); save the one that is meant")
    white = _white(image)
    image.load()
    check_size()  # some containers learn the true size here
    turn = upright_turn(image)
    if kept.reusable and turn is not None:
        kept = Kept(False, kept.format, "its EXIF orientation had to be applied")
    seen = look(image, data)
    rgb = _to_rgb(image, white)
    return rgb if turn is None else rgb.transpose(turn), kept, seen


def upright_turn(image: Image.Image) -> Image.Transpose | None:
    """What turns an image upright as its EXIF tells; None: nothing. To be asked when it is loaded.

    Pillow has by then turned TIFF and AVIF upright itself, and says so.
    """
    try:
        return _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION))
    except Exception:  # damaged metadata of a whole image: taken as upright
        return None


def _count_frames(image) -> int:
    """Number of images in the file, without those that belong to the first one."""
    if image.format in ("MPO", "PSD"):
        return 1
    frames = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or frames == 1:
        return frames
    pages = 0
    for number in range(frames):
        image.seek(number)
        pages += not image.tag_v2.get(254, 0) & 0b101  # NewSubfileType: a reduced copy, or a mask
    image.seek(0)
    return pages


def _white(image) -> int | None:
    """The largest value of an integer sample wider than 8 bits; None where nothing tells."""
    bits = image.tag_v2.get(258, (1,))[0] if image.format == "TIFF" else 16  # BitsPerSample
    return 2**bits - 1 if bits <= 16 else None


def _to_rgb(image: Image.Image, white: int | None) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and white is None):
        kind = "float" if image.mode == "F" else "32-bit integer"
        raise _Refused(f"{kind} samples, of which nothing says what is white; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int32)
        if values.min() < 0 or values.max() > white:
            raise _Refused(f"gray values {values.min()} to {values.max()} are outside 0 to {white}")
        return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    if image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA")  # undoes premultiplied alpha and resolves a transparent palette
    return image if image.mode == "RGB" else image.convert("RGB")


def _too_large(pixels: int, max_pixels: int) -> str:
    return f"{pixels:,} pixels are more than the {max_pixels:,} allowed; make it smaller"


def _unidentified(data: bytes) -> str:
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return f"truncated or damaged (it begins as {kind}, and its header cannot be read); replace it"
    return f"not an image that Pillow knows (it begins with {data[:8]!r}); remove or replace it"


def encode(image: np.ndarray, *, format: str = "png", quality: int = 95) -> bytes:
    """Encodes an image; equal images give equal bytes (with the same libraries).

    Args:
        image: uint8 [H, W, 3] RGB.
        format: `png` (lossless) or `jpeg` (baseline, color at full resolution: 4:4:4).
        quality: Of JPEG, 1 to 100.

    Raises:
        UsageError: The image, the format or the quality is not of this kind.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(f"an image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    return encode_image(Image.fromarray(np.ascontiguousarray(image)), format=format, quality=quality)


def encode_image(image: Image.Image, *, format: str = "png", quality: int = 95) -> bytes:
    """Encodes a `PIL.Image.Image` of mode RGB, as `encode` does an array."""
    if not 1 <= quality <= 100:
        raise UsageError(f"quality={quality} is not between 1 and 100")
    buffer = io.BytesIO()
    if format == "png":
        image.save(buffer, "PNG", compress_level=6)
    elif format == "jpeg":
        if max(image.size) > 65500:
            raise UsageError(f"{image.width}x{image.height}: JPEG holds 65500 pixels a side; use png")
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
    else:
        raise UsageError(f"format={format!r} is unknown; use png or jpeg")
    return buffer.getvalue()


def save(image: np.ndarray, path, *, quality: int = 95) -> None:
    """Writes uint8 [H, W, 3] as PNG or JPEG, by the suffix of `path`.

    The file is written aside and renamed, so that nobody ever reads half of it.

    Raises:
        UsageError: The suffix is none of .png, .jpg, .jpeg, or the image cannot be encoded.
        OutputError: The file cannot be written.
    """
    path = pathlib.Path(path)
    format = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}.get(path.suffix.lower())
    if format is None:
        raise UsageError(f"{path}: cannot write images as {path.suffix!r}; use .png, .jpg or .jpeg")
    data = encode(image, format=format, quality=quality)
    with atomic_path(path) as aside:
        aside.write_bytes(data)


def center_crop(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the middle of the common size out of two images [H, W, C]; one that has this size is returned itself."""
    height, width = (min(a.shape[i], b.shape[i]) for i in (0, 1))

    def cut(x):
        if x.shape[:2] == (height, width):
            return x
        top, left = (x.shape[0] - height) // 2, (x.shape[1] - width) // 2
        return x[top : top + height, left : left + width]

    return cut(a), cut(b)


_BLOCK = 1 << 15  # values at a time: what the caches hold, and whose squares a uint32 can add up


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio, 20 log10 255 - 10 log10 MSE, in dB; inf where the images are equal.

    Args:
        a, b: uint8, of one shape, not empty.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape != b.shape or a.size == 0:
        kinds = f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
        raise UsageError(f"psnr needs two uint8 images of one size, not {kinds}")
    a, b, total = a.reshape(-1), b.reshape(-1), 0
    for start in range(0, a.size, _BLOCK):
        one, other = a[start : start + _BLOCK], b[start : start + _BLOCK]
        difference = (np.maximum(one, other) - np.minimum(one, other)).astype(np.uint32)
        # Not `dot`, whose threads wait for those of other processes.
        total += int(np.einsum("i,i->", difference, difference))
    return float("inf") if total == 0 else float(20 * np.log10(255) - 10 * np.log10(total / a.size))
