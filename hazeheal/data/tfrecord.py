"""TFRecord frames without TensorFlow: the bytes that `tf.io.TFRecordWriter` writes, and a reader of them.

A frame is the payload's length (uint64), the masked CRC32C of the length, the payload, and the payload's masked
CRC32C.
"""

import os
import pathlib
import struct
from collections.abc import Iterator

import google_crc32c

FRAME_HEADER_BYTES = 12
FRAME_FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8  # of tensorflow/core/lib/hash/crc32c.h: a CRC of data that holds CRCs is weak


def frame_ends(payload: bytes) -> tuple[bytes, bytes]:
    """Returns the bytes before and after `payload` in a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return length + _masked_crc(length), _masked_crc(payload)


def frame(payload: bytes) -> bytes:
    """Returns `payload` as it is stored in a TFRecord file."""
    header, footer = frame_ends(payload)
    return header + payload + footer


def read_frames(path: str | os.PathLike) -> Iterator[bytes]:
    """Yields the payloads of a TFRecord file up to the first frame that is torn or whose CRCs are wrong.

    Raises:
        OSError: The file cannot be read.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        while len(header := file.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
            if header[8:] != _masked_crc(header[:8]):
                return
            (length,) = struct.unpack("<Q", header[:8])
            if length > size - file.tell():  # before that much memory is allocated
                return
            payload = file.read(length)
            if file.read(FRAME_FOOTER_BYTES) != _masked_crc(payload):
                return
            yield payload


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)
