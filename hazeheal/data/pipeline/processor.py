"""DehazeDataProcessor: shards -> augmented batches, in an order that is a function of (seed, step).

    processor = DehazeDataProcessor("records/rice1", batch_size=4, crop_size=256)
    for batch in processor.dataset(start_step=1000):   # as quick as start_step=0
        batch["hazy"], batch["clear"]                  # uint8 [4, 256, 256, 3]

The order. Step t takes positions p = t B + i, i = 0..B-1 (B: global batch), whatever the number of
replicas; replica r takes the i in [r b, (r + 1) b), b = B / replicas. Position p is place p % N of
epoch p // N, and each epoch is a permutation of all N pairs, of its own. Nothing is dropped: a batch
may begin in one epoch and end in the next. Augmentation depends on (seed, p) alone. Hence no state is
kept: a run that resumes at step t just begins to count there, and 1, 2 or 4 replicas, in one process or
several, see the same images.

The pipeline. positions -> record numbers -> bytes (one Python call a batch, CRC compared) -> decode
the crop alone, in parallel -> fresh haze, where it is asked for -> turn and mirror -> batch. Images stay
uint8: they are normalized on the device, which costs nothing there and a third of the throughput here.

A damaged record ends the run, which names it, or is skipped (`on_bad_record`): then position p takes the
next whole record in the order, with the augmentation of p. That, too, is a function of (seed, p) and of
which records are damaged.
"""

import functools

import numpy as np
import tensorflow as tf

from hazeheal.data import records
from hazeheal.data.pipeline import augment, haze_augmentation
from hazeheal.data.pipeline.decode import decode_crop, decode_whole, decode_window, resized, split_record
from hazeheal.data.pipeline.graph_reader import GraphReader
from hazeheal.data.pipeline.haze_settings import FreshHaze
from hazeheal.data.pipeline.record_reader import open_reader
from hazeheal.data.pipeline.shuffle import shuffled_numbers
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.cpu import usable_cores


class DehazeDataProcessor:
    """Reads one split of a data set made by `hazeheal-tfrecords convert`.

    Args:
        data_dir: The data set's directory.
        split: `train` or `val`.
        batch_size: Global batch: pairs a step, over all replicas of all processes.
        crop_size: Side of the square training crops in pixels; without `window_min` at most the smallest image's
            shorter side. None: no `dataset`, only `evaluation_dataset`.
        window_min: Above 0, a crop is a window of at least this share of each side of the image, resized to
            `crop_size` (`augment.random_window`); any image is then large enough.
        num_replicas: Replicas of all processes together.
        local_replicas: Global numbers of the replicas that this process feeds, ascending; all by default.
        seed: Any 64-bit integer; decides the order and the augmentation.
        flip, rot90: Which augmentations to apply (see `augment.flip_rot90`).
        haze: A `fresh_haze_settings.FreshHaze`: inputs that `dataset` makes in place of the data set's own; None: none.
        workers: Threads that decode; by default one for each CPU core this process may use.
        reader: `auto`, `local` or `gfile` (see `readers`).
        on_bad_record: What to do about a record that cannot be read or whose CRC is wrong: `fail`, or
            `skip` (see `graph_reader`), which logs it once, as a warning of the logger "hazeheal".

    Raises:
        UsageError: A value that cannot be meant; the message says which would do.
        DataError: The data set is missing or damaged.
    """

    def __init__(
        self,
        data_dir,
        *,
        split="train",
        batch_size,
        crop_size=None,
        window_min=0.0,
        num_replicas=1,
        local_replicas=None,
        seed=0,
        flip=True,
        rot90=True,
        haze=None,
        workers=None,
        reader="auto",
        on_bad_record="fail",
    ):
        _check_at_least(1, batch_size=batch_size, num_replicas=num_replicas)
        _check_at_least(-(2**63), seed=seed)
        if batch_size % num_replicas:
            lower = batch_size // num_replicas * num_replicas
            fitting = [str(size) for size in (lower, lower + num_replicas) if size]
            raise UsageError(
                f"batch_size={batch_size} does not divide over {num_replicas} replicas; use {' or '.join(fitting)}"
            )
        if seed >= 2**63:
            raise UsageError(f"seed={seed} does not fit into 64 bits; use a smaller one")
        if local_replicas is None:
            local_replicas = range(num_replicas)
        self._local_replicas = tuple(local_replicas)
        ascending = sorted(set(self._local_replicas) & set(range(num_replicas)))
        if not ascending or self._local_replicas != tuple(ascending):
            raise UsageError(
                f"local_replicas={list(self._local_replicas)} must be ascending numbers "
                f"from 0 to {num_replicas - 1}, at least one"
            )
        if workers is None:
            workers = usable_cores()
        _check_at_least(1, workers=workers)

        self._split = records.open_split(data_dir, split)
        if not len(self._split):
            raise DataError(f"split {split!r} of {data_dir} holds no records; convert again with more pairs")
        if crop_size is not None:
            _check_at_least(1, crop_size=crop_size)
            if not window_min:
                self._check_crop_fits(crop_size)
        self._reader = open_reader(self._split, kind=reader)
        self._batch_size = batch_size
        self._crop_size = crop_size
        self._window_min = window_min
        self._num_replicas = num_replicas
        self._seed = seed
        self._flip = flip
        self._rot90 = rot90
        self._haze = haze if haze is not None and haze.is_on else None
        self._workers = workers
        self._records = GraphReader(
            self._split,
            self._reader,
            on_bad_record=on_bad_record,
            remembered=32 * (batch_size + workers),
        )

    @classmethod
    def from_config(
        cls, config, data_dir, *, split, num_replicas=1, local_replicas=None, on_bad_record="fail"
    ):
        """The reader of one split as a configuration describes it; `crop_size` is for its training split alone."""
        data = config.data
        return cls(
            data_dir,
            split=split,
            batch_size=config.train.batch_size,
            crop_size=data.crop_size if split == data.train_split else None,
            window_min=data.window_min,
            num_replicas=num_replicas,
            local_replicas=local_replicas,
            seed=config.seed,
            flip=data.flip,
            rot90=data.rot90,
            haze=FreshHaze(**data.fresh_haze) if split == data.train_split else None,
            workers=data.workers or None,
            reader=data.reader,
            on_bad_record=on_bad_record,
        )

    @property
    def num_images(self) -> int:
        """N: pairs in the split, and so positions in an epoch."""
        return len(self._split)

    @property
    def bad_records(self) -> tuple:
        """Numbers of the records found damaged so far with `on_bad_record="skip"`, in ascending order.

        Of several processes, each finds those that it reads.
        """
        return self._records.bad.numbers

    def note_bad_records(self, numbers) -> None:
        """Counts the `bad_records` of a run that is resumed; they are not logged again.

        What is read does not depend on it: a record that is whole again is used again.

        Raises:
            UsageError: One of them is not the number of a record.
        """
        self._records.bad.preload(numbers)

    def dataset(self, start_step=0) -> tf.data.Dataset:
        """Training batches from step `start_step` on, without end.

        Made for `strategy.distribute_datasets_from_function`: the batches of step t for each local
        replica in turn, then those of step t + 1.

        Args:
            start_step: The first step, at least 0; any takes the same time to start at.

        Returns:
            Dataset of {`hazy`, `clear`: uint8 [b, S, S, 3] in [0, 255]; `number`: int64 [b], the records
            in the split's index}, b = batch_size / num_replicas, S = crop_size. Reading fails with a
            `tf.errors.OpError`, which `translate_error` explains.

        Raises:
            UsageError: `start_step` is negative, or there is no `crop_size`.
        """
        _check_at_least(0, start_step=start_step)
        if self._crop_size is None:
            raise UsageError("crop_size=None serves evaluation alone; give the side of the training crops")
        share = self._batch_size // self._num_replicas
        local_replicas = tf.constant(self._local_replicas, tf.int64)
        grain = None if self._haze is None else haze_augmentation.make_grain(self._crop_size)

        def order(positions):
            return shuffled_numbers(positions, seed=self._seed, count=self.num_images)

        def read(turn):
            step = turn // len(self._local_replicas)
            replica = local_replicas[turn % len(self._local_replicas)]
            positions = step * self._batch_size + replica * share + tf.range(share, dtype=tf.int64)
            return positions, *self._records.read(positions, order)

        def decode(position, number, size, payload):
            real, clear = self._crops(payload, size, seed=[self._seed, 2 * position])
            if self._haze is None:
                hazy, clear = real(), clear()
            else:
                clear = clear()
                hazy = haze_augmentation.training_input(
                    clear, real, settings=self._haze, seed=self._seed, position=position, grain=grain
                )
            hazy, clear = augment.flip_rot90(
                hazy, clear, seed=[self._seed, 2 * position + 1], flip=self._flip, rot90=self._rot90
            )
            return {"hazy": hazy, "clear": clear, "number": number}

        turns = tf.data.Dataset.counter(start_step * len(self._local_replicas))
        batches = turns.map(read, num_parallel_calls=self._reader.batches_at_once).unbatch()
        # Twice as many calls as threads: the order is kept, so that a slow image makes the next ones wait,
        # and meanwhile the threads have others to decode.
        batches = batches.map(decode, num_parallel_calls=2 * self._workers).batch(share, drop_remainder=True)
        return batches.prefetch(2 * len(self._local_replicas)).with_options(self._options())

    def _crops(self, payload, size, *, seed):
        """Functions that decode the same crop of the hazy and of the clear image."""
        side, (height, width) = self._crop_size, tf.unstack(size)
        if self._window_min:
            y, x, rows, columns = augment.random_window(height, width, least=self._window_min, seed=seed)

            def decode(image):
                window = decode_window(image, y, x, rows=rows, columns=columns, width=width)
                return resized(window, side)
        else:
            y, x = augment.random_crop_window(height, width, size=side, seed=seed)

            def decode(image):
                return decode_crop(image, y, x, size=side, width=width)

        return tuple(functools.partial(decode, image) for image in split_record(payload))

    def evaluation_dataset(self, *, replica=0, replicas=1) -> tf.data.Dataset:
        """Whole images, one by one, in the order of the index, each once.

        Args:
            replica, replicas: To share the work: take records `replica`, `replica` + `replicas`, ...

        Returns:
            Finite dataset of {`hazy`, `clear`: uint8 [H, W, 3] in [0, 255], of each pair's own size;
            `number`: int64 scalar}.

        Raises:
            UsageError: `replica` is not one of `replicas`.
        """
        _check_at_least(1, replicas=replicas)
        if not 0 <= replica < replicas:
            raise UsageError(f"replica={replica} is not one of {replicas} replicas; use 0 to {replicas - 1}")

        def order(positions):
            return positions % self.num_images

        def read(position):
            number, size, payload = self._records.read(position[tf.newaxis], order)
            return number[0], size[0], payload[0]

        def decode(number, size, payload):
            hazy, clear = (decode_whole(image, size) for image in split_record(payload))
            return {"hazy": hazy, "clear": clear, "number": number}

        positions = tf.data.Dataset.range(replica, self.num_images, replicas)
        images = positions.map(read, num_parallel_calls=self._reader.batches_at_once)
        images = images.map(decode, num_parallel_calls=self._workers).prefetch(1)
        return images.with_options(self._options())

    def translate_error(self, error) -> DataError | None:
        """Says what the data had to do with an error raised while a dataset of this processor was read.

        TensorFlow wraps what goes wrong inside a dataset in an error of its own, with its own words around
        the message; and its decoders do not know which record they were given.

        Args:
            error: What was caught.

        Returns:
            The DataError that names shard, record and source, or None: the data had no part in it.
        """
        return self._records.explain(error)

    def _check_crop_fits(self, crop_size):
        sides = np.minimum(self._split.index["height"], self._split.index["width"])
        smallest = int(np.argmin(sides))
        if crop_size > sides[smallest]:
            row = self._split.index[smallest]
            raise UsageError(
                f"crop_size={crop_size} is larger than the smallest image, {row['width']}x{row['height']} "
                f"pixels: {self._split.describe(smallest)}; use crop_size={sides[smallest]} or less"
            )

    def _options(self):
        options = tf.data.Options()
        options.deterministic = True
        # Fixed numbers of threads: autotuning starts with one and takes minutes to find as many.
        options.autotune.enabled = False
        # Threads that wait for a remote store are no workers; a local read takes too little time to count.
        waiting = self._reader.batches_at_once if self._reader.kind == "gfile" else 0
        options.threading.private_threadpool_size = self._workers + waiting
        options.threading.max_intra_op_parallelism = 1
        # Which process reads what is decided here, by positions; TensorFlow must not shard on top.
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return options


def _check_at_least(lowest, **values):
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < lowest:
            raise UsageError(f"{name}={value!r} is no integer of {lowest} or more")
