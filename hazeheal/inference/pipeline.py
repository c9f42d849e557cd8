"""Restores image files: threads read and write files while the devices restore others."""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions
from hazeheal.errors import DataError, OutputError
from hazeheal.inference import image_metadata
from hazeheal.inference.jobs import FORMATS, Job
from hazeheal.inference.restorer import Restorer
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.parallel import ordered_map

THREADS = 2  # to read, and as many to write
READ_AHEAD = 4  # images that are read before they are needed
WRITE_BEHIND = 8  # images that wait to be written


@dataclasses.dataclass
class Outcome:
    """The number of restored files, the number of those restored in tiles, and {source: error message} of the others."""

    restored: int = 0
    tiled: int = 0
    failed: dict[pathlib.Path, str] = dataclasses.field(default_factory=dict)


def restore_images(
    jobs: Iterable[Job],
    restorer: Restorer,
    *,
    options: PixelOptions = AS_STORED,
    overwrite: bool = False,
    on_finished: Callable[[], None] = lambda: None,
) -> Outcome:
    """Restores image files. A file that cannot be read or written is recorded, and the next ones are restored.

    Outputs that exist are left as they are, unless `overwrite` is set. `options` give the white level and the bands.
    `on_finished` is called after every job, whether it succeeded or failed.

    Raises:
        HazeHealError: The device has too little memory.
    """
    outcome, hazy = Outcome(), collections.deque()  # the images that the devices work on

    def fail(job, error):
        outcome.failed[job.source] = str(error)
        on_finished()

    def hazy_images():
        read = functools.partial(_read, options=options)
        for job, image in ordered_map(read, jobs, threads=THREADS, ahead=READ_AHEAD):
            if isinstance(image, DataError):
                fail(job, image)
            else:
                hazy.append((job, image))
                yield image.for_network()

    def results():
        for restored in restorer.restore_all(hazy_images()):
            outcome.tiled += len(restorer.plan(*restored.shape[:2]).tiles) > 1
            yield *hazy.popleft(), restored

    write = functools.partial(_write, overwrite=overwrite)
    for (job, _, _), error in ordered_map(write, results(), threads=THREADS, ahead=WRITE_BEHIND):
        if error:
            fail(job, error)
        else:
            outcome.restored += 1
            on_finished()
    return outcome


def _read(job, *, options) -> image_metadata.ImageFile | DataError:
    try:
        return image_metadata.read(job.source, options)
    except DataError as error:
        return error


def _for_comparison(image):
    """The metadata of the hazy image beside the restored one, which has the samples of the network."""
    alpha = None if image.alpha is None else np.concatenate([image.alpha] * 2, axis=1)
    return dataclasses.replace(image, alpha=alpha, wide=None, tiff=None)


def _write(result, *, overwrite) -> OutputError | None:
    job, image, restored = result
    for path in job.outputs:
        if path.exists() and not overwrite:
            continue
        pixels, original = restored, image
        if path == job.compare:
            pixels, original = np.concatenate([image.rgb, restored], axis=1), _for_comparison(image)
        try:
            data = image_metadata.encode(pixels, original, format=FORMATS[path.suffix.lower()])
            with atomic_path(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(data)
        except OutputError as error:
            return error
        except (OSError, ValueError, MemoryError) as error:
            return OutputError(f"{path} cannot be written: {error}")
    return None
