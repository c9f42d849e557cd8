"""TFRecord frames without TensorFlow: the bytes that `tf.io.TFRecordWriter` writes.

A frame is the payload's length (uint64), the masked CRC32C of the length, the payload, and the payload's masked
CRC32C.
"""

import struct

import google_crc32c

FRAME_HEADER_BYTES = 12
FRAME_FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8  # of tensorflow/core/lib/hash/crc32c.h: a CRC of data that holds CRCs is weak


def frame(payload: bytes) -> bytes:
    """Returns `payload` as it is stored in a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return length + _masked_crc(length) + payload + _masked_crc(payload)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)
