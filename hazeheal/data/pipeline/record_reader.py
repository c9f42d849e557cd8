"""Reads single records from shards in any order, and names every damaged one.

A read must not take a Python lock. It therefore uses no thread pool and imports no module. The reason: the garbage
collector can run inside a read and delete an abandoned iterator. TensorFlow then waits for the reads that this iterator
has started. If one of them waits for a lock that the collecting read holds, both wait forever. This deadlock occurred
with `concurrent.futures`.
"""

import os
import re

import tensorflow as tf

from hazeheal.data.records import Split, check_payload
from hazeheal.errors import DataError
from hazeheal.utils.console import error_text


class RecordReader:
    """Reads records of one split by number; safe to call from several threads.

    No file stays open between two calls, so any number of shards works, and a shard that is replaced or damaged
    during training is noticed.

    Args:
        kind: `local` for everything that the operating system can open, `gfile` for other file systems (gs://, s3://,
            ram://), or `auto` to choose by the addresses of the shards.

    Attributes:
        kind: `local` or `gfile`.
    """

    def __init__(self, split: Split, kind: str = "auto"):
        self._split = split
        # pathlib writes `gs://bucket/x` as `gs:/bucket/x`.
        self._addresses = [re.sub(r"^([a-z][a-z0-9]+):/+", r"\1://", os.fspath(shard)) for shard in split.shards]
        if kind == "auto":
            kind = "gfile" if any("://" in address for address in self._addresses) else "local"
        self.kind = kind
        self._read_bytes = _read_local if kind == "local" else _read_gfile

    def read(self, number: int) -> bytes:
        """Returns the payload of record `number` (0 to N - 1) after checking its CRC.

        Raises:
            DataError: The shard cannot be read, or the bytes are not those that were written.
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


def _read_local(address, offset, length):
    # os.open is unbuffered. A buffered file reads ahead what a random order never uses. A memory map would kill the
    # process (SIGBUS) at the end of a truncated shard, where pread returns fewer bytes.
    descriptor = os.open(address, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


def _read_gfile(address, offset, length):
    with tf.io.gfile.GFile(address, "rb") as file:
        file.seek(offset)
        return file.read(length)
