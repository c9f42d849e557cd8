"""Reads the header of every image before anything is written, each file once.

A clear image may belong to many pairs. Many files are divided over processes: reading a header is mostly Python.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hazeheal.data.images import image_io, image_ops
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.data.images.plain_size import read_plain_size
from hazeheal.errors import HazeHealError
from hazeheal.utils.garbage import no_cycle_collection
from hazeheal.utils.parallel import map_in_threads
from tfrecords_tools import pool
from tfrecords_tools.convert.pair_records import RecordOptions, SourcePair

_FILES_PER_PROCESS = 20_000  # that justify the start of one more process: about a second of work
_FILES_PER_TASK = 2000


@dataclasses.dataclass(frozen=True)
class HeaderCheck:
    """What the headers of all images show.

    Attributes:
        readable: The pairs that can be converted.
        unreadable: Those with an image whose header cannot be read, with reasons.
        unfit: Those whose sizes differ by more than `--size_mismatch` may change, with reasons.
        mismatched: One line for each other pair of different sizes.
    """

    readable: tuple[SourcePair, ...]
    unreadable: list[dict[str, str]]
    unfit: list[dict[str, str]]
    mismatched: list[str]


class Header(NamedTuple):
    """The upright (height, width) of an image, or why its header cannot be read."""

    size: tuple[int, int] | None
    problem: str | None


def check_headers(pairs: Sequence[SourcePair], options: RecordOptions, *, workers: int = 1) -> HeaderCheck:
    """Reads the header of every image without decoding the pixels, in up to `workers` processes."""
    files = {pair.hazy_path: pair.hazy for pair in pairs} | {pair.clear_path: pair.clear for pair in pairs}
    items = list(files.items())
    results = pool.run_tasks(
        functools.partial(read_headers, pixels=options.pixels),
        [items[start : start + _FILES_PER_TASK] for start in range(0, len(items), _FILES_PER_TASK)],
        workers=min(workers, 1 + len(items) // _FILES_PER_PROCESS),
        total=len(items),
        unit="file",
        desc="reading headers",
        leave=False,
    )
    headers = dict(zip(files, (header for block in results for header in block), strict=True))
    readable, unreadable, unfit, mismatched = [], [], [], []
    for pair in pairs:
        hazy, clear = headers[pair.hazy_path], headers[pair.clear_path]
        problems = [header.problem for header in (hazy, clear) if header.problem is not None]
        if problems:
            unreadable.append(pair.describe_problem("; ".join(problems)))
            continue
        if hazy.size != clear.size:
            (h, w), (ch, cw) = hazy.size, clear.size
            text = f"{pair.hazy} is {w}x{h}, {pair.clear} is {cw}x{ch}"
            if problem := image_ops.size_problem(hazy.size, clear.size, mode=options.size_mismatch):
                unfit.append(pair.describe_problem(f"{text}: {problem}"))
                continue
            mismatched.append(text)
        readable.append(pair)
    return HeaderCheck(tuple(readable), unreadable, unfit, mismatched)


def read_headers(
    files: Sequence[tuple[str, str]], progress: Callable[[int], object], *, pixels: PixelOptions
) -> list[Header]:
    """Reads the headers of files (path, name in errors), and reports the number of further ones to `progress`."""
    with image_io.strict(), no_cycle_collection():
        return map_in_threads(functools.partial(_read_header, pixels), files, advance=progress)


def _read_header(pixels: PixelOptions, file: tuple[str, str]) -> Header:
    path, name = file
    try:
        return Header(read_plain_size(path) or image_io.read_size(path, name=name, options=pixels), None)
    except HazeHealError as error:
        return Header(None, str(error))
