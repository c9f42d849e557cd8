"""Restores image files: threads read and write files while the devices restore others."""

import collections
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from hazeheal.data.images import image_io
from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions
from hazeheal.errors import DataError, HazeHealError, OutputError
from hazeheal.inference import image_metadata
from hazeheal.inference.encode_image import encode
from hazeheal.inference.jobs import FORMATS, Job, Outcome
from hazeheal.inference.restorer import Restorer
from hazeheal.inference.results_record import ResultsRecord, recorded
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.parallel import ordered_map

THREADS = 2  # to read, and as many to write
READ_AHEAD = 4  # images that are read before they are needed
WRITE_BEHIND = 8  # images that wait to be written
LARGE = 1 << 24  # pixels: of larger images, only one is in memory
# What may go wrong with one image: its libraries raise errors of any type for files that they do not expect.
_ERRORS = (HazeHealError, tf.errors.OpError, MemoryError)


def restore_images(
    jobs: Sequence[Job],
    restorer: Restorer,
    outcome: Outcome,
    *,
    options: PixelOptions = AS_STORED,
    quality: int | None = None,
    overwrite: bool = False,
    record: ResultsRecord | None = None,
    on_finished: Callable[[], None] = lambda: None,
) -> None:
    """Restores image files. A file that cannot be read, restored or written is recorded, and the others are restored.

    Args:
        jobs: The files.
        restorer: The generator.
        outcome: Gets the results.
        options: The white level and the bands.
        quality: Of lossy formats, from 1 to 100; None: high.
        overwrite: Whether outputs that exist are replaced. Otherwise they are left as they are.
        record: Notes the results.
        on_finished: Called after every job, whether it succeeded or failed.
    """

    def finish(job, error=None):
        if error is None:
            outcome.restored += 1
        else:
            outcome.fail(job, error)
        on_finished()

    read = functools.partial(_read, options=options)
    write = functools.partial(_write, quality=quality, overwrite=overwrite, record=record)
    for is_large, group in itertools.groupby(jobs, key=functools.partial(_is_large, options=options)):
        if is_large:
            for job in group:
                finish(job, _restore_large(job, restorer, outcome, read=read, write=write))
            continue
        images = ordered_map(read, group, threads=THREADS, ahead=READ_AHEAD)
        results = _restored(images, restorer, outcome, on_failed=finish)
        for (job, *_), error in ordered_map(write, results, threads=THREADS, ahead=WRITE_BEHIND):
            finish(job, error)


def _is_large(job, *, options):
    try:
        height, width = image_io.read_size(job.source, options=options)
    except Exception:  # reported when the file is read
        return False
    return height * width > LARGE


def _restore_large(job, restorer, outcome, *, read, write):
    """Restores one image, while no other is in memory, and returns the error."""
    image = read(job)
    if isinstance(image, Exception):
        return image
    try:
        restored = restorer.restore(image.for_network())
    except _ERRORS as error:
        return error
    outcome.tiled += len(restorer.plan(*restored.shape[:2]).tiles) > 1
    if image.wide is None and job.compare is None:
        image = dataclasses.replace(image, rgb=restored[:0])  # encoders need the memory
    return write((job, image, restored))


def _restored(
    images: Iterator[tuple[Job, image_metadata.ImageFile | DataError]],
    restorer: Restorer,
    outcome: Outcome,
    *,
    on_failed: Callable[[Job, Exception], None],
) -> Iterator[tuple[Job, image_metadata.ImageFile, np.ndarray]]:
    """Yields (job, image, restored). If restoring fails, the images that the devices work on are restored one by one."""
    hazy, at_end = collections.deque(), False  # the images that the devices work on

    def hazy_images():
        nonlocal at_end
        for job, image in images:
            if isinstance(image, Exception):
                on_failed(job, image)
            else:
                hazy.append((job, image))
                yield image.for_network()
        at_end = True

    def result(restored):
        outcome.tiled += len(restorer.plan(*restored.shape[:2]).tiles) > 1
        return *hazy.popleft(), restored

    while not at_end:
        try:
            for restored in restorer.restore_all(hazy_images()):
                yield result(restored)
        except _ERRORS:
            at_end = False
        while hazy:
            try:
                restored = restorer.restore(hazy[0][1].for_network())
            except _ERRORS as error:
                job, _ = hazy.popleft()
                on_failed(job, error)
            else:
                yield result(restored)


def _read(job, *, options) -> image_metadata.ImageFile | Exception:
    try:
        return image_metadata.read(job.source, options)
    except DataError as error:
        return error
    except Exception as error:  # of a library that does not expect such a file
        return DataError(f"{job.source}: cannot be read ({type(error).__name__}: {error}); save the image again")


def _for_comparison(image):
    """The metadata of the hazy image beside the restored one, which has the samples of the network."""
    alpha = None if image.alpha is None else np.concatenate([image.alpha] * 2, axis=1)
    return dataclasses.replace(image, alpha=alpha, wide=None, tiff=None)


def _write(result, *, quality, overwrite, record) -> Exception | None:
    job, image, restored = result
    for path in job.outputs:
        if os.path.exists(path) and not overwrite:
            continue
        pixels, original = restored, image
        if path == job.compare:
            pixels, original = np.concatenate([image.rgb, restored], axis=1), _for_comparison(image)
        try:
            data = encode(pixels, original, format=FORMATS[path.suffix.lower()], quality=quality)
            with recorded(record, path), atomic_path(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(data)
        except OutputError as error:
            return error
        except Exception as error:  # of a library that does not expect such pixels or metadata
            return OutputError(f"{path} cannot be written: {error or type(error).__name__}")
    return None
