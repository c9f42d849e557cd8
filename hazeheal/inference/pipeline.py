"""Restores image files: threads read and write files while the devices restore others."""

import collections
import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from hazeheal.errors import DataError, OutputError
from hazeheal.inference import image_metadata
from hazeheal.inference.jobs import FORMATS, Job
from hazeheal.inference.restorer import Restorer
from hazeheal.utils.atomic import atomic_path

READ_AHEAD = 4  # images that are read before they are needed
WRITE_BEHIND = 8  # images that wait to be written


@dataclasses.dataclass
class Outcome:
    """The results of a number of jobs.

    Attributes:
        restored: Number of restored files.
        tiled: Number of restored files that were processed in tiles.
        failed: {source: error message}.
    """

    restored: int = 0
    tiled: int = 0
    failed: dict[pathlib.Path, str] = dataclasses.field(default_factory=dict)


def restore_images(
    jobs: Iterable[Job],
    restorer: Restorer,
    *,
    overwrite: bool = False,
    on_finished: Callable[[], None] = lambda: None,
) -> Outcome:
    """Restores image files. A file that cannot be read or written is recorded, and the next ones are restored.

    Args:
        jobs: The jobs, all of images.
        restorer: The `Restorer`.
        overwrite: Whether to replace outputs that exist. Otherwise they are left as they are.
        on_finished: Called after every job, whether it succeeded or failed.

    Raises:
        HazeHealError: The device has too little memory.
    """
    outcome, reading, writing = Outcome(), collections.deque(), collections.deque()

    def record_failure(job, error):
        outcome.failed[job.source] = str(error)
        on_finished()

    def hazy_images(readers):
        for job, future in _read_ahead(readers, jobs):
            try:
                image = future.result()
            except DataError as error:
                record_failure(job, error)
                continue
            reading.append((job, image))
            yield image.rgb

    def finish(job, future):
        try:
            future.result()
        except OutputError as error:
            record_failure(job, error)
        else:
            outcome.restored += 1
            on_finished()

    with (
        concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="read") as readers,
        concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="write") as writers,
    ):
        for restored in restorer.restore_all(hazy_images(readers)):
            job, image = reading.popleft()
            outcome.tiled += len(restorer.plan(*restored.shape[:2]).tiles) > 1
            writing.append((job, writers.submit(_write, job, image, restored, overwrite)))
            while len(writing) > WRITE_BEHIND or (writing and writing[0][1].done()):
                finish(*writing.popleft())
        while writing:
            finish(*writing.popleft())
    return outcome


def _read_ahead(readers, jobs):
    """Yields (job, future of its image) in order."""
    pending = collections.deque()
    for job in jobs:
        pending.append((job, readers.submit(image_metadata.read, job.source)))
        if len(pending) > READ_AHEAD:
            yield pending.popleft()
    yield from pending


def _write(job, image, restored, overwrite):
    for path in job.outputs:
        if path.exists() and not overwrite:
            continue
        pixels, original = restored, image
        if path == job.compare:
            pixels = np.concatenate([image.rgb, restored], axis=1)
            if image.alpha is not None:
                original = dataclasses.replace(image, alpha=np.concatenate([image.alpha] * 2, axis=1))
        try:
            data = image_metadata.encode(pixels, original, format=FORMATS[path.suffix.lower()])
        except (OSError, ValueError, MemoryError) as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(data)
