"""Images for the fuzz tests: every format and mode, files that claim more pixels than they have, junk, and damage."""

import contextlib
import dataclasses
import functools
import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from image_files import chunk, png_header, saved
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Content:
    """A file's bytes, its usual suffix, and its pixels, or None if it may be refused."""

    data: bytes
    suffix: str
    rgb: np.ndarray | None = None


def _resized_header(data, marker, at, form, *sizes):
    """Overwrites the size after the first `marker` of an encoded image."""
    at += data.index(marker)
    new = struct.pack(form, *sizes)
    return data[:at] + new + data[at + len(new) :]


def _exif(**tags):
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[int(tag[1:], 16)] = value
    return exif


@functools.cache
def contents(height: int, width: int) -> dict:
    """Returns {kind: Content} of images of one size; the same in every call."""
    rng = np.random.default_rng([height, width])
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([100 + 90 * np.sin(x / 5 + phase + y / 7) for phase in range(3)], -1)
    rgb = (rgb + rng.integers(0, 40, rgb.shape)).astype(np.uint8)
    image, gray = Image.fromarray(rgb), rgb[..., 0]
    gray3 = np.repeat(gray[..., None], 3, axis=2)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(gray))
    palette = image.quantize(8)
    of_palette = np.array(palette.convert("RGB"))
    turned = np.rot90(rgb).copy()  # orientation 6 brings it upright
    one_bit = np.repeat(((gray > 99) * np.uint8(255))[..., None], 3, axis=2)
    two = {"save_all": True, "append_images": [image.rotate(180)]}
    made = {
        "png": (lambda: saved(rgb, "PNG"), ".png", rgb),
        "png gray": (lambda: saved(gray, "PNG"), ".png", gray3),
        "png alpha": (lambda: saved(alpha, "PNG"), ".png", rgb),
        "png gray alpha": (lambda: saved(alpha.convert("LA"), "PNG"), ".png", True),
        "png palette": (lambda: saved(palette, "PNG"), ".png", of_palette),
        "png see-through": (lambda: saved(palette, "PNG", transparency=bytes(range(8))), ".png", of_palette),
        "png 1 bit": (lambda: saved(Image.fromarray(gray > 99), "PNG"), ".png", one_bit),
        "png 16 bit": (lambda: saved(gray.astype(np.uint16) * 257, "PNG"), ".png", gray3),
        "png turned": (lambda: saved(turned, "PNG", exif=_exif(x0112=6)), ".png", rgb),
        "png trailing": (lambda: saved(rgb, "PNG") + b"\xff\0more", ".png", rgb),
        "jpeg": (lambda: saved(rgb, "JPEG", quality=90), ".jpg", True),
        "jpeg gray": (lambda: saved(gray, "JPEG"), ".jpeg", True),
        "jpeg progressive": (lambda: saved(rgb, "JPEG", progressive=True), ".JPG", True),
        "jpeg cmyk": (lambda: saved(image.convert("CMYK"), "JPEG"), ".jpg", True),
        "jpeg exif": (
            lambda: saved(rgb, "JPEG", exif=_exif(x010E="x" * 60000, x0112=1), comment=b"c" * 60000),
            ".jpg",
            True,
        ),
        "jpeg bad exif": (lambda: saved(rgb, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\0\0zzzz"), ".jpg", True),
        "png bad exif": (lambda: saved(rgb, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09ab"), ".png", True),
        "mpo": (lambda: saved(image, "MPO", **two), ".jpg", True),
        "gif": (lambda: saved(palette, "GIF"), ".gif", of_palette),
        "gif animated": (lambda: saved(image, "GIF", **two), ".gif", None),
        "webp": (lambda: saved(rgb, "WEBP", lossless=True), ".webp", rgb),
        "webp lossy": (lambda: saved(rgb, "WEBP", quality=80), ".webp", True),
        "webp animated": (lambda: saved(image, "WEBP", **two), ".webp", None),
        "png animated": (lambda: saved(image, "PNG", **two), ".png", None),
        "bmp": (lambda: saved(rgb, "BMP"), ".bmp", rgb),
        "tiff": (lambda: saved(rgb, "TIFF"), ".tif", rgb),
        "tiff lzw": (lambda: saved(rgb, "TIFF", compression="tiff_lzw"), ".tiff", rgb),
        "tiff jpeg": (lambda: saved(rgb, "TIFF", compression="jpeg"), ".tiff", True),
        "tiff float": (lambda: saved(gray.astype(np.float32), "TIFF"), ".tif", None),
        "tiff 32 bit": (lambda: saved(gray.astype(np.int32), "TIFF"), ".tif", None),
        "tiff 16 bit": (lambda: saved(gray.astype(np.uint16) * 257, "TIFF"), ".tif", gray3),
        "tiff pages": (lambda: saved(image, "TIFF", **two), ".tif", None),
        "tiff lab": (lambda: saved(Image.frombytes("LAB", image.size, rgb.tobytes()), "TIFF"), ".tif", True),
        "ppm": (lambda: saved(rgb, "PPM"), ".ppm", rgb),
        "tga": (lambda: saved(rgb, "TGA"), ".tga", rgb),
        "pcx": (lambda: saved(rgb, "PCX"), ".pcx", rgb),
        "jpeg 2000": (lambda: saved(rgb, "JPEG2000"), ".jp2", rgb),
        "avif": (lambda: saved(rgb, "AVIF"), ".avif", True),
        "sgi": (lambda: saved(rgb, "SGI"), ".sgi", rgb),
        "eps": (lambda: saved(rgb, "EPS"), ".png", None),
        "pdf": (lambda: saved(rgb, "PDF"), ".jpg", None),
        "icns": (lambda: saved(Image.new("RGBA", (16, 16)), "ICNS"), ".png", None),
    }
    found = {}
    for kind, (make, suffix, shown) in made.items():
        with contextlib.suppress(OSError, ValueError, SystemError):  # not every kind supports every size
            data = make()
            if shown is True:  # lossy: the pixels that Pillow alone decodes
                shown = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
            found[kind] = Content(data, suffix, shown)
    return found


def bombs() -> dict:
    """Returns {kind: Content} of files that claim more pixels than they have."""
    tiny = Image.new("RGB", (8, 8))
    jpeg, gif, tiff = saved(tiny, "JPEG"), saved(tiny, "GIF"), saved(tiny, "TIFF")
    bmp, webp, jp2 = saved(tiny, "BMP"), saved(tiny, "WEBP"), saved(tiny, "JPEG2000", no_jp2=True)
    pixels = chunk(b"IDAT", zlib.compress(bytes(5000))) + chunk(b"IEND")
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))
    return {
        "png beyond": Content(png_header(60000, 50000) + pixels, ".png"),
        "png just allowed": Content(png_header(17000, 17000) + pixels, ".png"),
        "png text": Content(png_header(8, 8) + text + saved(tiny, "PNG")[33:], ".png"),
        "jpeg beyond": Content(_resized_header(jpeg, b"\xff\xc0", 5, ">HH", 65500, 65500), ".jpg"),
        "gif beyond": Content(_resized_header(gif, b"GIF8", 6, "<HH", 65535, 65535), ".gif"),
        "bmp beyond": Content(_resized_header(bmp, b"BM", 18, "<ii", 2**31 - 1, 2**31 - 1), ".bmp"),
        "bmp just allowed": Content(_resized_header(bmp, b"BM", 18, "<ii", 17000, 17000), ".bmp"),
        "webp just allowed": Content(_resized_header(webp, b"\x9d\x01\x2a", 3, "<HH", 16383, 16383), ".webp"),
        "jp2 just allowed": Content(_resized_header(jp2, b"\xff\x51", 6, ">II", 17000, 17000), ".jp2"),
        "tiff just allowed": Content(_tiff_sizes(tiff, 17000, 17000), ".tif"),
        "tiff beyond": Content(_tiff_sizes(tiff, 2**31 - 1, 2**31 - 1), ".tif"),
        "ppm just allowed": Content(b"P6 17000 17000 255\n" + bytes(100), ".ppm"),
        "ppm beyond": Content(b"P6 99999999999999999999 9999999999 255\n" + bytes(100), ".ppm"),
    }


def blanks() -> dict:
    """Returns {kind: Content} of files of some hundred bytes that decode to large, empty images."""
    tiny = Image.new("RGB", (8, 8))
    jpeg, jp2 = saved(tiny, "JPEG"), saved(tiny, "JPEG2000", no_jp2=True)
    jp2 = _resized_header(jp2, b"\xff\x51", 6, ">II", 2000, 2000)
    return {
        "jpeg blank": Content(_resized_header(jpeg, b"\xff\xc0", 5, ">HH", 2000, 2000), ".jpg"),
        "jp2 blank": Content(_resized_header(jp2, b"\xff\x51", 22, ">II", 2000, 2000), ".jp2"),
    }


def _tiff_sizes(data, width, height):
    (at,) = struct.unpack_from("<I", data, 4)
    data = bytearray(data)
    for number in range(struct.unpack_from("<H", data, at)[0]):
        entry = at + 2 + 12 * number
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", data, entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


MAGICS = b"II*\0 MM\0* GIF89a BM \xff\xd8\xff\xe0 \x89PNG\r\n\x1a\n RIFF8\0\0\0WEBPVP8L 8BPS %!PS-Adobe P5 P6 P7 qoif"
MAGICS += (
    b" \x76\x2f\x31\x01 \0\0\1\0 SIMPLE icns \0\0\0\x0cjP DDS /*_XPM_*/ #define \x0a\x05\1\x08 FORM %PDF- GRIB BLP2"
)
JUNK = {f"magic {n}": Content(m + bytes(range(64)), ".png") for n, m in enumerate(MAGICS.split(b" "))}
JUNK |= {
    "empty": Content(b"", ".png"),
    "one byte": Content(b"\x89", ".png"),
    "zeros": Content(bytes(4000), ".jpg"),
    "text": Content(b"no image at all\n", ".jpg"),
    "html": Content(b"<!doctype html><title>404</title>", ".png"),
    "svg": Content(b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".png"),
    "no IDAT": Content(png_header(8, 8) + chunk(b"IEND"), ".png"),
    "png 0x0": Content(png_header(0, 0) + chunk(b"IDAT") + chunk(b"IEND"), ".png"),
    "short IHDR": Content(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\1") + chunk(b"IEND"), ".png"),
}
ODD = JUNK | bombs() | blanks()
SPARSE = "sparse"  # an intact PNG, followed by this many zeros
SPARSE_BYTES = 2 * 2**30
WHOLE = sorted(kind for kind, content in contents(16, 20).items() if content.rgb is not None)
PLAIN = ("png", "jpeg", "png gray", "jpeg gray", "bmp", "webp")
SIZES = ((16, 20), (1, 1), (3, 2), (33, 17), (1, 40), (64, 5))


@dataclasses.dataclass(frozen=True)
class FuzzedFile:
    """The content of one file: a kind of `contents` in one of `SIZES`, or of `ODD`, and its damage."""

    kind: str
    size: int = 0
    damage: tuple | None = None  # kind, place (0 to 1), byte

    def make(self) -> Content:
        images = contents(*SIZES[self.size])
        content = ODD.get(self.kind) or images.get(self.kind) or images["png"]
        if self.damage is None:
            return content
        return Content(damaged(content.data, *self.damage), content.suffix)


def damaged(data: bytes, kind: str, place: float, byte: int) -> bytes:
    at = min(int(place * len(data)), max(0, len(data) - 1))
    head, tail = data[:at], data[at:]
    return {
        "flip": head + bytes(b ^ (byte or 1) for b in tail[:1]) + tail[1:],
        "cut": head,
        "lose": head + tail[1 + byte :],
        "insert": head + bytes([byte]) * (1 + byte) + tail,
        "zeros": head + bytes(len(tail)),
        "twice": data + tail,
    }[kind]


DAMAGES = st.tuples(
    st.sampled_from(("flip", "flip", "cut", "lose", "insert", "zeros", "twice")),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
)
