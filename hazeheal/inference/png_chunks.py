"""Copies the metadata chunks of one PNG file into another, byte for byte (https://www.w3.org/TR/png-3)."""

import struct
import zlib

from hazeheal.data.images.passthrough import PNG_SIGNATURE

# Color space and profile, resolution and time. XMP and ImageMagick's "Raw profile" texts are left out, as they may
# contain an orientation that has been applied already. eXIf is written separately.
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


def with_chunks(data: bytes, chunks: bytes, *, exif: bytes = b"") -> bytes:
    """Inserts chunks, and EXIF data with or without the prefix `Exif`, after the header of a PNG."""
    if exif:
        body = b"eXIf" + exif.removeprefix(b"Exif\0\0")
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:_HEADER_END] + chunks + data[_HEADER_END:]
