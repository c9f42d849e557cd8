"""Which files' bytes may go into a record unchanged.

Records contain encoded images that TensorFlow decodes. It ignores EXIF, CMYK and alpha, so only an upright 8-bit RGB
or gray JPEG or PNG gives the same pixels as with Pillow: bit for bit for PNG, and for JPEG with
`dct_method="INTEGER_ACCURATE"`, whatever the chroma subsampling. `tf.image.decode_image`, and `tf.io.decode_jpeg`
without that method, use a faster transform that differs by up to 7 levels of 255.
"""

import dataclasses
import re
import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GRAY, PNG_RGB, PNG_PALETTE = 0, 2, 3  # color types
# Huffman-coded baseline, extended and progressive. Not every decoder has arithmetic and lossless coding.
JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
JPEG_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
JPEG_SCAN, JPEG_END = 0xDA, 0xD9
# In a scan, 0xFF followed by zero is data, and D0 to D7 are restart markers. Any other marker ends the scan.
_SCAN_ENDS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclasses.dataclass(frozen=True)
class Passthrough:
    """Whether a file's bytes can stand for the image.

    Attributes:
        reusable: The bytes are an upright 8-bit RGB or gray JPEG or PNG, which TensorFlow decodes to the same
            `[H, W, 3]` as `load_rgb` returns.
        format: The file's format in lower case: `jpeg`, `png`, `tiff`, ...
        reason: Why the bytes are not reusable; empty if they are.
    """

    reusable: bool
    format: str
    reason: str


def inspect_file(data: bytes, *, format: str) -> Passthrough:
    """Checks the structure of a file before it is decoded. The orientation is not checked.

    `format` is Pillow's name: `JPEG`, `MPO` (a JPEG followed by more images), `PNG`, ...

    Raises:
        ValueError: A JPEG or PNG has no end, or a PNG has a wrong checksum. Pillow accepts some of these: it does not
            check the CRC of pixels, and accepts a JPEG whose tail is zeros because it was never written.
    """
    kind = "jpeg" if format == "MPO" else format.lower()
    inspect = {"jpeg": _inspect_jpeg, "png": _inspect_png}.get(kind)
    reason = inspect(data) if inspect else f"{kind}, not JPEG or PNG"
    return Passthrough(reusable=not reason, format=kind, reason=reason)


def _inspect_png(data: bytes) -> str:
    """Returns why the bytes of a PNG are not reusable, or an empty string."""
    view, kinds, header, position = memoryview(data), set(), b"", len(PNG_SIGNATURE)
    while b"IEND" not in kinds:
        head = data[position : position + 8]
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"next")
        end = position + 12 + length
        if len(head) < 8 or end > len(data):
            raise ValueError(f"the PNG ends in its {kind.decode('latin-1')} chunk, before IEND")
        content = view[position + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(view[end - 4 : end], "big"):
            raise ValueError(f"wrong CRC in the PNG's {kind.decode('latin-1')!r} chunk")
        if kind == b"IHDR":
            header = bytes(content)
        kinds.add(kind)
        position = end
    depth, color = header[8:10]
    if color not in (PNG_GRAY, PNG_RGB):
        return "PNG with a palette" if color == PNG_PALETTE else "PNG with alpha"
    if depth != 8:
        return f"PNG of {depth} bits"
    if b"tRNS" in kinds:
        return "PNG with a transparent color"
    return "PNG with animation chunks" if b"acTL" in kinds else ""


def _inspect_jpeg(data: bytes) -> str:
    """Returns why the bytes of a JPEG are not reusable, or an empty string."""
    reason, position = "JPEG without a frame header", 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 2 > len(data):
            raise ValueError("the JPEG ends before its end marker")
        marker = data[position + 1]
        if marker == JPEG_END:
            return reason
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in JPEG_FRAMES:
            components = data[position + 9 : position + 10]
            reason = "" if components in (b"\1", b"\3") else "JPEG in CMYK"
        elif marker in JPEG_OTHER_FRAMES:
            reason = f"JPEG of coding process {marker - 0xC0}"
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == JPEG_SCAN:
            end = _SCAN_ENDS.search(data, position)
            position = end.start() if end else len(data)
