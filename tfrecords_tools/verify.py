"""`hazeheal-tfrecords verify`: reads everything in a data set again and names what is damaged.

Records are located by the index, not by their frames: a flipped bit in a frame's length would hide all frames after it,
but here it affects only its own record.
"""

import dataclasses
import io
import mmap
import pathlib
import zlib
from collections.abc import Callable

import numpy as np

from hazeheal.data import records, tfrecord
from hazeheal.data.images import image_io
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.console import one_line
from hazeheal.utils.cpu import usable_cores
from tfrecords_tools import pool
from tfrecords_tools.convert import shard, tfds_metadata
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.text import format_bytes


@dataclasses.dataclass(frozen=True)
class ShardCheck:
    """One shard to check.

    Attributes:
        path: The shard.
        entry: Its entry in the manifest.
        split: Name of the split.
        first: Number of its first record within the split.
        rows: Its rows of the index; None if the index is damaged.
        sources: The sources of its records; None if their list is damaged.
    """

    path: str
    entry: dict
    split: str
    first: int
    rows: np.ndarray | None
    sources: list[dict] | None

    def source(self, record: int) -> dict | None:
        """Returns the sources of a record, if they are known."""
        return self.sources[record] if self.sources and record < len(self.sources) else None

    def describe(self, record: int) -> str:
        """Names a record, with its key and its source files if they are known."""
        text = f"{self.path}, record {record} (number {self.first + record} of split {self.split}"
        if source := self.source(record):
            text += f", key {source['key']!r}, made from {source['hazy']} and {source['clear']}"
        return text + ")"


def verify(directory: str, *, workers: int | None = None) -> int:
    """Checks a data set and prints each problem.

    Args:
        directory: The data set.
        workers: Number of processes; by default all cores.

    Returns:
        Exit code 0 if nothing is damaged.

    Raises:
        UsageError: `workers` is not positive.
        DataError: Something is damaged.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers={workers} must be a positive integer")
    manifest = records.load_manifest(directory)
    problems = find_problems(directory, manifest, workers=workers or usable_cores())
    for problem in problems:
        print(f"damaged: {one_line(problem)}")
    if problems:
        raise DataError(
            f"{directory}: {len(problems)} problems, listed above; convert the data set again, or copy it again from an "
            "intact copy"
        )
    entries = manifest["splits"].values()
    shards = [one for entry in entries for one in entry["shards"]]
    print(
        f"{directory} is intact: {sum(entry['records'] for entry in entries)} records in {len(shards)} shards, "
        f"{format_bytes(sum(one['bytes'] for one in shards))}, fingerprint {manifest['fingerprint'][:16]}"
    )
    return 0


def find_problems(directory: str | pathlib.Path, manifest: dict, *, workers: int = 1) -> list[str]:
    """Returns one line for each problem, in the order of splits, shards and records."""
    directory = pathlib.Path(directory)
    problems, checks, first_use = [], [], {}
    hashes = manifest.get("provenance", {}).get("tfds_sha256", {})
    for name in tfds_metadata.FILES:
        if name in hashes:
            problems += _check_file(directory / name, hashes[name])
        else:
            problems.append(f"{directory / name}: {records.MANIFEST} lacks its SHA-256")
    for split, entry in manifest["splits"].items():
        index = _read_index(directory, entry, problems)
        sources = _read_sources(directory, entry, problems)
        for number, source in enumerate(sources or ()):
            place = f"{split} {number}"
            first = first_use.setdefault(source["key"], place)
            if first != place:
                problems.append(f"two records have the key {source['key']!r}: {first} and {place}")
        total = sum(one["records"] for one in entry["shards"])
        if total != entry["records"]:
            problems.append(f"split {split}: its shards hold {total} records, not {entry['records']}")
        start = 0
        for number, one in enumerate(entry["shards"]):
            check = ShardCheck(
                path=str(directory / one["file"]),
                entry=one,
                split=split,
                first=start,
                rows=None if index is None else index[index["shard"] == number],
                sources=None if sources is None else sources[start : start + one["records"]],
            )
            checks.append(check)
            start += one["records"]
    results = pool.run_tasks(
        check_shard,
        checks,
        workers=workers,
        total=sum(check.entry["records"] for check in checks),
        unit="record",
    )
    return problems + [line for lines in results for line in lines]


def _check_file(path: pathlib.Path, sha256: str) -> list[str]:
    try:
        if shard.hash_file(path) != sha256:
            return [f"{path}: its SHA-256 is not that of the manifest"]
    except FileNotFoundError:
        return [f"{path} is missing"]
    except OSError as error:
        return [f"{path} cannot be read ({error})"]
    return []


def _read_index(directory: pathlib.Path, entry: dict, problems: list[str]) -> np.ndarray | None:
    path = directory / entry["index"]
    wrong = _check_file(path, entry["index_sha256"])
    if wrong:
        problems += [f"{line} (the records of its shards cannot be checked one by one)" for line in wrong]
        return None
    index = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if index.dtype != records.INDEX_DTYPE or len(index) != entry["records"]:
        problems.append(f"{path} lists {len(index)} records, not {entry['records']}")
        return None
    return index


def _read_sources(directory: pathlib.Path, entry: dict, problems: list[str]) -> list[dict] | None:
    try:
        sources = list(shard.read_sources(directory, entry))
    except DataError as error:
        problems.append(f"{error} (the source files of damaged records cannot be named)")
        return None
    if len(sources) != entry["records"]:
        problems.append(
            f"{directory / entry['sources']} lists {len(sources)} records, not {entry['records']}"
        )
        return None
    return sources


def check_shard(check: ShardCheck, progress: Callable[[int], object] | None = None) -> list[str]:
    """Checks a shard's size and SHA-256, and each of its records.

    Args:
        check: The shard.
        progress: Called with 1 after each record.

    Returns:
        One line for each problem. Without an index, only those of the shard as a whole.
    """
    path, entry, problems = pathlib.Path(check.path), check.entry, []
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            problems.append(f"shard {path}: has {size} bytes instead of {entry['bytes']}")
        if shard.hash_file(path) != entry["sha256"]:
            problems.append(f"shard {path}: its SHA-256 is not that of the manifest")
        if check.rows is None:
            return problems
        if len(check.rows) != entry["records"]:
            problems.append(
                f"shard {path}: {len(check.rows)} records in the index, {entry['records']} in the manifest"
            )
        return problems + _check_records(check, size, progress)
    except FileNotFoundError:
        return [f"shard {path}: missing, with {entry['records']} records"]
    except OSError as error:
        return [*problems, f"shard {path}: cannot be read ({error})"]


def _check_records(check: ShardCheck, size: int, progress: Callable[[int], object] | None) -> list[str]:
    if not size:  # an empty file cannot be mapped
        return [
            f"{check.describe(number)}: truncated: the file is empty" for number in range(len(check.rows))
        ]
    problems = []
    with open(check.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, row in enumerate(check.rows):
            start, length = int(row["offset"]), int(row["length"])
            header = data[max(0, start - tfrecord.FRAME_HEADER_BYTES) : start]
            payload = data[start : start + length]
            footer = data[start + length : start + length + tfrecord.FRAME_FOOTER_BYTES]
            crc, expected_crc = zlib.crc32(payload), int(row["crc32"])
            if len(payload) < length or len(footer) < tfrecord.FRAME_FOOTER_BYTES:
                reasons = ["truncated: the file ends before the record's end"]
            elif crc != expected_crc:
                reasons = [f"its CRC32 is {crc:08x} instead of {expected_crc:08x}"]
                reasons += _check_record(payload, row=row, key=None)
            else:
                source = check.source(number)
                reasons = _check_record(payload, row=row, key=source and source["key"])
                reasons += _check_frame(header, payload, footer)
            problems += [f"{check.describe(number)}: {reason}" for reason in reasons]
            if progress:
                progress(1)
    return problems


def _check_frame(header: bytes, payload: bytes, footer: bytes) -> list[str]:
    reasons = []
    expected_header, expected_footer = tfrecord.frame_ends(payload)
    if header != expected_header:
        reasons.append("its frame's length, or the length's CRC, is damaged (the record itself is intact)")
    if footer != expected_footer:
        reasons.append("its frame's CRC is damaged (the record itself is intact)")
    return reasons


def _check_record(payload: bytes, *, row: np.void, key: str | None) -> list[str]:
    """Parses a record, compares hashes, sizes and the key, and decodes both images."""
    try:
        pair = records.parse(payload)
    except DataError as error:
        return [str(error)]
    reasons = []
    if key is not None and pair.key != key:
        reasons.append(f"its key is {pair.key!r}, but {key!r} in the list of sources")
    if (pair.height, pair.width) != (row["height"], row["width"]):
        reasons.append(
            f"its size is {pair.width}x{pair.height}, but {row['width']}x{row['height']} in the index"
        )
    for side in FOLDERS:
        try:
            height, width = image_io.load_rgb(getattr(pair, side), name=f"the {side} image")[0].shape[:2]
        except HazeHealError as error:
            reasons.append(str(error))
            continue
        if (height, width) != (pair.height, pair.width):
            reasons.append(
                f"the {side} image is {width}x{height}, but {pair.width}x{pair.height} in the record"
            )
    return reasons
