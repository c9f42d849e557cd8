"""Reads records inside a dataset: positions -> numbers -> sizes and payloads, one Python call a batch.

What becomes of a damaged record (unreadable, or its CRC is wrong) is decided here:

    fail    the dataset fails, and `explain` names the record
    skip    the next whole record in the order takes its place

With `skip`, too, what is read is a function of the position and of which records are damaged. Nothing is
remembered of a damaged record but that it was: it is tried again whenever its turn comes, so that neither
a restart nor another replica, which has seen other records, changes a batch. A record whose CRC is right
and whose image cannot be decoded was written like that; it ends the dataset with `skip`, too.
"""

import collections
import itertools

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline.bad_records import BadRecords, start_logging
from hazeheal.data.pipeline.decode import decode_whole, split_record
from hazeheal.errors import DataError, UsageError

ON_BAD_RECORD = ("fail", "skip")

# How many records may be tried in the place of one. Where a tenth of all records is damaged, 17 in a row are met
# once in 10^17 positions; where half is, once in 130,000, and such a data set should not be trained on.
MAX_SUBSTITUTES = 16


class GraphReader:
    """The records of one split, for use in the functions of a dataset.

    Args:
        split: A `records.Split`.
        reader: Its `readers.RecordReader`.
        on_bad_record: One of `ON_BAD_RECORD`.
        remembered: How many records can be on their way to the decoder.

    Attributes:
        bad: The `BadRecords` found with `skip`.

    Raises:
        UsageError: `on_bad_record` is not known.
    """

    def __init__(self, split, reader, *, on_bad_record, remembered):
        if on_bad_record not in ON_BAD_RECORD:
            raise UsageError(
                f"on_bad_record={on_bad_record!r} is not known; use one of {', '.join(ON_BAD_RECORD)}"
            )
        self._split = split
        self._reader = reader
        self._skip = on_bad_record == "skip"
        self.bad = BadRecords(len(split))
        if self._skip:
            start_logging()
        # For `explain`: what was damaged, and which records are on their way to the decoder.
        self._damaged = {}
        self._marks = itertools.count()
        self._in_flight = collections.deque(maxlen=remembered)

    def read(self, positions, order):
        """Reads the records at [n] int64 positions.

        Args:
            positions: The positions, a tensor of known shape.
            order: A function of tensors, any number of positions -> the numbers of their records.

        Returns:
            numbers ([n] int64), sizes ([n, 2] int32: height, width) and payloads ([n] string) of the
            records that were read.
        """
        if self._skip:
            ahead = positions[:, tf.newaxis] + tf.range(1 + MAX_SUBSTITUTES, dtype=tf.int64)
            candidates = tf.reshape(order(tf.reshape(ahead, [-1])), ahead.shape)
            numbers, *found = self._call(self._read_whole, candidates, tf.int64)
            numbers = tf.ensure_shape(numbers, positions.shape)
        else:
            numbers = order(positions)
            found = self._call(self._read_all, numbers)
        sizes, payloads, problem = found
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, ""), [problem])]):
            sizes = tf.ensure_shape(sizes, [positions.shape[0], 2])
            payloads = tf.ensure_shape(payloads, positions.shape)
        return numbers, sizes, payloads

    @staticmethod
    def _call(function, numbers, *kinds):
        function = tf.autograph.experimental.do_not_convert(function)
        return tf.numpy_function(
            function, [numbers], [*kinds, tf.int32, tf.string, tf.string], stateful=False
        )

    def _read_all(self, numbers):
        self._in_flight.extend(numbers.tolist())
        try:
            return self._sizes(numbers), self._reader.read_many(numbers), b""
        except DataError as damaged:
            return self._sizes(numbers), *self._failure(len(numbers), damaged)

    def _read_whole(self, candidates):
        numbers, payloads = candidates[:, 0].copy(), np.empty(len(candidates), object)
        try:
            for place, several in enumerate(candidates.tolist()):
                numbers[place], payloads[place] = self._first_whole(several)
        except DataError as damaged:
            return numbers, self._sizes(numbers), *self._failure(len(numbers), damaged)
        self._in_flight.extend(numbers.tolist())
        return numbers, self._sizes(numbers), payloads, b""

    def _first_whole(self, candidates):
        """Number and payload of the first record that is whole; those before it are noted."""
        damaged = {}
        for number in dict.fromkeys(candidates):  # a small data set comes around within a few positions
            try:
                payload = self._reader.read(number)
            except DataError as error:
                damaged[number] = error
                continue
            for bad, error in damaged.items():
                self.bad.add(bad, f"skipped: {error}; the next whole one takes its place")
            return number, payload
        for bad, error in damaged.items():
            self.bad.add(bad, f"not skipped, as no whole one follows: {error}")
        raise DataError(
            f"{damaged[candidates[0]]}; {len(damaged) - 1} others were tried in its place, and none is whole"
        )

    def _sizes(self, numbers):
        rows = self._split.index[numbers]
        return np.stack([rows["height"], rows["width"]], axis=1).astype(np.int32)

    def _failure(self, count, damaged):
        # Raised in the call, TensorFlow would print Python's traceback three times over.
        mark = f"data error {next(self._marks)}:"
        self._damaged[mark] = damaged
        return np.full(count, b"", object), f"{mark} {damaged}".encode()

    def explain(self, error) -> DataError | None:
        """See `DehazeDataProcessor.translate_error`."""
        if not isinstance(error, tf.errors.OpError):
            return None
        for mark, damaged in self._damaged.items():
            if mark in str(error):
                return damaged
        for number in list(self._in_flight):
            try:
                payload = self._reader.read(number)
            except DataError as damaged:
                if self._skip:
                    continue  # It was whole when it was read, and would be skipped now.
                return damaged
            try:
                size = [int(self._split.index[side][number]) for side in ("height", "width")]
                for image in split_record(payload):
                    decode_whole(image, size)
            except tf.errors.OpError as undecodable:
                return DataError(
                    f"an image cannot be decoded: {self._split.describe(number)}: "
                    f"{undecodable.message.splitlines()[0]}; convert the data set again"
                )
        return None
