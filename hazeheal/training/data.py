"""The data of one run: its splits, the batches of its replicas and the caches of decoded images."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from hazeheal.data.pipeline.cache_builder import CacheBuilder, choose_directory
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.runtime import Runtime
from hazeheal.utils.cpu import usable_cores

LOG = logging.getLogger("hazeheal")


class TrainingData:
    """The part of a data set that one process of a training reads.

    Attributes:
        train: Reads the training split.
        val: Reads the validation split; None if there is none.
    """

    def __init__(
        self, config: ConfigDict, data_dir: str | pathlib.Path, *, runtime: Runtime, on_bad_record: str = "fail"
    ):
        """Opens the splits and chooses where their decoded images are kept.

        Raises:
            DataError: The data set is missing or damaged.
            UsageError: The decoded images do not fit into the directory of `data.cache`.
        """
        self._config = config
        self._data_dir = data_dir
        self._runtime = runtime
        self.train = self._open(config.data.train_split, on_bad_record=on_bad_record)
        self.val = None
        if config.data.val_split:
            self.val = self._open(config.data.val_split, on_bad_record=on_bad_record)
        splits = [processor.split for processor in (self.train, self.val) if processor is not None]
        self._cache_directory, self._no_cache = choose_directory(config.data.cache, splits)

    def _open(self, split, *, on_bad_record="fail"):
        devices, group = len(self._runtime.devices), self._runtime.group
        return DehazeDataProcessor.from_config(
            self._config,
            self._data_dir,
            split=split,
            num_replicas=self._runtime.replicas,
            local_replicas=range(group * devices, (group + 1) * devices),
            workers=self._config.data.workers or max(1, usable_cores() // self._runtime.groups_on_host),
            on_bad_record=on_bad_record,
        )

    def describe(self) -> str:
        """Returns the directory of the data set and the numbers of its pairs."""
        validation = f"{self.val.num_images} validation" if self.val else "no validation"
        mix = "" if self.train.mix is None else f"; mix: {self.train.mix.describe()}"
        return f"{self._data_dir}: {self.train.num_images} training, {validation} pairs{mix}"

    def build_caches(self) -> contextlib.AbstractContextManager:
        """Returns a context in which the decoded images of both splits are written to the cache, if there is one."""
        if self._cache_directory is None:
            LOG.info("no cache of decoded images: %s", self._no_cache)
            return contextlib.nullcontext()
        names = [name for name in (self._config.data.train_split, self._config.data.val_split) if name]
        # Processors of its own: those of the training count the damaged records that they skip.
        return CacheBuilder(self._cache_directory, [self._open(name) for name in names])

    def open_cache(self, processor: DehazeDataProcessor) -> bool:
        """Lets `train` or `val` read from its cache if that is complete; returns whether this call opened it."""
        return self._cache_directory is not None and processor.open_cache(self._cache_directory)

    def batches_from(self, step: int) -> Iterator:
        """Returns the batches of this process's replicas from step `step` on, without end."""
        self.open_cache(self.train)
        strategy = self._runtime.strategy
        return iter(strategy.distribute_datasets_from_function(lambda _: self.train.dataset(step, orient=False)))
