"""Writes one shard: image files in, records out. The shard's bytes depend only on its `ShardSpec`.

A spec is small and picklable, and gives the same bytes in any process and in any order. The process pool and the Beam
pipeline both map `write_shard` over specs. Only one record is in memory at a time.
"""

import base64
import collections
import dataclasses
import functools
import hashlib
import json
import pathlib
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from hazeheal.data import records, tfrecord
from hazeheal.data.images import image_io
from hazeheal.errors import DataError, HazeHealError, OutputError
from hazeheal.utils.atomic import atomic_path, atomic_write
from hazeheal.utils.hashing import sha256_of_file
from tfrecords_tools.convert import pair_records
from tfrecords_tools.convert.pair_records import FOLDERS, PairRecord, RecordOptions, SourcePair

# What reading a note can raise if the note is damaged.
DAMAGED_JSON = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclasses.dataclass(frozen=True)
class ShardSpec:
    """One shard to write: `output_dir/file` with the records of `pairs`, in order."""

    output_dir: str
    file: str
    hazy_dir: str
    gt_dir: str
    pairs: tuple[SourcePair, ...]
    options: RecordOptions

    @functools.cached_property
    def digest(self) -> str:
        """Hash of everything that decides the bytes. It differs if a source file or an option has changed."""
        described = [dataclasses.asdict(self.options), [dataclasses.astuple(pair) for pair in self.pairs]]
        return records.sha256(json.dumps([records.SCHEMA_VERSION, self.file, described]).encode())

    @property
    def path(self) -> pathlib.Path:
        """Path of the shard."""
        return pathlib.Path(self.output_dir) / self.file

    @property
    def done_path(self) -> pathlib.Path:
        """Path of the note that marks a finished shard, from which an interrupted conversion resumes."""
        return pathlib.Path(self.output_dir) / f".{self.file}.done.json"


def write_shard(spec: ShardSpec, progress: Callable[[int], object] | None = None) -> dict:
    """Writes `spec.path` and its note `spec.done_path`, each atomically.

    Args:
        spec: The shard.
        progress: Called with 1 after each pair; may raise to stop.

    Returns:
        The note without its rows and sources: `file`, `digest`, `records`, `bytes`, `sha256`, `formats`, `reencoded`,
        and `skipped`, the pairs that cannot be converted, with reasons. The shard holds all other pairs.

    Raises:
        OutputError: The shard cannot be written: the disk is full, or a permission is missing.
    """
    contents, skipped = _Contents(spec.file), []
    load_clear = functools.lru_cache(maxsize=1)(pair_records.load_source)
    try:
        with (
            atomic_path(spec.path, durable=True) as temporary,
            open(temporary, "wb") as file,
            image_io.strict(),
        ):
            for pair in spec.pairs:
                try:
                    for record in pair_records.make_records(
                        pair,
                        hazy_dir=spec.hazy_dir,
                        gt_dir=spec.gt_dir,
                        options=spec.options,
                        load_clear=load_clear,
                    ):
                        file.write(contents.add(record))
                except HazeHealError as error:
                    skipped.append(
                        {"key": pair.key, "hazy": pair.hazy, "clear": pair.clear, "reason": str(error)}
                    )
                if progress:
                    progress(1)
        note = contents.note() | {"digest": spec.digest, "skipped": skipped}
        text = json.dumps(note | contents.detail())
        signed = {"note": text, "sha256": records.sha256(text.encode())}
        atomic_write(spec.done_path, json.dumps(signed), durable=True)
    except OutputError as error:
        raise OutputError(
            f"{error}; finished shards are kept: rerun the command to continue from them"
        ) from error
    return note


class _Contents:
    """Frames the records of a shard and collects its index rows, sources and counts."""

    def __init__(self, file: str):
        self._file = file
        self._number = int(file.rsplit("-", 3)[1])
        self._rows, self._sources = [], []
        self._formats = {side: collections.Counter() for side in FOLDERS}
        self._reencoded = collections.Counter()
        self._bytes, self._digest = 0, hashlib.sha256()

    def add(self, record: PairRecord) -> bytes:
        """Returns the record's frame, which must be written next."""
        payload = records.serialize(record.pair, hashes=record.hashes)
        frame = tfrecord.frame(payload)
        offset, size = self._bytes + tfrecord.FRAME_HEADER_BYTES, (record.pair.height, record.pair.width)
        self._rows.append((self._number, offset, len(payload), zlib.crc32(payload), *size, record.psnr))
        self._sources.append(record.source)
        for side in FOLDERS:
            self._formats[side][record.formats[side]] += 1
            if record.reencoded[side]:
                self._reencoded[record.reencoded[side]] += 1
        self._bytes += len(frame)
        self._digest.update(frame)
        return frame

    def note(self) -> dict:
        return {
            "file": self._file,
            "records": len(self._rows),
            "bytes": self._bytes,
            "sha256": self._digest.hexdigest(),
            "formats": {side: dict(sorted(counter.items())) for side, counter in self._formats.items()},
            "reencoded": dict(sorted(self._reencoded.items())),
        }

    def detail(self) -> dict:
        table = np.array(self._rows, dtype=records.INDEX_DTYPE)
        return {"rows": base64.b64encode(table.tobytes()).decode(), "sources": self._sources}


def read_done(spec: ShardSpec, *, detail: bool = False) -> dict | None:
    """Reads the note of a finished shard.

    Args:
        spec: The shard.
        detail: Whether to return `rows` (an array of `records.INDEX_DTYPE`) and `sources` too. The shard's SHA-256 is
            then not checked again.

    Returns:
        The note; None if the shard is not finished, or if the note or the shard has changed since it was written.
    """
    try:
        signed = json.loads(records.read_file(spec.done_path))
        if records.sha256(signed["note"].encode()) != signed["sha256"]:
            return None
        note = json.loads(signed["note"])
        if note["digest"] != spec.digest or spec.path.stat().st_size != note["bytes"]:
            return None
        if detail:
            rows = base64.b64decode(note["rows"])
            return note | {"rows": np.frombuffer(rows, dtype=records.INDEX_DTYPE)}
        if hash_file(spec.path) != note["sha256"]:
            return None
        return {key: value for key, value in note.items() if key not in ("rows", "sources")}
    except DAMAGED_JSON:
        return None


def read_sources(directory: pathlib.Path, entry: dict) -> Iterator[dict]:
    """Yields the source files of each record of a split: `key`, `hazy`, `clear`, `hazy_sha256`, `clear_sha256`.

    Args:
        directory: The data set.
        entry: The split's entry in the manifest.

    Raises:
        DataError: The list is missing or damaged.
    """
    path = pathlib.Path(directory) / entry["sources"]
    try:
        if hash_file(path) != entry["sources_sha256"]:
            raise DataError(f"{path}: its SHA-256 is not that of the manifest; convert the data set again")
        # Split at line feeds only: file names may contain other characters that `splitlines` splits at.
        with open(path, encoding="utf-8", newline="\n") as lines:
            yield from map(json.loads, lines)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; convert the data set again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); convert the data set again") from error


def hash_file(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a regular file.

    Raises:
        OSError: The file cannot be read, or is a directory, a pipe or a device.
    """
    records.refuse_special(path)
    return sha256_of_file(path)
