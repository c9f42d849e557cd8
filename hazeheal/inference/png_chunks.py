"""Copies the metadata chunks of one PNG file into another, byte for byte (https://www.w3.org/TR/png-3)."""

import struct
import zlib

from hazeheal.data.images.passthrough import PNG_SIGNATURE

# Color space and profile, resolution and time. XMP is written separately, and so is eXIf; ImageMagick's "Raw profile" texts
# are left out, as they repeat them.
_COPIED = {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"tIME"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_TEXTS_LEFT_OUT = (b"XML:com.adobe.xmp\0", b"Raw profile type ")
_HEADER_END = len(PNG_SIGNATURE) + 25


def bit_depth(data: bytes) -> int:
    """Returns the number of bits per channel, or per palette index."""
    return data[24]


def is_gray(data: bytes) -> bool:
    """Whether a PNG has one gray channel, with or without alpha."""
    return data[25] in (0, 4)


def metadata_chunks(data: bytes) -> bytes:
    """Returns the metadata chunks of a PNG, concatenated."""
    chunks, position = [], len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        is_text = kind in _TEXTS and not content.startswith(_TEXTS_LEFT_OUT)
        if kind in _COPIED or is_text:
            chunks.append(data[position : position + 12 + length])
        position += 12 + length
        if kind == b"IEND":
            break
    return b"".join(chunks)


def with_chunks(data: bytes, chunks: bytes, *, exif: bytes = b"", xmp: bytes = b"", icc: bytes = b"") -> bytes:
    """Inserts chunks after the header of a PNG, and EXIF data (with or without the prefix `Exif`), XMP and a profile."""
    if exif:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if xmp:
        chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    if icc:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    return data[:_HEADER_END] + chunks + data[_HEADER_END:]


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
