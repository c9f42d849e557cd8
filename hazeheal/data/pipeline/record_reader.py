"""Takes single records out of shards, in any order, and names every one that is damaged.

Two readers give the same bytes:

    local   open, pread, close: for anything the operating system can open
    gfile   tf.io.gfile: for file systems it cannot open (gs://, s3://, ram://)

A memory map was tried for local files and is not used. It saves 5 microseconds a record of 30 kB (5.5
against 10.5; decoding takes 2,000), but a map holds a descriptor for each shard, and reading past the
end of a shard that was truncated in the meantime kills the process (SIGBUS) where pread returns
fewer bytes and the record can be named. tf.data.FixedLengthRecordDataset with header and footer
offsets reads remote files too, but takes about 1 ms a record where gfile takes 0.1.

Reading takes no Python lock, which is why there is no pool of threads here and no import within a
function. The garbage collector may run inside a read and find an iterator that was given up; to delete it,
TensorFlow waits for the reads that it has under way, and if one of those waited for a lock of the read
that is collecting, neither would ever end (seen with concurrent.futures).
"""

import os
import re

import numpy as np
import tensorflow as tf

from hazeheal.data.records import Split, check_payload
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import error_text

READERS = ("auto", "local", "gfile")

# Batches to read at the same time. A local file is read faster than it is decoded; an object store takes
# tens of milliseconds for an answer, but gives many at once.
BATCHES_AT_ONCE = {"local": 2, "gfile": 16}


def open_reader(split: Split, *, kind="auto"):
    """Returns a `RecordReader` of `split`; `auto` looks at the address of the shards.

    Raises:
        UsageError: `kind` is none of `READERS`.
    """
    if kind not in READERS:
        raise UsageError(f"reader={kind!r} is not known; use one of {', '.join(READERS)}")
    addresses = [_address(shard) for shard in split.shards]
    if kind == "auto":
        kind = "gfile" if any("://" in address for address in addresses) else "local"
    return RecordReader(split, addresses, kind)


class RecordReader:
    """Reads records of one split by number; safe to call from several threads.

    No file stays open between two calls, so that the number of shards meets no limit, and a shard
    that is replaced or damaged while training is noticed.

    Attributes:
        kind: `local` or `gfile`.
        batches_at_once: How many threads should call `read_many` at the same time.
    """

    def __init__(self, split: Split, addresses, kind):
        self.kind = kind
        self._split = split
        self._addresses = addresses
        self._read_bytes = _read_local if kind == "local" else _read_gfile
        self.batches_at_once = BATCHES_AT_ONCE[kind]

    def read(self, number: int) -> bytes:
        """Returns the payload of record `number` (0 to N - 1) after comparing its CRC.

        Raises:
            DataError: The shard cannot be read, or the bytes are not those written; the message
                names the shard, the record, its key and its source files.
        """
        row = self._split.index[number]
        address = self._addresses[row["shard"]]
        try:
            payload = self._read_bytes(address, int(row["offset"]), int(row["length"]))
        except (OSError, tf.errors.OpError) as error:
            raise DataError(
                f"unreadable record: {self._split.describe(number)}: {error_text(error)}; "
                f"run `hazeheal-tfrecords verify {self._split.sources.parent}`"
            ) from error
        check_payload(payload, split=self._split, record=number)
        return payload

    def read_many(self, numbers) -> np.ndarray:
        """Returns the payloads of several records as an [n] array of bytes objects."""
        payloads = np.empty(len(numbers), object)
        payloads[:] = [self.read(int(number)) for number in numbers]
        return payloads


def _read_local(address, offset, length):
    # An unbuffered file, as a buffered one reads ahead what a random order never uses.
    descriptor = os.open(address, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        parts = []
        while length:
            part = os.pread(descriptor, length, offset)
            if not part:
                break  # The shard ends early; the CRC names the record.
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def _read_gfile(address, offset, length):
    with tf.io.gfile.GFile(address, "rb") as file:
        file.seek(offset)
        return file.read(length)


def _address(path) -> str:
    """The address of a shard; pathlib writes `gs://bucket/x` as `gs:/bucket/x`, this undoes it."""
    return re.sub(r"^([a-z][a-z0-9]+):/+", r"\1://", os.fspath(path))
