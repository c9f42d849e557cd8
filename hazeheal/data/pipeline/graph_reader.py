"""Reads records inside a tf.data pipeline, one Python call per batch, and handles damaged ones.

A record is damaged if it cannot be read or its CRC is wrong. `on_bad_record` says what happens then:

    fail    the dataset fails, and `translate_error` names the record
    skip    the next intact record in the order is used instead

A damaged record is tried again whenever its turn comes, so neither a restart nor another replica, which has read
other records, changes a batch. A record with the right CRC whose image cannot be decoded was written like that, and
ends the dataset in both modes.
"""

import collections
import itertools
import logging
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline.decode import decode_image, split_records
from hazeheal.data.pipeline.record_reader import RecordReader
from hazeheal.data.records import Split
from hazeheal.errors import DataError

LOG = logging.getLogger("hazeheal")

# Number of records that are tried in place of a damaged one. If a tenth of all records is damaged, 17 in a row are
# met once in 10^17 positions; if half is, once in 130,000, and such a data set should not be used.
MAX_SUBSTITUTES = 16

# A read from a network disk or an object store takes up to tens of milliseconds, but many are served at once. Whether a
# directory is on such a disk is not visible, and with a local disk most of these calls wait for the decoding threads.
CONCURRENT_READS = 32
READ_AHEAD_BYTES = 256 * 2**20  # of large records, fewer are read at once
MAX_IN_FLIGHT = 4096  # the latest records that were read; more than the datasets hold at once


class GraphReader:
    """Reads the records of one split in the functions of a dataset.

    Args:
        reader: The kind of reader (see `RecordReader`).
        on_bad_record: `fail` or `skip`.

    Attributes:
        num_candidates: How many candidates `read` takes for each record.
    """

    def __init__(self, split: Split, *, reader: str, on_bad_record: str):
        self._split = split
        self._reader = RecordReader(split, reader)
        self._skip = on_bad_record == "skip"
        self.num_candidates = 1 + MAX_SUBSTITUTES if self._skip else 1
        # A read must not wait for a Python lock (see `record_reader`), and logging takes several. So reads only store
        # messages, with operations that the interpreter executes in one step, and `log_bad_records` logs them.
        self._warnings: dict[int, str] = {}
        self._logged: set[int] = set()
        # For `translate_error`: the errors of damaged records, and the records that are being decoded.
        self._errors: dict[str, DataError] = {}
        self._error_ids = itertools.count()
        self._in_flight = collections.deque(maxlen=MAX_IN_FLIGHT)

    @property
    def bad_records(self) -> tuple[int, ...]:
        """Numbers of all damaged records, found or noted, in ascending order."""
        return tuple(sorted(self._warnings))  # sorted() copies a dict of integers in one step.

    def note_bad_records(self, numbers: Iterable[int]) -> None:
        """Adds damaged records that were logged before."""
        for number in numbers:
            if number not in self._warnings:
                self._warnings[number] = ""
                self._logged.add(number)

    def log_bad_records(self) -> None:
        """Logs a warning for each record that was not logged yet. Do not call this within a read."""
        for number in self.bad_records:
            if number not in self._logged:
                self._logged.add(number)
                LOG.warning("%s", self._warnings[number])

    def read(self, candidates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Reads a record for each row of `candidates`.

        Args:
            candidates: int64 `[n, num_candidates]` of known shape: the number of a record, and of those that are used in
                turn if it is damaged.

        Returns:
            Numbers (int64 `[n]`), sizes (int32 `[n, 2]`: height, width) and payloads (string `[n]`).
        """
        numbers, sizes, payloads, message = tf.numpy_function(
            tf.autograph.experimental.do_not_convert(self._read_intact),
            [candidates],
            [tf.int64, tf.int32, tf.string, tf.string],
            stateful=False,
        )
        # The graph raises the error. Raised in the call, TensorFlow would print Python's traceback three times.
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(message, ""), [message])]):
            numbers = tf.ensure_shape(numbers, candidates.shape[:1])
            sizes = tf.ensure_shape(sizes, [candidates.shape[0], 2])
            payloads = tf.ensure_shape(payloads, candidates.shape[:1])
        return numbers, sizes, payloads

    def concurrent_batches(self, batch_size: int) -> int:
        """Returns how many calls of `read` for `batch_size` records each should run at the same time."""
        record_bytes = int(self._split.index["length"].mean())
        return max(2, min(CONCURRENT_READS, READ_AHEAD_BYTES // (batch_size * record_bytes)))

    def options(self, *, workers: int, batch_size: int) -> tf.data.Options:
        """Returns the options of a dataset that reads `batch_size` records at once and decodes with `workers` threads."""
        options = tf.data.Options()
        options.deterministic = True
        # A fixed number of threads: autotuning starts with one and takes minutes to reach as many.
        options.autotune.enabled = False
        # Threads that wait for a read need no core.
        options.threading.private_threadpool_size = workers + self.concurrent_batches(batch_size)
        options.threading.max_intra_op_parallelism = 1
        # The positions decide which process reads what, so TensorFlow must not shard the data set as well.
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return options

    def _read_intact(self, candidates):
        """Returns numbers, sizes and payloads of the first intact record of each row, and an error message."""
        numbers, payloads, message = candidates[:, 0].copy(), np.full(len(candidates), b"", object), b""
        try:
            for place, alternatives in enumerate(candidates.tolist()):
                numbers[place], payloads[place] = self._first_intact(alternatives)
            self._in_flight.extend(numbers.tolist())
        except DataError as error:
            error_id = f"data error {next(self._error_ids)}:"
            self._errors[error_id] = error
            message = f"{error_id} {error}".encode()
        rows = self._split.index[numbers]
        sizes = np.stack([rows["height"], rows["width"]], axis=1).astype(np.int32)
        return numbers, sizes, payloads, message

    def _first_intact(self, candidates):
        """Returns number and payload of the first intact record, and stores a warning for each one before it."""
        errors = {}
        for number in dict.fromkeys(candidates):  # A small data set repeats within a few positions.
            try:
                payload = self._reader.read(number)
            except DataError as error:
                if not self._skip:
                    raise
                errors[number] = error
                continue
            for bad, error in errors.items():
                self._warnings.setdefault(bad, f"skipped: {error}; the next intact record is used instead")
            return number, payload
        for bad, error in errors.items():
            self._warnings.setdefault(bad, f"not skipped, as no intact record follows: {error}")
        raise DataError(
            f"{errors[candidates[0]]}; {len(errors) - 1} other records were tried instead, and none is intact"
        )

    def translate_error(self, error: BaseException) -> DataError | None:
        """See `DehazeDataProcessor.translate_error`."""
        if not isinstance(error, tf.errors.OpError):
            return None
        for error_id, data_error in self._errors.items():
            if error_id in str(error):
                return data_error
        for number in list(self._in_flight):
            try:
                payload = self._reader.read(number)
            except DataError:
                continue  # It was intact when it was read.
            try:
                size = [int(self._split.index[side][number]) for side in ("height", "width")]
                for images in split_records([payload]):
                    decode_image(images[0], size)
            except tf.errors.OpError as decode_error:
                return DataError(
                    f"an image cannot be decoded: {self._split.describe(number)}: "
                    f"{decode_error.message.splitlines()[0]}; convert the data set again"
                )
        return None
