"""`hazeheal-tfrecords extract`: writes the pairs of a data set as files, `hazy/` and `GT/`.

An image that is stored byte for byte gets its own file name. A re-encoded image gets the suffix of its new format, and a
tile is named after its record. An image whose name another image has taken gets a longer name.
"""

import contextlib
import errno
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

from hazeheal.data import records
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.atomic import atomic_path, is_temporary
from hazeheal.utils.console import one_line, plural
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.convert.shard import read_sources

WINDOWS = os.name == "nt"  # where `a\\b` is a file in a directory, and `C:a` is on another disk
# The name is that of another file or of a folder, or a suffix has made it too long.
_NAME_ERRORS = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
_SUFFIXES = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",)}  # new names get the first one


def extract(directory: str, *, output_dir: str, split: str | None = None) -> int:
    """Writes the images of a data set, or of one split, to `output_dir/hazy` and `output_dir/GT`; returns exit code 0.

    Both folders appear when they are complete.

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
    splits = [records.open_split(directory, name) for name in names]
    hashes = {}  # of the source files, by key and side
    for name in names:
        for source in read_sources(pathlib.Path(directory), manifest["splits"][name]):
            hashes[source["key"]] = {side: source[f"{side}_sha256"] for side in FOLDERS}
    tiled = bool(manifest["options"].get("tile_size"))
    problems, count = [], 0
    with _output_folders(pathlib.Path(output_dir)) as folders:
        writers = {side: _Writer(folder, tiled=tiled) for side, folder in folders.items()}
        for pair in _read_pairs(splits, problems):
            for side, writer in writers.items():
                writer.write(
                    getattr(pair, side),
                    key=pair.key,
                    source=getattr(pair, f"{side}_source"),
                    source_sha256=hashes[pair.key][side],
                )
            count += 1
    files = sum(len(writer.files) for writer in writers.values())
    print(f"wrote {plural(count, 'pair')} as {plural(files, 'file')} to {output_dir}/hazy and {output_dir}/GT")
    for problem in problems:
        print(f"left out: {one_line(problem)}")
    if problems:
        raise DataError(f"{len(problems)} records are damaged, listed above; all others were written")
    return 0


@contextlib.contextmanager
def _output_folders(output_dir: pathlib.Path) -> Iterator[dict[str, pathlib.Path]]:
    """Yields a folder for each side. At the end they become `output_dir/hazy` and `output_dir/GT`."""
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        leftovers = os.listdir(output_dir)
    except OSError as error:
        raise UsageError(
            f"--output_dir={output_dir} cannot be written ({error.strerror or error}); choose another directory"
        ) from error
    if not all(is_temporary(name) for name in leftovers):
        raise UsageError(f"--output_dir={output_dir} is not an empty directory; choose another directory")
    for name in leftovers:  # of a run that was killed
        shutil.rmtree(output_dir / name)
    with contextlib.ExitStack() as stack:
        folders = {side: stack.enter_context(atomic_path(output_dir / folder)) for side, folder in FOLDERS.items()}
        for folder in folders.values():
            folder.mkdir()
        yield folders


def _read_pairs(splits: list[records.Split], problems: list[str]) -> Iterator[records.Pair]:
    """Yields each intact record; appends a line to `problems` for each damaged record."""
    for split in splits:
        for record, row in enumerate(split.index):
            path = split.shards[row["shard"]]
            try:
                with open(path, "rb") as file:
                    file.seek(int(row["offset"]))
                    payload = file.read(int(row["length"]))
                records.check_payload(payload, split=split, record=record)
                yield records.parse(payload)
            except DataError as error:
                problems.append(str(error))
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error}") from error


class _Writer:
    """Writes the images of one side (`hazy` or `GT`). An image that several records share is written once."""

    def __init__(self, folder: pathlib.Path, *, tiled: bool):
        self.files = {}  # name of each written file -> SHA-256 of its contents
        self._folder = folder
        self._tiled = tiled

    def write(self, data: bytes, *, key: str, source: str, source_sha256: str) -> None:
        digest = records.sha256(data)
        for name in self._names(data, key, source, unchanged=digest == source_sha256):
            refuse_unsafe(name)
            if self.files.get(name) == digest:
                return
            path = self._folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as file:
                    file.write(data)
            except OSError as error:
                if error.errno in _NAME_ERRORS:
                    continue
                raise
            self.files[name] = digest
            return
        raise DataError(f"all file names for an image of record {key!r} are in use")

    def _names(self, data: bytes, key: str, source: str, *, unchanged: bool) -> Iterator[str]:
        """Yields names for an image, the best first. The later ones resolve conflicts."""
        suffixes = _SUFFIXES["jpeg" if data.startswith(b"\xff\xd8") else "png"]
        if not self._tiled:
            stem, old_suffix = os.path.splitext(source)
            yield source if unchanged or old_suffix.lower() in suffixes else stem + suffixes[0]
            yield source + suffixes[0]
        yield key + suffixes[0]
        yield records.sha256(data)[:12] + suffixes[0]


def refuse_unsafe(name: str) -> None:
    """Raises DataError if a relative file name would lead out of its folder."""
    if (
        any(part in ("", ".", "..") for part in name.split("/"))
        or "\0" in name
        or (WINDOWS and ("\\" in name or re.match(r"[A-Za-z]:", name)))
    ):
        raise DataError(f"a record's source is {name!r}, which leads out of the folder; not extracted")
