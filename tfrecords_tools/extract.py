"""`hazeheal-tfrecords extract`: writes the pairs of a data set as files, `hazy/` and `GT/`.

An image that is stored byte for byte gets its own file name. A re-encoded image gets the suffix of its new format, and a
tile is named after its record. An image whose name another image has taken gets a longer name. If two splits have
different images of one name, as official splits do, the images of each split are in a subfolder, `hazy/val/`.

Every file is written atomically. A file `.extract.json` marks an unfinished extraction, which the same command resumes.
"""

import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator

from hazeheal.data import records
from hazeheal.errors import DataError, OutputError, UsageError
from hazeheal.utils.atomic import atomic_path, atomic_write, is_temporary
from hazeheal.utils.console import one_line, plural, progress_bar
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.convert.shard import read_sources
from tfrecords_tools.output_lock import LOCK, lock_output_dir

STATE = ".extract.json"
WINDOWS = os.name == "nt"  # where `a\\b` is a file in a directory, and `C:a` is on another disk
# The name is that of another file or of a folder, or a suffix has made it too long.
_NAME_ERRORS = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
_SUFFIXES = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",)}  # new names get the first one


def extract(directory: str, *, output_dir: str, split: str | None = None) -> int:
    """Writes the images of a data set, or of one split, to `output_dir/hazy` and `output_dir/GT`; returns exit code 0.

    Raises:
        UsageError: `output_dir` holds anything but an unfinished extraction of the same data, or the data set has no
            such split.
        DataError: Records are damaged. All other records are extracted.
    """
    if not os.fspath(output_dir):
        raise UsageError("--output_dir is empty; name a directory (. is the current directory)")
    manifest = records.load_manifest(directory)
    if split is not None and split not in manifest["splits"]:
        raise UsageError(f"--split={split} is not in {directory}; it has {', '.join(manifest['splits'])}")
    names = list(manifest["splits"]) if split is None else [split]
    splits = [records.open_split(directory, name) for name in names]
    sources = {name: list(read_sources(pathlib.Path(directory), manifest["splits"][name])) for name in names}
    hashes = {source["key"]: source for part in sources.values() for source in part}
    has_subfolders = _names_conflict(sources)
    problems, count, output = [], 0, pathlib.Path(output_dir)
    with (
        lock_output_dir(output),
        _unfinished(output, {"fingerprint": manifest["fingerprint"], "splits": names}) as finish,
        progress_bar(lines=True, total=sum(map(len, splits)), unit="pair", desc="extracting", leave=False) as bar,
    ):
        writers = {side: _Writer(output / folder, tiled=False) for side, folder in FOLDERS.items()}
        for part in splits:
            tiled = bool(manifest.get("added", {}).get(part.name, manifest)["options"].get("tile_size"))
            for pair in _read_pairs(part, problems):
                for side, writer in writers.items():
                    writer.tiled = tiled
                    writer.write(
                        getattr(pair, side),
                        key=pair.key,
                        source=(f"{part.name}/" if has_subfolders else "") + getattr(pair, f"{side}_source"),
                        source_sha256=hashes[pair.key][f"{side}_sha256"],
                    )
                count += 1
                bar.update()
        if not problems:
            finish()
    written, found = (sum(getattr(writer, name) for writer in writers.values()) for name in ("written", "found"))
    earlier = f", after {plural(found, 'file')} of an earlier run," if found else ""
    print(
        f"wrote {plural(count, 'pair')} as {plural(written, 'file')}{earlier} to {output_dir}/hazy and {output_dir}/GT"
    )
    for problem in problems:
        print(f"left out: {one_line(problem)}")
    if problems:
        raise DataError(f"{len(problems)} records are damaged, listed above; all others were written")
    return 0


def _names_conflict(sources: dict[str, list[dict]]) -> bool:
    """Returns whether two splits have different files of one name."""
    known = {}
    for split, part in sources.items():
        for source in part:
            for side in FOLDERS:
                other, digest = known.setdefault((side, source[side]), (split, source[f"{side}_sha256"]))
                if other != split and digest != source[f"{side}_sha256"]:
                    return True
    return False


@contextlib.contextmanager
def _unfinished(output: pathlib.Path, state: dict) -> Iterator[Callable[[], None]]:
    """Marks a directory as an unfinished extraction, and yields a function that removes the mark.

    An extraction that ends before its first file leaves nothing.

    Raises:
        UsageError: The directory holds anything else.
    """
    present = {name for name in os.listdir(output) if not is_temporary(name)} - {LOCK}
    if present and STATE not in present:
        raise UsageError(f"--output_dir={output} is not an empty directory; choose another directory")
    if present:
        try:
            known = json.loads(records.read_file(output / STATE))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{output / STATE} cannot be read ({error}); remove the directory") from error
        if known != state:
            raise UsageError(
                f"--output_dir={output} holds an unfinished extraction of other data; choose another directory, or remove "
                "that one"
            )
    for path in [*output.glob(".*"), *(path for folder in FOLDERS.values() for path in (output / folder).rglob(".*"))]:
        if is_temporary(path.name):  # left by a run that was killed
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    atomic_write(output / STATE, json.dumps(state))
    try:
        yield (output / STATE).unlink
    finally:
        with contextlib.suppress(OSError):  # they are not empty
            for folder in FOLDERS.values():
                if (output / folder).exists():
                    os.rmdir(output / folder)
            (output / STATE).unlink()


def _read_pairs(split: records.Split, problems: list[str]) -> Iterator[records.Pair]:
    """Yields each intact record; appends a line to `problems` for each damaged record."""
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
    """Writes the images of one side (`hazy` or `GT`). An image that several records share is written once.

    Attributes:
        tiled: Whether the images are tiles, which are named after their records.
        written, found: Number of files that this run and an earlier run have written.
    """

    def __init__(self, folder: pathlib.Path, *, tiled: bool):
        self.tiled, self.written, self.found = tiled, 0, 0
        self._files = {}  # name of each file of this and the earlier run -> SHA-256 of its contents
        self._folder = folder

    def write(self, data: bytes, *, key: str, source: str, source_sha256: str) -> None:
        digest = records.sha256(data)
        for name in self._names(data, key, source, unchanged=digest == source_sha256):
            refuse_unsafe(name)
            if self._files.get(name) == digest:
                return
            path = self._folder / name
            if os.path.lexists(path):
                if name in self._files or not path.is_file() or path.read_bytes() != data:
                    continue
                self.found += 1
            else:
                try:
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(data)
                except OutputError as error:
                    if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NAME_ERRORS:
                        continue
                    raise
                self.written += 1
            self._files[name] = digest
            return
        raise DataError(f"all file names for an image of record {key!r} are in use")

    def _names(self, data: bytes, key: str, source: str, *, unchanged: bool) -> Iterator[str]:
        """Yields names for an image, the best first. The later ones resolve conflicts."""
        suffixes = _SUFFIXES["jpeg" if data.startswith(b"\xff\xd8") else "png"]
        if not self.tiled:
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
