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
from hazeheal.errors import DataError, HazeHealError
from hazeheal.utils.atomic import atomic_path, atomic_write
from hazeheal.utils.hashing import sha256_of_file
from tfrecords_tools.convert import pair_records
from tfrecords_tools.convert.pair_records import FOLDERS, PairRecord, RecordOptions, SourcePair


@dataclasses.dataclass(frozen=True)
class ShardSpec:
    """One shard to write: `output_dir/file` with the records of `pairs`, in order."""

    output_dir: str
    file: str
    pairs: tuple[SourcePair, ...]
    options: RecordOptions

    @functools.cached_property
    def digest(self) -> str:
        """Hash of everything that decides the bytes. It differs if a source file or an option has changed."""
        sources = []
        for pair in self.pairs:
            source = [pair.key, pair.hazy, pair.clear, pair.hazy_state, pair.clear_state]
            sources.append(source if pair.scene == pair.clear else [*source, pair.scene])
        described = [self.options.described(), sources]
        return records.sha256(json.dumps([records.SCHEMA_VERSION, self.file, described]).encode())

    @property
    def path(self) -> pathlib.Path:
        """Path of the shard."""
        return pathlib.Path(self.output_dir) / self.file

    @property
    def note_path(self) -> pathlib.Path:
        """Path of the note that marks a finished shard, from which an interrupted conversion resumes."""
        return pathlib.Path(self.output_dir) / f".{self.file}.done.json"


def write_shard(spec: ShardSpec, progress: Callable[[int], object] = lambda count: None) -> list[dict]:
    """Writes `spec.path` and its note `spec.note_path`, each atomically.

    `progress` is called with 1 after each pair, and may raise to stop.

    Returns:
        `key`, `hazy`, `clear` and `reason` of the pairs that cannot be converted. The shard holds all other pairs.

    Raises:
        OutputError: The shard cannot be written: the disk is full, or a permission is missing.
    """
    contents, skipped = _Contents(spec.file), []
    load_clear = functools.lru_cache(maxsize=1)(pair_records.load_source)
    with (
        atomic_path(spec.path, durable=True) as temporary,
        open(temporary, "wb") as file,
        image_io.strict(),
    ):
        for pair in spec.pairs:
            try:
                for record in pair_records.make_records(pair, spec.options, load_clear=load_clear):
                    file.write(contents.add(record))
            except HazeHealError as error:
                skipped.append(pair.describe_problem(str(error)))
            progress(1)
    text = json.dumps(contents.note() | {"digest": spec.digest, "skipped": skipped})
    atomic_write(spec.note_path, f"{records.sha256(text.encode())}\n{text}", durable=True)
    return skipped


class _Contents:
    """Frames the records of a shard and collects its index rows, sources and counts."""

    def __init__(self, file: str):
        self._file = file
        self._number = int(file.rsplit("-", 3)[1])
        self._rows, self._sources = [], []
        self._formats = {side: collections.Counter() for side in FOLDERS}
        self._reencoded, self._profiles, self._darker = collections.Counter(), collections.Counter(), 0
        self._bytes, self._digest = 0, hashlib.sha256()

    def add(self, record: PairRecord) -> bytes:
        """Returns the record's frame, which must be written next."""
        unchanged = [side for side, image in record.images.items() if not image.reencoded]
        hashes = {side: record.source[f"{side}_sha256"] for side in unchanged}
        payload = records.serialize(record.pair, hashes=hashes)
        frame = tfrecord.frame(payload)
        offset, size = self._bytes + tfrecord.FRAME_HEADER_BYTES, (record.pair.height, record.pair.width)
        self._rows.append((self._number, offset, len(payload), zlib.crc32(payload), *size, record.psnr))
        self._sources.append(record.source)
        for side, image in record.images.items():
            self._formats[side][image.format] += 1
            if image.reencoded:
                self._reencoded[image.reencoded] += 1
        self._profiles.update(record.profiles)
        self._darker += record.is_darker
        self._bytes += len(frame)
        self._digest.update(frame)
        return frame

    def note(self) -> dict:
        rows = np.array(self._rows, dtype=records.INDEX_DTYPE)
        return {
            "file": self._file,
            "records": len(self._rows),
            "bytes": self._bytes,
            "sha256": self._digest.hexdigest(),
            "formats": self._formats,
            "reencoded": self._reencoded,
            "profiles": self._profiles,
            "darker": self._darker,
            "rows": base64.b64encode(rows.tobytes()).decode(),
            "sources": self._sources,
        }


def read_note(spec: ShardSpec) -> dict | None:
    """Reads the note of a finished shard.

    Returns:
        `file`, `records`, `bytes`, `sha256`, `formats`, `reencoded`, `profiles`, `darker`, `rows` (an array of
        `records.INDEX_DTYPE`), `sources` and `skipped`. None if the shard is not finished, if its source files or
        options have changed since, or if the note is damaged or of version 0.1, which did not convert colors.
    """
    try:
        digest, text = records.read_file(spec.note_path).decode().split("\n", 1)
        if records.sha256(text.encode()) != digest:
            return None
        note = json.loads(text)
        if note["digest"] != spec.digest or "profiles" not in note or spec.path.stat().st_size != note["bytes"]:
            return None
    except (OSError, ValueError):
        return None
    return note | {"rows": np.frombuffer(base64.b64decode(note["rows"]), dtype=records.INDEX_DTYPE)}


def is_finished(spec: ShardSpec, *, skip_bad: bool) -> bool:
    """Returns whether a shard needs no writing: it is intact and, unless `skip_bad`, holds all of its pairs."""
    note = read_note(spec)
    if note is None or (note["skipped"] and not skip_bad):
        return False
    return hash_file(spec.path) == note["sha256"]


def read_sources(directory: pathlib.Path, entry: dict) -> Iterator[dict]:
    """Yields `key`, `hazy`, `clear`, `hazy_sha256` and `clear_sha256` of each record of a split.

    An entry has `scene` too if the scene of the pair is not its clear file.

    `entry` is the split's entry in the manifest. Raises DataError if the list is missing or damaged.
    """
    path = pathlib.Path(directory) / entry["sources"]
    try:
        if hash_file(path) != entry["sources_sha256"]:
            raise DataError(f"{path}: its SHA-256 is not that of the manifest; convert the data set again")
        # Split at line feeds only: file names may contain other characters that `splitlines` splits at.
        with open(path, encoding="utf-8", newline="\n") as lines:
            yield from map(json.loads, lines)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); convert the data set again") from error


def hash_file(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file; raises OSError if it cannot be read, or is a directory, a pipe or a device."""
    records.refuse_special(path)
    return sha256_of_file(path)
