"""Finds the files to restore and names their results.

    jobs, others = find_jobs(["scans", "extra/*.png", "film.mp4"], output="restored")
    for job in jobs:
        job.source, job.output, job.compare

The results keep the structure of a folder; those of a glob keep the part of the path from the first wildcard on; a
single file keeps its name. A result has the name of its source if the suffix stands for a format that can store it.
Otherwise `.png` or `.mkv` is appended (`a.gif` becomes `a.gif.png`), so two results never get the same name.
"""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterable

from PIL import Image

from hazeheal.data.images.image_io import IMAGE_SUFFIXES
from hazeheal.errors import UsageError

# {suffix of a result: Pillow's name of its format}
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
# Videos of these formats keep their suffix; the others become .mkv.
VIDEO_OUTPUT_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm"))


@dataclasses.dataclass(frozen=True)
class Job:
    """One file to restore.

    Attributes:
        source: The hazy image or video.
        output: The file of the restored one.
        compare: The file for hazy | restored side by side, or None.
    """

    source: pathlib.Path
    output: pathlib.Path
    compare: pathlib.Path | None

    @property
    def is_video(self) -> bool:
        """Whether the source is a video, by its suffix."""
        return self.source.suffix.lower() in VIDEO_SUFFIXES

    @property
    def outputs(self) -> list[pathlib.Path]:
        """The files to write."""
        return [self.output] if self.compare is None else [self.output, self.compare]

    @property
    def is_done(self) -> bool:
        """Whether all outputs exist."""
        return all(path.exists() for path in self.outputs)


def find_jobs(
    inputs: Iterable[str | os.PathLike], *, output: str | os.PathLike, compare: bool = False
) -> tuple[list[Job], int]:
    """Finds all files to restore. Writes nothing.

    Args:
        inputs: Files, folders (with their subfolders) and globs (`**` too).
        output: The folder of the results. Files that are already in it are not inputs.
        compare: Whether to write side-by-side images too.

    Returns:
        The jobs, in the order of the inputs and by name within each, and the number of files in folders that were
        left out because their suffix is not that of an image or a video.

    Raises:
        UsageError: An input does not exist or contains no images and videos, two results would have the same name,
            or a result would overwrite an input.
    """
    output = pathlib.Path(output)
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output={output} is a file; name a folder")
    sources, others = {}, 0  # {source: its path below the output folder}
    for text in map(os.fspath, inputs):
        files, left_out = _expand(text, output=output)
        if not files:
            raise UsageError(f"{text}: no image and no video found ({left_out} other files)")
        others += left_out
        for source, relative in files:
            sources.setdefault(source, relative)
    jobs, owners = [], {}
    real_inputs = {os.path.realpath(source) for source in sources}
    for source, relative in sources.items():
        job = _job(source, output / relative, compare)
        for path in job.outputs:
            owner = owners.setdefault(path, source)
            if owner != source:
                raise UsageError(
                    f"{owner} and {source} would both become {path}; use another --output for one of them"
                )
            if os.path.realpath(path) in real_inputs:
                raise UsageError(f"{source} would become {path}, which is an input; use another --output")
        jobs.append(job)
    return jobs, others


def _job(source, output, compare):
    Image.init()
    suffix = output.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        if suffix not in VIDEO_OUTPUT_SUFFIXES:
            output = output.with_name(f"{output.name}.mkv")
    elif FORMATS.get(suffix) not in Image.SAVE:
        output = output.with_name(f"{output.name}.png")
    side_by_side = output.with_name(f"{output.stem}.compare{output.suffix}") if compare else None
    return Job(source, output, side_by_side)


def _expand(text, *, output):
    """Returns ([(source, its path below the output folder)], number of other files) of one input."""
    path = pathlib.Path(text)
    if path.is_dir():
        return _below(path, pathlib.Path(), _exclusion(path, output))
    if path.exists():
        return [(path, path.name)], 0
    if not glob.has_magic(text):
        raise UsageError(f"{text} does not exist; check the path")
    parts = path.parts
    wildcard = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = pathlib.Path(*parts[:wildcard])
    excluded = _exclusion(base, output)
    files, others = [], 0
    for match in map(pathlib.Path, sorted(glob.glob(text, recursive=True))):
        relative = match.relative_to(base)
        if match.is_dir() and "**" not in parts:
            more, left_out = _below(match, relative, excluded)
        else:
            more, left_out = _select([(match, relative)], excluded)
        files, others = files + more, others + left_out
    return files, others


def _exclusion(folder, output):
    """The prefix of real paths in the output folder, if that is below the input folder; else None."""
    folder, output = os.path.realpath(folder), os.path.realpath(output)
    return None if f"{folder}{os.sep}".startswith(f"{output}{os.sep}") else f"{output}{os.sep}"


def _below(folder, relative, excluded):
    """As `_expand`, for all files of a folder but hidden ones. `relative` is the folder's path below the output."""
    files = []
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                source = pathlib.Path(directory, name)
                files.append((source, relative / source.relative_to(folder)))
    return _select(files, excluded)


def _select(files, excluded):
    """Returns those of [(source, relative path)] with the suffix of an image or a video, and the number of others."""
    selected, others = [], 0
    for source, relative in files:
        if not source.is_file() or (excluded and os.path.realpath(source).startswith(excluded)):
            continue
        if source.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            selected.append((source, relative))
        else:
            others += 1
    return selected, others
