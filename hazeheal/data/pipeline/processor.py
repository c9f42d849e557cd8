"""DehazeDataProcessor: shards -> augmented batches, in an order that is a function of (seed, step).

    processor = DehazeDataProcessor("records/rice1", batch_size=4, crop_size=256)
    for batch in processor.dataset(start_step=1000):   # starts as fast as start_step=0
        batch["hazy"], batch["clear"]                  # uint8 [4, 256, 256, 3]

There is no state: order and augmentation are functions of (seed, position), see `plan`, so a run can resume at any step,
and 1, 2 or 4 replicas, in one process or several, see the same images.

Pipeline. plan -> bytes of the records -> crops, decoded in parallel -> other haze and light, if configured -> batch ->
rotation and mirroring. With a cache of decoded images (`pixel_cache`) the crops are copied from it, and the batches are
the same bit for bit. Images stay uint8; the device normalizes them, and in training also rotates and mirrors them.
"""

import functools
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import ml_collections
import tensorflow as tf

from hazeheal.data import records
from hazeheal.data.pipeline import augment, haze_augmentation
from hazeheal.data.pipeline.decode import resize, with_margins
from hazeheal.data.pipeline.graph_reader import GraphReader
from hazeheal.data.pipeline.haze_settings import HazeSettings
from hazeheal.data.pipeline.mix import Mix
from hazeheal.data.pipeline.pixel_cache import PixelCache, cache_path, is_complete
from hazeheal.data.pipeline.plan import plan_dataset
from hazeheal.data.pipeline.sources import CacheSource, RecordSource
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.cpu import usable_cores

DECODED_PIXELS = 1 << 26  # of the pairs that an evaluation decodes ahead, at 6 bytes each


class DehazeDataProcessor:
    """Reads one split of a data set made by `hazeheal-tfrecords convert`.

    Args:
        data_dir: The directory of the data set.
        split: Name of the split.
        batch_size: Global batch: pairs per step over all replicas of all processes, a multiple of `num_replicas`.
        crop_size: Side of the square training crops in pixels. Without `window_min` it is at most the shorter side of
            the smallest image. With None, only `evaluation_dataset` is available.
        window_min: If above 0, a crop is a window of at least this share of each side of the image, resized to
            `crop_size` (`augment.random_windows`), and images of any size are large enough.
        num_replicas: Number of replicas of all processes.
        local_replicas: Global numbers of the replicas that this process feeds, ascending; all by default.
        seed: 64-bit integer that determines order and augmentation.
        mix: The share of the images of `dataset` that each part of the split gets, as `mix` describes; empty: all
            pairs are used equally often.
        flip, rot90: Whether to mirror and rotate (see `augment.random_orientations`).
        haze: Settings of the haze augmentation of `dataset`, or None.
        relight_share, relight_darkest, relight_tint: The light of the pairs of `dataset` (see `augment.draw_light`).
        workers: Number of threads that decode; 0 for one per CPU core that this process may use.
        reader: `auto`, `local` or `gfile` (see `record_reader`).
        on_bad_record: What to do with damaged records: `fail` or `skip` (see `graph_reader`).

    Raises:
        UsageError: A value is invalid; the message names valid ones.
        DataError: The data set is missing or damaged.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        *,
        split: str = "train",
        batch_size: int,
        crop_size: int | None = None,
        window_min: float = 0.0,
        num_replicas: int = 1,
        local_replicas: Iterable[int] | None = None,
        seed: int = 0,
        mix: str = "",
        flip: bool = True,
        rot90: bool = True,
        haze: HazeSettings | None = None,
        relight_share: float = 0.0,
        relight_darkest: float = 1.0,
        relight_tint: float = 0.0,
        workers: int = 0,
        reader: str = "auto",
        on_bad_record: str = "fail",
    ):
        if not -(2**63) <= seed < 2**63:
            raise UsageError(f"seed={seed} does not fit into 64 bits; use a smaller one")
        sizes = {"batch_size": batch_size, "num_replicas": num_replicas, "crop_size": crop_size}
        for name, value in sizes.items():
            if value is not None and value < 1:
                raise UsageError(f"{name}={value} must be a positive integer")
        if batch_size % num_replicas:
            below = batch_size // num_replicas * num_replicas
            use = f"{below} or {below + num_replicas}" if below else str(num_replicas)
            raise UsageError(f"batch_size={batch_size} does not divide over {num_replicas} replicas; use {use}")
        for name, value, choices in (
            ("reader", reader, ("auto", "local", "gfile")),
            ("on_bad_record", on_bad_record, ("fail", "skip")),
        ):
            if value not in choices:
                raise UsageError(f"{name}={value!r} is not valid; use one of {', '.join(choices)}")
        self._split = records.open_split(data_dir, split)
        if not len(self._split):
            raise DataError(f"split {split!r} of {data_dir} has no records; convert again with more pairs")
        if crop_size is not None and not window_min:
            self._split.check_crop(crop_size)
        self._local_replicas = tuple(range(num_replicas) if local_replicas is None else local_replicas)
        self._batch_size = batch_size
        self._crop_size = crop_size
        self._window_min = window_min
        self._num_replicas = num_replicas
        self._seed = seed
        self.mix = Mix(mix, self._split) if mix.strip() else None
        self._flip, self._rot90 = flip, rot90
        self._haze = haze if haze and haze.is_on else None
        self._light = {"share": relight_share, "darkest": relight_darkest, "tint": relight_tint}
        self._grain = haze_augmentation.make_grain(crop_size) if self._haze and crop_size else None
        self._workers = workers or usable_cores()
        self._records = GraphReader(self._split, reader=reader, on_bad_record=on_bad_record)
        self._source: RecordSource | CacheSource = RecordSource(self._records)
        self._evaluation_datasets: dict[tuple, tf.data.Dataset] = {}

    @classmethod
    def from_config(
        cls, config: ml_collections.ConfigDict, data_dir: str | os.PathLike, *, split: str, **options: Any
    ) -> "DehazeDataProcessor":
        """Opens one split as a configuration describes it, with more options of the class.

        Crops and haze augmentation are for the training split.
        """
        data = config.data
        is_training = split == data.train_split
        settings = {
            "batch_size": config.train.batch_size,
            "crop_size": data.crop_size if is_training else None,
            "window_min": data.window_min,
            "seed": config.seed,
            "mix": data.mix if is_training else "",
            "flip": data.flip,
            "rot90": data.rot90,
            "haze": HazeSettings(**data.fresh_haze) if is_training else None,
            "relight_share": data.relight_share if is_training else 0.0,
            "relight_darkest": data.relight_darkest,
            "relight_tint": data.relight_tint,
            "workers": data.workers,
            "reader": data.reader,
        }
        return cls(data_dir, split=split, **settings | options)

    @property
    def num_images(self) -> int:
        """N: the number of pairs in the split, and of positions in an epoch, with a mix too."""
        return len(self._split)

    @property
    def bad_records(self) -> tuple[int, ...]:
        """Numbers of the damaged records that this process has skipped or noted, in ascending order."""
        return self._records.bad_records

    def log_bad_records(self) -> None:
        """Logs a warning for each new damaged record. Reads do not log, because they must not wait for a lock."""
        self._records.log_bad_records()

    def note_bad_records(self, numbers: Iterable[int]) -> None:
        """Adds the `bad_records` of the resumed run, which were logged. It does not change what is read."""
        self._records.note_bad_records(numbers)

    @property
    def split(self) -> records.Split:
        """The open split."""
        return self._split

    def open_cache(self, directory: pathlib.Path) -> bool:
        """Lets the datasets that are made from now on read decoded images from a cache, if it is complete.

        Returns whether this call opened it, so that datasets made before are worth replacing.
        """
        path = cache_path(directory, self._split)
        if isinstance(self._source, CacheSource) or not is_complete(path, self._split):
            return False
        self._source = CacheSource(PixelCache(path, self._split), self._split)
        return True

    def dataset(self, start_step: int = 0, *, orient: bool = True) -> tf.data.Dataset:
        """Returns the training batches from step `start_step` on, without end, as fast for any step.

        For `strategy.distribute_datasets_from_function`: the batches of step t for each local replica in turn, then
        those of step t + 1.

        Args:
            start_step: First step.
            orient: Whether to rotate and mirror. False: a training does it on its devices, with `augment.orient`.

        Returns:
            Dataset of {`hazy`, `clear`: uint8 `[b, S, S, 3]` in [0, 255]; `number`: int64 `[b]`, the records in the
            split's index; `orientation`: int32 `[b]`, unless `orient`}, with b = batch_size / num_replicas and
            S = crop_size. Reading fails with a `tf.errors.OpError`, which `translate_error` explains.

        Raises:
            UsageError: `crop_size` is None.
        """
        if self._crop_size is None:
            raise UsageError("crop_size=None is for evaluation only; give the side of the training crops")
        replica_batch = self._batch_size // self._num_replicas
        plans = plan_dataset(
            start_step=start_step,
            batch_size=self._batch_size,
            num_replicas=self._num_replicas,
            local_replicas=self._local_replicas,
            seed=self._seed,
            count=self.num_images,
            num_candidates=self._records.num_candidates,
            mix=self.mix,
        )
        if isinstance(self._source, CacheSource) and not (
            self._window_min or self._haze or self._light["share"] or orient
        ):
            batches = plans.map(self._copy_batch, num_parallel_calls=self._workers)
        else:
            rows = plans.map(self._read_batch, num_parallel_calls=self._records.concurrent_batches(replica_batch))
            # Twice as many calls as threads: the order is kept, so a slow image delays the next ones, and the threads
            # need others to decode meanwhile.
            make = functools.partial(self._make_pair, orient=orient)
            pairs = rows.unbatch().map(make, num_parallel_calls=2 * self._workers)
            batches = pairs.batch(replica_batch, drop_remainder=True)
        return batches.prefetch(2 * len(self._local_replicas)).with_options(
            self._records.options(workers=self._workers, batch_size=replica_batch)
        )

    def _read_batch(self, plan):
        """Reads the records of a batch and chooses windows and orientations."""
        rows = self._source.read(plan["candidates"])
        if self._window_min:
            window = augment.random_windows(plan["crop_bits"], rows["size"], least=self._window_min)
        else:
            window = augment.random_crops(plan["crop_bits"], rows["size"], crop_size=self._crop_size)
        return {
            **rows,
            "position": plan["position"],
            "window": window,
            "outer": with_margins(window, rows["size"]),
            "orientation": augment.random_orientations(plan["orientation_bits"], flip=self._flip, rot90=self._rot90),
        }

    def _make_pair(self, row, *, orient):
        """Cuts the windows of a pair and augments it."""
        sides = ("hazy", "clear")
        cut = functools.partial(self._source.cut, row)
        if self._window_min:
            # Resizing both at once takes as long as resizing one.
            resized = resize(tf.concat([cut(side) for side in sides], axis=-1), self._crop_size)
            cut = dict(zip(sides, tf.split(resized, 2, axis=-1), strict=True)).__getitem__

        def image(side):
            return tf.ensure_shape(cut(side), [self._crop_size, self._crop_size, 3])

        clear = image("clear")
        if self._haze is None:
            hazy = image("hazy")
        else:
            hazy = haze_augmentation.training_input(
                clear,
                lambda: image("hazy"),
                settings=self._haze,
                seed=self._seed,
                position=row["position"],
                grain=self._grain,
            )
        if self._light["share"]:
            light = augment.draw_light(seed=self._seed, position=row["position"], **self._light)
            hazy, clear = (augment.relight(x, light) for x in (hazy, clear))
        pair = {"hazy": hazy, "clear": clear, "number": row["number"], "orientation": row["orientation"]}
        if orient:
            del pair["orientation"]
            pair |= {name: augment.orient_image(pair[name], row["orientation"]) for name in ("hazy", "clear")}
        return pair

    def _copy_batch(self, plan):
        """`_read_batch` and `_make_pair` for a whole batch, where there is nothing to do but to copy."""
        rows = self._read_batch(plan)
        hazy, clear = self._source.crops(rows, self._crop_size)
        return {"hazy": hazy, "clear": clear, "number": rows["number"], "orientation": rows["orientation"]}

    def evaluation_dataset(self, *, replica: int = 0, replicas: int = 1) -> tf.data.Dataset:
        """Returns the whole images one by one, in the order of the index, each once.

        One of several replicas gets the records `replica`, `replica` + `replicas`, ... As many pairs are decoded ahead as
        there are workers, or fewer, so that pairs of the largest size have at most `DECODED_PIXELS`.

        Returns:
            Finite dataset of {`hazy`, `clear`: uint8 `[H, W, 3]` in [0, 255], of each pair's own size; `number`:
            int64 scalar}.
        """
        key = (replica, replicas, self._source)
        if key not in self._evaluation_datasets:  # tracing its functions takes longer than reading a few images
            self._evaluation_datasets[key] = self._make_evaluation_dataset(replica, replicas)
        return self._evaluation_datasets[key]

    def _make_evaluation_dataset(self, replica, replicas):
        def read(position):
            candidates = (position + tf.range(self._records.num_candidates, dtype=tf.int64)) % self.num_images
            return {name: values[0] for name, values in self._source.read(candidates[tf.newaxis]).items()}

        def make_pair(row):
            images = {side: self._source.whole(row, side) for side in ("hazy", "clear")}
            return {**images, "number": row["number"]}

        rows = tf.data.Dataset.range(replica, self.num_images, replicas)
        rows = rows.map(read, num_parallel_calls=self._records.concurrent_batches(1))
        at_once = max(1, min(DECODED_PIXELS // self._split.largest_image(), self._workers))
        images = rows.map(make_pair, num_parallel_calls=at_once)
        return images.with_options(self._records.options(workers=self._workers, batch_size=1))

    def translate_error(self, error: BaseException) -> DataError | None:
        """Returns a DataError that names shard, record and source, or None if the data did not cause the error.

        TensorFlow wraps errors inside a dataset in its own, and its decoders do not know which record they decode.
        """
        return self._records.translate_error(error)
