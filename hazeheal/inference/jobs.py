"""What is to be restored, and where each result goes: files, folders and globs -> jobs.

    found = find(["scans", "extra/*.png", "film.mp4"], output="restored")
    for job in found.jobs:
        job.source, job.output, job.compare

A folder's files keep their places below it, a glob's those behind its last part without a wildcard, a file its name.
A name stays as it is where its suffix tells a format that can hold the result; `.png`, or `.mkv`, is put behind any
other (`a.gif` becomes `a.gif.png`), so that no two of them meet.
"""

import dataclasses
import glob
import os
import pathlib

from PIL import Image

from hazeheal.data.images.image_io import IMAGE_SUFFIXES
from hazeheal.errors import UsageError

# The suffixes that are kept, and what Pillow calls their formats.
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pnm"), "PPM"),
    **dict.fromkeys((".jp2", ".j2k"), "JPEG2000"),
    **{".png": "PNG", ".bmp": "BMP", ".webp": "WEBP", ".avif": "AVIF"},
}
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".3gp")
)

VIDEO_KEPT = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm"))


@dataclasses.dataclass(frozen=True)
class Job:
    """One file.

    Attributes:
        source: The hazy one.
        output: Where the restored one goes.
        compare: Where hazy | restored goes, or None where it is not asked for.
    """

    source: pathlib.Path
    output: pathlib.Path
    compare: pathlib.Path | None

    @property
    def is_video(self) -> bool:
        return self.source.suffix.lower() in VIDEO_SUFFIXES

    @property
    def outputs(self) -> list[pathlib.Path]:
        return [self.output] if self.compare is None else [self.output, self.compare]

    @property
    def is_done(self) -> bool:
        return all(path.exists() for path in self.outputs)


@dataclasses.dataclass(frozen=True)
class Found:
    """All that was found.

    Attributes:
        jobs: In the order of the inputs, and by name within each.
        others: How many files in folders are neither images nor videos by their suffix.
    """

    jobs: list[Job]
    others: int


def find(inputs, *, output, compare=False) -> Found:
    """Looks for all files that are meant; changes nothing.

    Args:
        inputs: Files, folders (with all below them) and globs (`**` too).
        output: The folder of the results. What lies in it already is no input.
        compare: Whether side by side images are wanted too.

    Raises:
        UsageError: Something is not there, nothing was found, two results would have one name, or a result would
            take the place of an input.
    """
    output = pathlib.Path(output)
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output={output} is a file; name a folder")
    sources, others = {}, 0  # {source: place below the output}
    for text in map(os.fspath, inputs):
        files, left_out = _expand(text, besides=output)
        if not files:
            raise UsageError(f"{text}: no image and no video there ({left_out} other files)")
        others += left_out
        for source, place in files:
            sources.setdefault(source, place)
    jobs, taken = [], {}
    inside = {os.path.realpath(source): source for source in sources}
    for source, place in sources.items():
        job = _job(source, output / place, compare)
        for path in job.outputs:
            other = taken.setdefault(path, source)
            if other != source:
                raise UsageError(
                    f"{other} and {source} would both become {path}; restore one of them elsewhere"
                )
            if os.path.realpath(path) in inside:
                raise UsageError(f"{source} would become {path}, which is an input; name another --output")
        jobs.append(job)
    return Found(jobs, others)


def _job(source, output, compare):
    Image.init()
    suffix = output.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        if suffix not in VIDEO_KEPT:
            output = output.with_name(f"{output.name}.mkv")
    elif FORMATS.get(suffix) not in Image.SAVE:
        output = output.with_name(f"{output.name}.png")
    beside = output.with_name(f"{output.stem}.compare{output.suffix}") if compare else None
    return Job(source, output, beside)


def _expand(text, *, besides):
    """Returns ([(source, its place below the output)], number of other files) of one input."""
    path = pathlib.Path(text)
    if path.is_dir():
        return _below(path, pathlib.Path(), _besides(path, besides))
    if path.exists():
        return [(path, path.name)], 0
    if not glob.has_magic(text):
        raise UsageError(f"{text}: there is no such file or folder")
    parts = path.parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = pathlib.Path(*parts[:fixed])
    besides = _besides(base, besides)
    files, others = [], 0
    for match in map(pathlib.Path, sorted(glob.glob(text, recursive=True))):
        place = match.relative_to(base)
        if match.is_dir() and "**" not in parts:
            more, left_out = _below(match, place, besides)
        else:
            more, left_out = _chosen([(match, place)], besides)
        files, others = files + more, others + left_out
    return files, others


def _besides(folder, output):
    """The folder of results, where it lies below the one of the inputs; None where all that is found is an input."""
    inside, output = os.path.realpath(folder), os.path.realpath(output)
    return None if f"{inside}{os.sep}".startswith(f"{output}{os.sep}") else f"{output}{os.sep}"


def _below(folder, place, besides):
    files = []
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = pathlib.Path(directory)
        files += [(here / n, place / (here / n).relative_to(folder)) for n in sorted(names) if n[0] != "."]
    return _chosen(files, besides)


def _chosen(files, besides):
    """Of [(source, place)] those whose suffix is an image's or a video's, and how many are not."""
    chosen, others = [], 0
    for source, place in files:
        if not source.is_file() or (besides and os.path.realpath(source).startswith(besides)):
            continue
        if source.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            chosen.append((source, place))
        else:
            others += 1
    return chosen, others
