"""IPTC and XMP: texts that photographers and editors add to an image, such as captions, keywords and rights.

Both may hold what is no longer right in a restored image: a preview, which shows the haze, and XMP an orientation, which
has been applied to the pixels. `upright_xmp` and `without_previews` change only that.
"""

import re
import struct

_ORIENTATION = re.compile(rb"(tiff:Orientation\s*=\s*[\"']|<tiff:Orientation>\s*)\d")
_PREVIEW = re.compile(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails>", re.DOTALL)
_PHOTOSHOP, _RESOURCE, _PREVIEWS = b"Photoshop 3.0\0", b"8BIM", (1033, 1036)
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_LONGEST = 65533  # of the content of a JPEG segment


def upright_xmp(xmp: bytes) -> bytes:
    """Sets the orientation of an XMP packet to 1 and removes its previews."""
    return _PREVIEW.sub(b"", _ORIENTATION.sub(rb"\g<1>1", xmp))


def without_previews(resources: bytes) -> bytes:
    """Removes the previews from Photoshop's image resources, among which are those of IPTC.

    Resources that are damaged are returned as they are.
    """
    kept, position = [], 0
    try:
        while position < len(resources):
            signature, number, length = struct.unpack_from(">4sHB", resources, position)
            start = position + 6 + (length + 2) // 2 * 2  # behind the name, with its length padded to an even number
            (size,) = struct.unpack_from(">I", resources, start)
            end = start + 4 + (size + 1) // 2 * 2
            if signature != _RESOURCE:
                return resources
            if number not in _PREVIEWS:
                kept.append(resources[position:end])
            position = end
    except struct.error:
        return resources
    return b"".join(kept)


def read_photoshop(segments: list[tuple[str, bytes]]) -> bytes:
    """Returns the image resources of the segments of a JPEG (Pillow's `applist`), without previews; b"" if it has none."""
    found = (content for name, content in segments if name == "APP13" and content.startswith(_PHOTOSHOP))
    return without_previews(b"".join(content.removeprefix(_PHOTOSHOP) for content in found))


def add_to_jpeg(data: bytes, *, xmp: bytes = b"", photoshop: bytes = b"") -> bytes:
    """Inserts an XMP packet and image resources into a JPEG behind its other application segments.

    A packet that is too long for a segment is left out.
    """
    segments = []
    if xmp and len(_XMP + xmp) <= _LONGEST:
        segments.append(b"\xff\xe1" + struct.pack(">H", len(_XMP + xmp) + 2) + _XMP + xmp)
    most = _LONGEST - len(_PHOTOSHOP)
    for start in range(0, len(photoshop), most):
        content = _PHOTOSHOP + photoshop[start : start + most]
        segments.append(b"\xff\xed" + struct.pack(">H", len(content) + 2) + content)
    if not segments:
        return data
    position = 2
    while data[position] == 0xFF and 0xE0 <= data[position + 1] <= 0xEF:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return data[:position] + b"".join(segments) + data[position:]
