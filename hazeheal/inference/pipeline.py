"""Image files through a Restorer: some are read and some are written while the devices work on others."""

import collections
import concurrent.futures
import dataclasses

import numpy as np

from hazeheal.errors import DataError, OutputError
from hazeheal.inference import image_metadata
from hazeheal.inference.jobs import FORMATS
from hazeheal.utils.atomic import atomic_path

READ_AHEAD = 4  # images
WRITE_BEHIND = 8


@dataclasses.dataclass
class Outcome:
    """What became of the files.

    Attributes:
        restored: How many were restored.
        tiled: How many of them in tiles.
        failed: {source: what was wrong with it}.
    """

    restored: int = 0
    tiled: int = 0
    failed: dict = dataclasses.field(default_factory=dict)


def restore_images(jobs, restorer, *, overwrite=False, done=lambda job: None) -> Outcome:
    """Restores image files. One that cannot be read or written is noted, and the others go on.

    Args:
        jobs: `files.Job`s. Of a job's outputs those that exist stay as they are.
        restorer: A `Restorer`.
        overwrite: Write them anew instead.
        done: Called with every job when it is finished, well or not.

    Raises:
        HazeHealError: The device has not enough memory, which would be so for the others too.
    """
    outcome, reading, writing = Outcome(), collections.deque(), collections.deque()

    def failed(job, error):
        outcome.failed[job.source] = str(error)
        done(job)

    def hazy(readers):
        for job, future in _ahead(readers, jobs):
            try:
                image = future.result()
            except DataError as error:
                failed(job, error)
                continue
            reading.append((job, image))
            yield image.rgb

    def settle(job, future):
        try:
            future.result()
        except OutputError as error:
            failed(job, error)
        else:
            outcome.restored += 1
            done(job)

    with (
        concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="read") as readers,
        concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="write") as writers,
    ):
        for restored in restorer.restore_all(hazy(readers)):
            job, image = reading.popleft()
            outcome.tiled += len(restorer.plan(*restored.shape[:2]).tiles) > 1
            writing.append((job, writers.submit(_write, job, image, restored, overwrite)))
            while len(writing) > WRITE_BEHIND or (writing and writing[0][1].done()):
                settle(*writing.popleft())
        while writing:
            settle(*writing.popleft())
    return outcome


def _ahead(readers, jobs):
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
        shown, kept = restored, image
        if path == job.compare:
            shown = np.concatenate([image.rgb, restored], axis=1)
            if image.alpha is not None:
                kept = dataclasses.replace(image, alpha=np.concatenate([image.alpha] * 2, axis=1))
        try:
            data = image_metadata.encode(shown, kept, format=FORMATS[path.suffix.lower()])
        except (OSError, ValueError, MemoryError) as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        with atomic_path(path, overwrite=overwrite) as aside:
            aside.write_bytes(data)
