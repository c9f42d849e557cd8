"""Finds the files to restore and names their results.

    found = find_jobs(["scans", "extra/*.png", "film.mp4"], output="restored")
    for job in found.jobs:
        job.source, job.output, job.compare

The results keep the structure of a folder; those of a glob keep the part of the path from the first wildcard on; a
single file keeps its name. A result has the name of its source if the suffix stands for a format that can store it.
Otherwise `.png` or `.mkv` is appended (`a.gif` becomes `a.gif.png`), so two results never get the same name. `Naming`
chooses another suffix of the name or another format.
"""

import dataclasses
import functools
import glob
import os
import pathlib
from collections.abc import Callable, Iterable

from PIL import Image

from hazeheal.data.images.image_io import IMAGE_SUFFIXES
from hazeheal.data.images.plugins import RAW_SUFFIXES, describe_raw
from hazeheal.data.pairing.folders import is_system
from hazeheal.errors import HazeHealError, UsageError

# {suffix of a result: Pillow's name of its format}
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pnm"), "PPM"),
    **dict.fromkeys((".jp2", ".j2k"), "JPEG2000"),
    **{".png": "PNG", ".bmp": "BMP", ".webp": "WEBP", ".avif": "AVIF"},
}
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".3gp"),
        *(".3g2", ".asf", ".dv", ".f4v", ".m2ts", ".mxf", ".ogv", ".qt", ".vob"),
    )
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
        return all(os.path.exists(path) for path in self.outputs)


@dataclasses.dataclass(frozen=True)
class Naming:
    """How results are named.

    Attributes:
        suffix: Added to the name, before its extension.
        image_extension, video_extension: Extensions, such as `.png`, which choose the formats; None: as the source.
    """

    suffix: str = ""
    image_extension: str | None = None
    video_extension: str | None = None

    @classmethod
    def of(cls, *, suffix: str = "", extension: str = "") -> "Naming":
        """Returns the naming of the flags `--suffix` and `--ext`.

        Raises:
            UsageError: A value is invalid.
        """
        if "/" in suffix or os.sep in suffix or "\0" in suffix:
            raise UsageError(f"--suffix={suffix!r} must be a part of a file name")
        extension = f".{extension.lower().lstrip('.')}" if extension else None
        if extension in VIDEO_OUTPUT_SUFFIXES:
            return cls(suffix, None, extension)
        Image.init()
        if extension and FORMATS.get(extension) not in Image.SAVE:
            formats = sorted(e for e, name in FORMATS.items() if name in Image.SAVE)
            raise UsageError(
                f"--ext={extension[1:]} is not a format that can be written; use one of "
                f"{', '.join(e[1:] for e in (*formats, *sorted(VIDEO_OUTPUT_SUFFIXES)))}"
            )
        return cls(suffix, extension, None)


@dataclasses.dataclass
class FoundJobs:
    """The result of `find_jobs`.

    Attributes:
        jobs: In the order of the inputs and by name within each.
        others: The number of files in folders that were left out because their suffix is not that of an image or a video.
        is_file: Whether the result is the file that `output` names.
        raw: Those among them with raw data of cameras.
        unreadable: {folder that cannot be listed: the reason}.
    """

    jobs: list[Job] = dataclasses.field(default_factory=list)
    others: int = 0
    is_file: bool = False
    raw: list[str] = dataclasses.field(default_factory=list)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Outcome:
    """The number of restored files, the number of those restored in tiles, and {source: error message} of the others."""

    restored: int = 0
    tiled: int = 0
    failed: dict[pathlib.Path, str] = dataclasses.field(default_factory=dict)

    def fail(self, job: Job, error: Exception) -> None:
        """Adds the error that one file caused. Libraries raise any type for files that they do not expect."""
        text = str(error) if isinstance(error, HazeHealError) else f"{type(error).__name__}: {error}"
        self.failed[job.source] = text if str(job.source) in text else f"{job.source}: {text}"


def find_jobs(
    inputs: Iterable[str | os.PathLike],
    *,
    output: str | os.PathLike,
    compare: bool = False,
    naming: Naming = Naming(),
    is_result: Callable[[pathlib.Path], bool] = lambda path: False,
) -> FoundJobs:
    """Finds all files to restore. Writes nothing.

    Args:
        inputs: Files, folders (with their subfolders and links) and globs (`**` too).
        output: The folder of the results. Files that are already in it are not inputs. For a single input file, it may
            be a file with the suffix of an image or video.
        compare: Whether to write side-by-side images too.
        naming: How the results are named.
        is_result: Whether a file in the folder of the results is one of them. They are not inputs.

    Raises:
        UsageError: An input does not exist or contains no images and videos, two results would have the same name,
            or a result would overwrite an input.
    """
    output, found, sources = pathlib.Path(output), FoundJobs(), {}  # {source: its path below the output folder}
    for text in map(os.fspath, inputs):
        base, files = _expand(text, found.unreadable)
        if output.is_dir():
            is_left_out = is_result if _contains(output, base) else functools.partial(_contains, output)
            files = [path for path in files if not is_left_out(path)]
        selected, others = [], []
        for path in files:
            (selected if path == pathlib.Path(text) or _is_media(path) else others).append(path)
        raw = [str(path) for path in others if path.suffix.lower() in RAW_SUFFIXES]
        if not selected:
            what = f"{len(files)} other files" + (f"; {describe_raw(raw)}" if raw else "")
            raise UsageError(f"{text}: no image and no video found ({what})")
        found.raw += raw
        found.others += len(others)
        for path in selected:
            sources.setdefault(path, path.relative_to(base))
    found.is_file = _as_file(output, sources)
    if output.exists() and not output.is_dir() and not found.is_file:
        raise UsageError(f"--output={output} is a file; name a folder, or a file for a single input file")
    owners, real_inputs = {}, {os.path.realpath(source) for source in sources}
    for source, relative in sources.items():
        path, named = (output, Naming()) if found.is_file else (output / relative, naming)
        job = _job(source, path, compare, named)
        for path in job.outputs:
            owner = owners.setdefault(path, source)
            if owner != source:
                raise UsageError(f"{owner} and {source} would both become {path}; use another --output for one of them")
            if os.path.realpath(path) in real_inputs:
                raise UsageError(f"{source} would become {path}, which is an input; use another --output")
        found.jobs.append(job)
    return found


def _as_file(output, sources):
    """Whether `output` names the result itself."""
    if len(sources) != 1 or output.is_dir():
        return False
    (source,) = sources
    is_video = source.suffix.lower() in VIDEO_SUFFIXES
    return output.suffix.lower() in (VIDEO_OUTPUT_SUFFIXES if is_video else FORMATS)


def _is_media(path):
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _contains(folder, path):
    return pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _job(source, output, compare, naming):
    Image.init()
    suffix, appended = output.suffix.lower(), ""
    if suffix in VIDEO_SUFFIXES:
        extension = naming.video_extension
        if suffix not in VIDEO_OUTPUT_SUFFIXES and extension is None:
            appended = ".mkv"
    else:
        extension = naming.image_extension
        if FORMATS.get(suffix) not in Image.SAVE and extension is None:
            appended = ".png"
    extension = output.suffix + appended if extension is None else extension
    output = output.with_name(f"{output.stem}{naming.suffix}{extension}")
    side_by_side = output.with_name(f"{output.stem}.compare{output.suffix}") if compare else None
    return Job(source, output, side_by_side)


def _expand(text, unreadable):
    """Returns the files of one input, and the folder whose structure their results keep."""
    path = pathlib.Path(text)
    if path.is_dir():
        return path, _walk(path, unreadable)
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
            files += _walk(match, unreadable)
    return pathlib.Path(*path.parts[:wildcard]), files


def _walk(folder, unreadable):
    """Returns the files of a folder and its subfolders, also those behind links, without those of the system."""
    files, seen = [], set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=lambda e: _note(unreadable, e)):
        real = os.path.realpath(directory)
        if real in seen:  # a link to a folder above it, or a second link to the same one
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_system(name))
        paths = (pathlib.Path(directory, name) for name in sorted(names) if not is_system(name))
        files += [path for path in paths if os.path.isfile(path)]
    return files


def _note(unreadable, error):
    unreadable[str(error.filename)] = error.strerror or str(error)
