"""The chunks of a PNG that say something about its image: taken from one file, put into another.

Of https://www.w3.org/TR/png-3. Their bytes stay as they are, so that nothing is lost on the way through a library.
"""

import struct
import zlib

from hazeheal.data.images.passthrough import PNG_SIGNATURE

# Color space and profile, resolution, time and text. XMP and ImageMagick's "Raw profile" texts may hold an
# orientation that has been applied; eXIf is written anew.
_KEPT = {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"tIME"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_OF_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type ")
_AFTER_HEADER = len(PNG_SIGNATURE) + 25


def bit_depth(data: bytes) -> int:
    """Bits a channel (or of an index into a palette)."""
    return data[24]


def is_gray(data: bytes) -> bool:
    """Whether it holds one channel of light, with or without alpha."""
    return data[25] in (0, 4)


def kept_chunks(data: bytes) -> bytes:
    """Returns the whole chunks of a PNG that are kept, one behind the other."""
    kept, position = [], len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        text = kind in _TEXTS and not content.startswith(_OF_ORIENTATION)
        if kind in _KEPT or text:
            kept.append(data[position : position + 12 + length])
        position += 12 + length
        if kind == b"IEND":
            break
    return b"".join(kept)


def with_chunks(data: bytes, chunks: bytes, *, exif: bytes = b"") -> bytes:
    """Puts chunks, and EXIF with or without its `Exif` in front, behind the header of a PNG."""
    if exif:
        body = b"eXIf" + exif.removeprefix(b"Exif\0\0")
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:_AFTER_HEADER] + chunks + data[_AFTER_HEADER:]
