"""`hazeheal-tfrecords extract`: writes the pairs of a data set as files, `hazy/` and `GT/`.

An image that is stored byte for byte gets its own file name. A re-encoded image gets the suffix of its new format, and a
tile is named after its record.
"""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator

from hazeheal.data import records
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.atomic import atomic_path, is_temporary
from hazeheal.utils.console import one_line
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.convert.shard import read_sources
from tfrecords_tools.output_lock import make_directories, remove_empty
from tfrecords_tools.text import plural

NAME_BYTES = 255  # of a file name in most file systems
WINDOWS = os.name == "nt"  # where `a\\b` is a file in a directory, and `C:a` is on another disk
_SUFFIXES = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",)}  # new names get the first one


def extract(directory: str, *, output_dir: str, split: str | None = None) -> int:
    """Writes the images of a data set to `output_dir/hazy` and `output_dir/GT`, which appear when they are complete.

    Args:
        directory: The data set.
        output_dir: A new or empty directory.
        split: The split to extract; by default all.

    Returns:
        Exit code 0.

    Raises:
        UsageError: `output_dir` is not empty, or the data set has no such split.
        DataError: Records are damaged. All other records are extracted.
    """
    if not os.fspath(output_dir):
        raise UsageError("--output_dir is empty; name a directory (. is the current directory)")
    manifest = records.load_manifest(directory)
    if split is not None and split not in manifest["splits"]:
        raise UsageError(f"--split={split} is not in {directory}; it has {', '.join(manifest['splits'])}")
    names = list(manifest["splits"]) if split is None else [split]
    splits = [(records.open_split(directory, name), manifest["splits"][name]) for name in names]
    sources = [source for _, entry in splits for source in read_sources(directory, entry)]
    tiled = bool(manifest["options"].get("tile_size"))
    problems, count = [], 0
    with _output_folders(pathlib.Path(output_dir)) as folders:
        writers = {
            side: _Writer(folder, reserved=_names_with_folders(sources, side), tiled=tiled)
            for side, folder in folders.items()
        }
        for opened, entry in splits:
            for pair, source in _read_pairs(opened, read_sources(directory, entry), problems):
                for side, writer in writers.items():
                    writer.write(
                        getattr(pair, side),
                        key=pair.key,
                        source=getattr(pair, f"{side}_source"),
                        source_sha256=source.get(f"{side}_sha256"),
                    )
                count += 1
    files = sum(len(writer.files) for writer in writers.values())
    print(
        f"wrote {plural(count, 'pair')} as {plural(files, 'file')} to {output_dir}/hazy and {output_dir}/GT"
    )
    for problem in problems:
        print(f"left out: {one_line(problem)}")
    if problems:
        raise DataError(f"{len(problems)} records are damaged, listed above; all others were written")
    return 0


@contextlib.contextmanager
def _output_folders(output_dir: pathlib.Path) -> Iterator[dict[str, pathlib.Path]]:
    """Yields a folder for each side. At the end they become `output_dir/hazy` and `output_dir/GT`."""
    leftovers = []  # of a run that was killed
    if os.path.lexists(output_dir):
        leftovers = os.listdir(output_dir) if output_dir.is_dir() else [""]
        if not all(is_temporary(name) for name in leftovers):
            raise UsageError(f"--output_dir={output_dir} is not an empty directory; choose another directory")
    for name in leftovers:
        shutil.rmtree(output_dir / name)
    created = make_directories(output_dir)
    try:
        with contextlib.ExitStack() as stack:
            folders = {
                side: stack.enter_context(atomic_path(output_dir / folder))
                for side, folder in FOLDERS.items()
            }
            for folder in folders.values():
                folder.mkdir()
            yield folders
    finally:
        remove_empty(created)


def _read_pairs(
    split: records.Split, sources: Iterable[dict], problems: list[str]
) -> Iterator[tuple[records.Pair, dict]]:
    """Yields each intact record with its sources; appends a line to `problems` for each damaged record."""
    rows = enumerate(zip(split.index, sources, strict=True))
    try:
        for number, shard_rows in itertools.groupby(rows, key=lambda item: int(item[1][0]["shard"])):
            with open(split.shards[number], "rb") as file:
                for record, (row, source) in shard_rows:
                    file.seek(int(row["offset"]))
                    payload = file.read(int(row["length"]))
                    try:
                        records.check_payload(payload, split=split, record=record)
                        pair = records.parse(payload)
                    except DataError as error:
                        problems.append(str(error))
                        continue
                    yield pair, source
    except OSError as error:
        raise DataError(f"a shard of {split.sources.parent} cannot be read: {error}") from error
    except ValueError as error:  # raised by zip
        raise DataError(
            f"{split.sources} does not match the index ({error}); convert the data set again"
        ) from error


def _names_with_folders(sources: list[dict], side: str) -> set[str]:
    """Returns the names of all source files of a side, and of the folders that they are in."""
    names = {source[side] for source in sources}
    return names.union(*(map(str, pathlib.PurePosixPath(name).parents) for name in names))


class _Writer:
    """Writes the images of one side (`hazy` or `GT`). An image that several records share is written once."""

    def __init__(self, folder: pathlib.Path, *, reserved: set[str], tiled: bool):
        self.files = {}  # name of each written file -> SHA-256 of its contents
        self._folder = folder
        self._reserved = reserved  # names that a re-encoded image must not take
        self._tiled = tiled

    def write(self, data: bytes, *, key: str, source: str, source_sha256: str | None) -> None:
        digest = records.sha256(data)
        for candidate in self._names(data, key, source, unchanged=digest == source_sha256):
            name = safe_name(candidate)
            if self.files.get(name) == digest:
                return
            path = self._folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as file:
                    file.write(data)
            except (FileExistsError, NotADirectoryError):  # the name is that of another file, or of a folder
                continue
            self.files[name] = digest
            return
        raise HazeHealError(f"all file names for an image of record {key!r} are in use")

    def _names(self, data: bytes, key: str, source: str, *, unchanged: bool) -> Iterator[str]:
        """Yields names for an image, the best first. The later ones resolve conflicts."""
        suffixes = _SUFFIXES["jpeg" if data.startswith(b"\xff\xd8") else "png"]
        if not self._tiled:
            stem, old_suffix = os.path.splitext(source)
            if unchanged or old_suffix.lower() in suffixes:
                yield source
            elif stem + suffixes[0] not in self._reserved:
                yield stem + suffixes[0]
            yield source + suffixes[0]
        yield key + suffixes[0]
        yield records.sha256(data)[:12] + suffixes[0]


def safe_name(name: str) -> str:
    """Returns a relative file name with its last part shortened to what file systems allow.

    Raises:
        DataError: The name would lead out of its folder.
    """
    *folders, base = name.split("/")
    if (
        any(part in ("", ".", "..") for part in (*folders, base))
        or "\0" in name
        or (WINDOWS and ("\\" in name or re.match(r"[A-Za-z]:", name)))
    ):
        raise DataError(f"a record's source is {name!r}, which leads out of the folder; not extracted")
    if len(base.encode()) > NAME_BYTES:  # a suffix or a tile's place made the name longer
        stem, suffix = os.path.splitext(base)
        end = f"~{records.sha256(base.encode())[:12]}{suffix}"
        base = stem.encode()[: NAME_BYTES - len(end.encode())].decode("utf-8", "ignore") + end
    return "/".join((*folders, base))
