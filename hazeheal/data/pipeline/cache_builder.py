"""Builds caches of decoded images in the background, while training starts.

One process builds in a directory at a time, under a lock that the operating system releases when its holder dies.
A cache appears under its name when it is complete and on the disk. What a killed process left behind is removed by the
next one that builds. Without a cache, because it does not fit, a record is damaged or the disk is full, training decodes
the images whenever it needs them, and trains on the same batches.
"""

import logging
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Sequence

import tensorflow as tf

from hazeheal.data.pipeline.cache_files import LOCK, default_directory, remove_leftovers_locked
from hazeheal.data.pipeline.pixel_cache import cache_bytes, cache_path, is_complete
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.data.records import Split
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils import file_lock
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.console import error_text, format_bytes
from hazeheal.utils.memory import available_memory

LOG = logging.getLogger("hazeheal")
AUTO_SHARE = 0.5  # of the free disk space and memory that `auto` may use


def choose_directory(setting: str, splits: Sequence[Split]) -> tuple[pathlib.Path | None, str]:
    """Chooses where the caches of some splits are.

    Args:
        setting: `data.cache`: `auto`, `off` or a directory.
        splits: The splits that a training reads.

    Returns:
        (the directory, or None for no cache; the reason for None).

    Raises:
        UsageError: The caches do not fit into the directory that was asked for.
    """
    if setting == "off":
        return None, "it is off"
    directory = default_directory() if setting == "auto" else pathlib.Path(setting).expanduser()
    missing = [split for split in splits if not is_complete(cache_path(directory, split), split)]
    needed = sum(map(cache_bytes, missing))
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    disk = shutil.disk_usage(existing).free
    if setting != "auto":
        if needed > disk:
            raise UsageError(
                f"--config.data.cache={setting}: the decoded images take {format_bytes(needed)}, but {format_bytes(disk)} are free "
                "there; use another directory, auto or off"
            )
        return directory, ""
    for free, what in ((disk, f"disk space in {directory}"), (available_memory(), "memory")):
        if needed > AUTO_SHARE * free:
            return None, (
                f"the decoded images take {format_bytes(needed)}, more than half of the free {what}, {format_bytes(free)}; "
                "--config.data.cache=DIRECTORY uses one anyway"
            )
    return directory, ""


class CacheBuilder:
    """Builds the caches of some splits in a thread, one after another; as a context manager it stops at the end."""

    def __init__(self, directory: pathlib.Path, processors: Sequence[DehazeDataProcessor]):
        """Starts nothing yet.

        Args:
            directory: Of the caches.
            processors: Read the splits, in the order in which their caches are needed. They fail at a damaged record.
        """
        self._directory = directory
        self._processors = processors
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._build_all, name="cache builder", daemon=True)

    def __enter__(self) -> "CacheBuilder":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()

    def _build_all(self):
        for processor in self._processors:
            try:
                build_cache(self._directory, processor, stop=self._stop)
            except (HazeHealError, OSError, tf.errors.OpError) as error:
                error = processor.translate_error(error) or error
                text = error_text(error)
                LOG.warning("no cache of decoded images (%s); training decodes them whenever it needs them", text)
                return


def build_cache(directory: pathlib.Path, processor: DehazeDataProcessor, *, stop: threading.Event) -> bool:
    """Builds the cache of a split, or waits until another process has built it.

    Args:
        directory: Of the caches; created if it does not exist.
        processor: Reads the split.
        stop: Ends the work when it is set; nothing is left behind.

    Returns:
        Whether the cache is complete.

    Raises:
        OSError: The directory cannot be used, or the disk is full.
        HazeHealError, tf.errors.OpError: A record is damaged.
    """
    split = processor.split
    path = cache_path(directory, split)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / LOCK, "ab") as lock:
        while not file_lock.try_lock(lock.fileno()):
            if is_complete(path, split) or stop.wait(1):
                return is_complete(path, split)
        if is_complete(path, split):
            return True
        remove_leftovers_locked(directory)
        LOG.info("decoding %d pairs once into %s, %s", len(split), path, format_bytes(cache_bytes(split)))
        begin = time.monotonic()
        if not _write(path, processor, stop=stop):
            return False
        LOG.info("decoded them in %.0f s; training reads them from there", time.monotonic() - begin)
    return True


class _Stopped(Exception):
    pass


def _write(path, processor, *, stop):
    """Writes all images; returns whether it was not stopped."""
    try:
        with atomic_path(path, durable=True) as temporary, open(temporary, "wb") as file:
            # Refuses at once where the disk is too small, before anything is decoded.
            os.posix_fallocate(file.fileno(), 0, max(1, cache_bytes(processor.split)))
            for pair in processor.evaluation_dataset().as_numpy_iterator():
                if stop.is_set():
                    raise _Stopped
                file.write(pair["hazy"])
                file.write(pair["clear"])
    except _Stopped:
        return False
    return True
