"""TFRecord frames without TensorFlow: the bytes that `tf.io.TFRecordWriter` writes, and a walk over them.

A frame is the payload's length (uint64), the masked CRC32C of that, the payload, and its masked CRC32C.
"""

import os
import struct

import google_crc32c

from hazeheal.data import records

_MASK_DELTA = 0xA282EAD8  # of tensorflow/core/lib/hash/crc32c.h: a CRC of data that holds CRCs is weak


def ends(payload: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind `payload` in a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return length + _masked_crc(length), _masked_crc(payload)


def walk(path):
    """Yields the payloads of a TFRecord file as long as both CRCs of each frame are right.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while len(header := file.read(records.FRAME_HEADER_BYTES)) == records.FRAME_HEADER_BYTES:
            if header[8:] != _masked_crc(header[:8]):
                return
            (length,) = struct.unpack("<Q", header[:8])
            if length > size - file.tell():  # before memory is asked for
                return
            payload = file.read(length)
            if file.read(records.FRAME_FOOTER_BYTES) != _masked_crc(payload):
                return
            yield payload


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)
