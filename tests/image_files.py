"""Image files, written by Pillow and by hand, for tests that read them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from hazeheal.data.images.image_io import encode


def scene(height=48, width=64, seed=0):
    """Returns smooth colors with some noise, which a JPEG encoder treats like a photograph."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7 + y / 13), np.cos(x / 11), np.sin(y / 5 - x / 17)], -1)
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    return np.clip(127 + 110 * waves + noise, 0, 255).astype(np.uint8)


def saved(image, format, **options):
    """Returns the bytes of a file, saved from a copy, because encoders leave settings on an image that break others."""
    copied = (image if isinstance(image, Image.Image) else Image.fromarray(image)).copy()
    if "append_images" in options:
        options["append_images"] = [other.copy() for other in options["append_images"]]
    buffer = io.BytesIO()
    copied.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width, height, *, depth=8, color=2, interlaced=False):
    """Returns the beginning of a PNG, to the end of IHDR."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def raw_png(samples, *, depth=8, color=2, interlaced=False, extra=b""):
    """Returns a PNG of `samples` [H, W, C], integers, for kinds that Pillow cannot write."""
    height, width, _ = samples.shape
    # Adam7: first column, first row, and the steps of each pass.
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = b""
    for x, y, dx, dy in passes if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::dy, x::dx]
        for row in part if part.shape[1] else ():
            row = row.reshape(-1)
            if depth == 16:
                data = row.astype(">u2").tobytes()
            else:
                bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
                data = np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()
            rows += b"\0" + data
    header = png_header(width, height, depth=depth, color=color, interlaced=interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return header + extra + pixels + chunk(b"IEND")


def resample(jpeg, factors):
    """Changes the sampling factors of the first component, which arranges the same blocks differently."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 11] + bytes([factors]) + jpeg[at + 12 :]


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


RGB = scene()
GRAY = RGB[..., 0]
IMAGE = Image.fromarray(RGB)
GAMMA = (
    chunk(b"gAMA", struct.pack(">I", 100000))
    + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    + chunk(b"sBIT", b"\5\6\5")
)
RGBA = IMAGE.copy()
RGBA.putalpha(Image.fromarray(GRAY))
PALETTE = IMAGE.quantize(32)
REUSABLE = {
    "png": encode(RGB),
    "png gray": saved(GRAY, "PNG"),
    "png interlaced": raw_png(RGB, interlaced=True),
    "png gray interlaced": raw_png(GRAY[..., None], color=0, interlaced=True),
    "png one pixel interlaced": raw_png(RGB[:1, :1], interlaced=True),
    "png gamma": raw_png(RGB, extra=GAMMA + chunk(b"bKGD", struct.pack(">3H", 9, 9, 9))),
    "png sRGB": raw_png(RGB, extra=chunk(b"sRGB", b"\0")),
    "png bytes after the end": encode(RGB) + b"trailing",
    "png orientation 1": saved(RGB, "PNG", exif=exif(1)),
    "jpeg 4:4:4": encode(RGB, format="jpeg"),
    "jpeg 4:2:2": saved(RGB, "JPEG", subsampling=1, quality=90),
    "jpeg 4:2:0": saved(RGB, "JPEG", subsampling=2, quality=60),
    "jpeg 4:4:0": resample(saved(RGB, "JPEG", subsampling=1), 0x12),
    "jpeg 4:1:1": resample(saved(RGB, "JPEG", subsampling=2), 0x41),
    "jpeg odd size": saved(RGB[:47, :61], "JPEG"),
    "jpeg one pixel": saved(RGB[:1, :1], "JPEG"),
    "jpeg gray": saved(GRAY, "JPEG"),
    "jpeg progressive": saved(RGB, "JPEG", progressive=True),
    "jpeg progressive gray": saved(GRAY, "JPEG", progressive=True),
    "jpeg restart markers": saved(RGB, "JPEG", restart_marker_blocks=2),
    "jpeg of RGB components": saved(RGB, "JPEG", keep_rgb=True, subsampling=0),
    "jpeg orientation 1": saved(RGB, "JPEG", exif=exif(1)),
    "jpeg bytes after the end": saved(RGB, "JPEG") + bytes(100),
    "jpeg damaged EXIF": saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff"),
    "mpo": saved(IMAGE, "MPO", save_all=True, append_images=[IMAGE.rotate(180)]),
}

TWO = {"save_all": True, "append_images": [IMAGE.rotate(180)]}
PAGES = saved(IMAGE, "TIFF", **TWO)
REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"no image at all", "not an image"),
    "html": (b"<!doctype html><title>404</title>", "not an image"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "truncated"),
    "gif of two": (saved(IMAGE, "GIF", **TWO), "animated.*2 frames"),
    "png of two": (saved(IMAGE, "PNG", **TWO), "animated.*2 frames"),
    "webp of two": (saved(IMAGE, "WEBP", **TWO), "animated.*2 frames"),
    "tiff of two": (PAGES, "animated.*2 frames"),
    "float": (saved(np.ones((4, 4), np.float32), "TIFF"), "float samples"),
    "32-bit": (saved(np.ones((4, 4), np.int32), "TIFF"), "32-bit integer samples"),
    "eps": (saved(RGB, "EPS"), "EPS"),
    "truncated jpeg": (encode(RGB, format="jpeg")[:-200], "truncated"),
    "truncated png": (encode(RGB)[:-200], "truncated"),
    "truncated webp": (saved(RGB, "WEBP")[:-50], "truncated"),
    "truncated tiff": (saved(RGB, "TIFF")[:-200], "truncated"),
    "truncated gif": (saved(IMAGE, "GIF")[:-200], "truncated"),
    "truncated bmp": (saved(RGB, "BMP")[:-200], "truncated"),
    "png without IEND": (encode(RGB)[:-12], "truncated.*before IEND"),
    "jpeg without its end marker": (encode(RGB, format="jpeg")[:-2], "truncated"),
    "jpeg with a tail of zeros": (encode(RGB, format="jpeg")[:-500] + bytes(500), "truncated"),
}
