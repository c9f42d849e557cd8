"""Restores one video, frame by frame: only the frames that are being processed are in memory."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from hazeheal.inference.jobs import Job
from hazeheal.inference.results_record import ResultsRecord, recorded
from hazeheal.inference.video.encoders import VideoOptions, choose_encoder, require_av
from hazeheal.inference.video.film import Film, Frame
from hazeheal.inference.video.result import Result
from hazeheal.inference.video.smoothing import restore_smoothly
from hazeheal.utils.atomic import atomic_path

if TYPE_CHECKING:
    from hazeheal.inference.restorer import Restorer


@dataclasses.dataclass
class VideoReport:
    """What became of one video.

    Attributes:
        frames: Number of restored frames.
        height, width: Of the upright frames.
        damage: What could not be decoded, or "".
        notes: What is converted or left out, one line each.
    """

    frames: int = 0
    height: int = 0
    width: int = 0
    damage: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)


def restore_video(
    job: Job,
    restorer: "Restorer",
    *,
    options: VideoOptions = VideoOptions(),  # noqa: B008
    overwrite: bool = False,
    record: ResultsRecord | None = None,
    on_frame: Callable[[int | None], None] = lambda count: None,
) -> VideoReport:
    """Restores one video. A damaged video is restored up to the last frame that can be decoded.

    Args:
        job: The files. Outputs that exist are left as they are, unless `overwrite` is set.
        restorer: The generator.
        options: The codec, its quality and speed.
        overwrite: Whether outputs that exist are replaced.
        record: Where the results are recorded, if anywhere.
        on_frame: Called after every frame, with the estimated number of all frames, or None.

    Raises:
        DataError: The video cannot be decoded, or the result cannot be encoded, or PyAV is missing.
        OutputError: The result cannot be written.
        UsageError: The container of the result cannot hold the codec, or the encoder does not have an option.
    """
    require_av(job.source)
    paths = [path for path in job.outputs if overwrite or not path.exists()]
    encoders = [choose_encoder(path.suffix.lower(), options) for path in paths]
    with contextlib.ExitStack() as stack:
        film = stack.enter_context(Film(job.source))
        report = VideoReport(height=film.height, width=film.width)
        results = []
        for path, encoder in zip(paths, encoders, strict=True):
            stack.enter_context(recorded(record, path))
            temporary = stack.enter_context(atomic_path(path, overwrite=overwrite))
            copies = 2 if path == job.compare else 1
            result = Result(path, temporary, film, encoder=encoder, options=options, copies=copies)
            results.append(stack.enter_context(result))
        for frame, restored in _restored(film, restorer):
            # Before any is encoded, which may use the memory of the frame.
            both = np.concatenate([frame.image, restored], axis=1) if job.compare in paths else None
            for result in results:
                result.add(frame, both if result.path == job.compare else restored)
            report.frames += 1
            on_frame(film.count)
        for result in results:
            result.finish()
        report.damage = film.damage
        report.notes = list(dict.fromkeys([*film.notes, *(note for result in results for note in result.notes)]))
    return report


def _restored(film: Film, restorer: "Restorer") -> Iterator[tuple[Frame, np.ndarray]]:
    """Yields every frame and its restored image, `[H, W, 3]`."""
    waiting = collections.deque()

    def images():
        for frame in film.frames():
            waiting.append(frame)
            yield float(frame.time * film.time_base), frame.image

    for restored in restore_smoothly(images(), restorer):
        yield waiting.popleft(), restored
