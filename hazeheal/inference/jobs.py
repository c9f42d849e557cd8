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
from hazeheal.data.images.plugins import RAW_SUFFIXES, describe_raw
from hazeheal.data.pairing.folders import is_system
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
    """One hazy image or video, the file for the restored one, and the one for both side by side, if wanted."""

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
        base, files = _expand(text)
        if not _contains(output, base):
            files = [path for path in files if not _contains(output, path)]
        selected = [path for path in files if path == pathlib.Path(text) or _is_media(path)]
        if not selected:
            raw = [str(path) for path in files if path.suffix.lower() in RAW_SUFFIXES]
            found = f"{len(files)} other files" + (f"; {describe_raw(raw)}" if raw else "")
            raise UsageError(f"{text}: no image and no video found ({found})")
        others += len(files) - len(selected)
        for path in selected:
            sources.setdefault(path, path.relative_to(base))
    jobs, owners = [], {}
    real_inputs = {os.path.realpath(source) for source in sources}
    for source, relative in sources.items():
        job = _job(source, output / relative, compare)
        for path in job.outputs:
            owner = owners.setdefault(path, source)
            if owner != source:
                raise UsageError(f"{owner} and {source} would both become {path}; use another --output for one of them")
            if os.path.realpath(path) in real_inputs:
                raise UsageError(f"{source} would become {path}, which is an input; use another --output")
        jobs.append(job)
    return jobs, others


def raw_files(inputs: Iterable[str | os.PathLike]) -> list[str]:
    """Returns the names of the files with raw data of cameras that `find_jobs` leaves out of folders and globs."""
    found = []
    for text in map(os.fspath, inputs):
        others = (path for path in _expand(text)[1] if path != pathlib.Path(text))
        found += [str(path) for path in others if path.suffix.lower() in RAW_SUFFIXES]
    return found


def _is_media(path):
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _contains(folder, path):
    return pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


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


def _expand(text):
    """Returns the files of one input, and the folder whose structure their results keep."""
    path = pathlib.Path(text)
    if path.is_dir():
        return path, _walk(path)
    if path.exists():
        return path.parent, [path]
    if not glob.has_magic(text):
        raise UsageError(f"{text} does not exist; check the path")
    wildcard = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    files = []
    for match in map(pathlib.Path, sorted(glob.glob(text, recursive=True))):
        if any(is_system(part) for part in match.parts[wildcard:]):
            continue
        if match.is_file():
            files.append(match)
        elif "**" not in path.parts:
            files += _walk(match)
    return pathlib.Path(*path.parts[:wildcard]), files


def _walk(folder):
    """Returns the files of a folder and its subfolders, without those of the system (`is_system`)."""
    files = []
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_system(name))
        paths = (pathlib.Path(directory, name) for name in sorted(names) if not is_system(name))
        files += [path for path in paths if path.is_file()]
    return files
