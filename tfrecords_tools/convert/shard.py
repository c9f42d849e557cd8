"""Makes one shard: images in, records out. `write_shard` is a function of its spec alone.

A spec is small and picklable and names everything that decides the shard's bytes, so the same spec
gives the same file in whatever process, in whatever order; a process pool maps it here, and a Beam
pipeline can on a file system that all its workers share. Images pass through one record at a time.
"""

import base64
import collections
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import secrets
import zlib

import numpy as np

from hazeheal.data import records, tfrecord
from hazeheal.data.images import image_io
from hazeheal.errors import DataError, HazeHealError
from hazeheal.utils.hashing import sha256_of_file
from tfrecords_tools.convert import pair_records

FOLDERS = {"hazy": "hazy", "clear": "GT"}


@dataclasses.dataclass(frozen=True)
class ShardSpec:
    """One shard to be written: `output_dir/file` of `pairs`, in order."""

    output_dir: str
    file: str
    hazy_dir: str
    gt_dir: str
    pairs: tuple
    options: pair_records.RecordOptions

    @functools.cached_property
    def digest(self) -> str:
        """Hash of what decides the bytes: changed source files or options give another one."""
        described = [dataclasses.asdict(self.options), [dataclasses.astuple(pair) for pair in self.pairs]]
        return records.sha256(json.dumps([records.SCHEMA_VERSION, self.file, described]).encode())

    @property
    def path(self) -> pathlib.Path:
        return pathlib.Path(self.output_dir) / self.file

    @property
    def done_path(self) -> pathlib.Path:
        """The note beside a finished shard that an interrupted conversion is taken up from."""
        return pathlib.Path(self.output_dir) / f".{self.file}.done.json"


def write_shard(spec: ShardSpec, progress=None) -> dict:
    """Writes `spec.path` and the note `spec.done_path`; each appears whole or not at all.

    Args:
        spec: What to write.
        progress: Called with 1 after each pair; may raise to stop.

    Returns:
        The note without its rows and sources: `file`, `digest`, `records`, `bytes`, `sha256`, `formats`,
        `reencoded`, and `skipped`, the pairs that could not be converted with the reasons. The shard then
        holds all others.

    Raises:
        HazeHealError: The shard cannot be written (disk full, no permission).
    """
    temporary = spec.path.with_name(f".{spec.file}.tmp-{_number()}")
    rows, sources, skipped = [], [], []
    formats = {side: collections.Counter() for side in FOLDERS}
    reencoded = collections.Counter()
    load_clear = functools.lru_cache(maxsize=1)(pair_records.load_source)
    shard_number = int(spec.file.rsplit("-", 3)[1])
    position, digest = 0, hashlib.sha256()
    try:
        with open(temporary, "wb") as file, image_io.strict():
            for pair in spec.pairs:
                try:
                    for made in pair_records.make_records(
                        pair,
                        hazy_dir=spec.hazy_dir,
                        gt_dir=spec.gt_dir,
                        options=spec.options,
                        load_clear=load_clear,
                    ):
                        payload = records.serialize(made.pair, hashes=made.hashes)
                        header, footer = tfrecord.frame_ends(payload)
                        for part in (header, payload, footer):
                            file.write(part)
                            digest.update(part)
                        offset = position + records.FRAME_HEADER_BYTES
                        position = offset + len(payload) + records.FRAME_FOOTER_BYTES
                        size = (made.pair.height, made.pair.width)
                        rows.append(
                            (shard_number, offset, len(payload), zlib.crc32(payload), *size, made.psnr)
                        )
                        sources.append(made.source)
                        for side in FOLDERS:
                            formats[side][made.formats[side]] += 1
                            if made.reencoded[side]:
                                reencoded[made.reencoded[side]] += 1
                except HazeHealError as error:
                    skipped.append(
                        {"key": pair.key, "hazy": pair.hazy, "clear": pair.clear, "reason": str(error)}
                    )
                if progress:
                    progress(1)
            file.flush()
            os.fsync(file.fileno())  # a rename must not come before the bytes that it names
        os.replace(temporary, spec.path)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise HazeHealError(
            f"{spec.path} cannot be written: {reason}; finished shards are kept, the same command goes on from them"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    note = {
        "file": spec.file,
        "digest": spec.digest,
        "records": len(rows),
        "bytes": position,
        "sha256": digest.hexdigest(),
        "formats": {side: dict(sorted(counter.items())) for side, counter in formats.items()},
        "reencoded": dict(sorted(reencoded.items())),
        "skipped": skipped,
    }
    table = np.array(rows, dtype=records.INDEX_DTYPE)
    detail = {"rows": base64.b64encode(table.tobytes()).decode(), "sources": sources}
    text = json.dumps(note | detail)
    signed = {"note": text, "sha256": records.sha256(text.encode())}
    atomic_write(spec.done_path, json.dumps(signed).encode())
    return note


def read_done(spec: ShardSpec, *, detail: bool = False) -> dict | None:
    """Returns the note of `spec` if its shard was finished, and note and shard are still what was written."""
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # damaged: made again
        return None


def atomic_write(path: pathlib.Path, data: bytes) -> None:
    """Writes a file so that it is either absent or whole, through a power failure too."""
    temporary = path.with_name(f".{path.name.lstrip('.')}.tmp-{_number()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_sources(directory, entry: dict):
    """Yields a split's sources, a dict for each record, after comparing the list with the manifest's `entry`.

    Raises:
        DataError: It is missing or damaged.
    """
    path = pathlib.Path(directory) / entry["sources"]
    try:
        if hash_file(path) != entry["sources_sha256"]:
            raise DataError(f"{path}: its SHA-256 is not the one written; convert the data set again")
        # At line feeds alone: names may hold what `splitlines` takes for the end of a line.
        with open(path, encoding="utf-8", newline="\n") as lines:
            yield from map(json.loads, lines)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; convert the data set again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); convert the data set again") from error


def hash_file(path) -> str:
    records.refuse_special(path)
    return sha256_of_file(path)


def _number() -> str:
    """Of a file that this call alone writes: process numbers of two hosts of a Beam pipeline may be alike."""
    return f"{os.getpid()}{secrets.randbelow(10**9):09}"
