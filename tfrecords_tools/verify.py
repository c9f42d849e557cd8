"""`hazeheal-tfrecords verify`: re-reads everything and names what is damaged.

Records are found by the index and not by their frames: one flipped bit in a frame's length hides all
frames behind it, and costs only its own record here.
"""

import dataclasses
import io
import mmap
import pathlib
import zlib

import numpy as np

from hazeheal.data import records, tfrecord
from hazeheal.data.images import image_io
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.console import one_line
from tfrecords_tools import pool
from tfrecords_tools.convert import finalize, shard
from tfrecords_tools.info import format_bytes


@dataclasses.dataclass(frozen=True)
class Check:
    """One shard to be checked: what the manifest, the index and the sources say about it.

    Attributes:
        path: The shard.
        entry: Its entry in the manifest.
        rows: Its rows of the index; None if the index is damaged.
        keys: Its records' keys; None if the sources are damaged.
    """

    path: str
    entry: dict
    rows: np.ndarray | None
    keys: tuple | None


def verify(directory, *, workers: int | None = None) -> int:
    """Checks a data set and prints what is wrong.

    Returns:
        Exit code 0 if everything is whole.

    Raises:
        DataError: Something is damaged; all of it was printed before.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers={workers} must be 1 or more")
    manifest = records.load_manifest(directory)
    problems = find_problems(directory, manifest, workers=workers or pool.cores())
    for problem in problems:
        print(f"damaged: {one_line(problem)}")
    if problems:
        raise DataError(
            f"{directory}: {len(problems)} problems, listed above; convert the data set again, or copy it again "
            "from where it is whole"
        )
    entries = manifest["splits"].values()
    shards = [one for entry in entries for one in entry["shards"]]
    print(
        f"{directory} is whole: {sum(entry['records'] for entry in entries)} records in {len(shards)} shards, "
        f"{format_bytes(sum(one['bytes'] for one in shards))}, fingerprint {manifest['fingerprint'][:16]}"
    )
    return 0


def find_problems(directory, manifest: dict, *, workers: int = 1) -> list:
    """Returns one line for each thing that is wrong, in the order of splits, shards and records."""
    directory = pathlib.Path(directory)
    problems, checks, where, seen = [], [], [], {}
    hashes = manifest.get("provenance", {}).get("tfds_sha256", {})
    for name in finalize.TFDS_FILES:
        if name in hashes:
            problems += _check_file(directory / name, hashes[name])
        else:
            problems.append(f"{directory / name}: {records.MANIFEST} lacks its SHA-256")
    for split, entry in manifest["splits"].items():
        index = _read_index(directory, entry, problems)
        sources = _read_sources(directory, entry, problems)
        for number, source in enumerate(sources or ()):
            first = seen.setdefault(source["key"], f"{split} {number}")
            if first != f"{split} {number}":
                problems.append(f"key {source['key']!r} is twice there: {first} and {split} {number}")
        total = sum(one["records"] for one in entry["shards"])
        if total != entry["records"]:
            problems.append(f"split {split}: its shards hold {total} records, not {entry['records']}")
        first = 0
        for number, one in enumerate(entry["shards"]):
            rows = None if index is None else index[index["shard"] == number]
            named = None if sources is None else sources[first : first + one["records"]]
            keys = None if named is None else tuple(source["key"] for source in named)
            checks.append(Check(path=str(directory / one["file"]), entry=one, rows=rows, keys=keys))
            where.append((split, first, named))
            first += one["records"]
    found = pool.run_tasks(
        check_shard,
        checks,
        workers=workers,
        total=sum(check.entry["records"] for check in checks),
        unit="record",
    )
    for check, (split, first, named), lines in zip(checks, where, found, strict=True):
        for record, reason in lines:
            problems.append(_describe(check.path, record, split, first, named) + f": {reason}")
    return problems


def _describe(path, record, split, first, named) -> str:
    if record is None:
        return f"shard {path}"
    text = f"{path}, record {record} (number {first + record} of split {split}"
    if named and record < len(named):
        source = named[record]
        text += f", key {source['key']!r}, made of {source['hazy']} and {source['clear']}"
    return text + ")"


def _check_file(path: pathlib.Path, expected: str) -> list:
    try:
        if shard.hash_file(path) != expected:
            return [f"{path}: its SHA-256 is not the one written"]
    except FileNotFoundError:
        return [f"{path} is missing"]
    except OSError as error:
        return [f"{path} cannot be read ({error})"]
    return []


def _read_index(directory, entry, problems):
    path = directory / entry["index"]
    wrong = _check_file(path, entry["index_sha256"])
    if wrong:
        problems += [f"{line} (its shards are walked by their frames instead)" for line in wrong]
        return None
    index = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if index.dtype != records.INDEX_DTYPE or len(index) != entry["records"]:
        problems.append(f"{path} lists {len(index)} records, not {entry['records']}")
        return None
    return index


def _read_sources(directory, entry, problems):
    path = directory / entry["sources"]
    try:
        sources = list(shard.read_sources(directory, entry))
    except DataError as error:
        problems.append(f"{error} (sources cannot be named)")
        return None
    if len(sources) != entry["records"]:
        problems.append(f"{path} lists {len(sources)} records, not {entry['records']}")
        return None
    return sources


def check_shard(check: Check, progress=None) -> list:
    """Checks one shard and all its records.

    Returns:
        (record within the shard, reason), with None for what concerns the shard as a whole.
    """
    path = pathlib.Path(check.path)
    try:
        size = path.stat().st_size
        digest = shard.hash_file(path)
    except FileNotFoundError:
        return [(None, f"missing, with {check.entry['records']} records")]
    except OSError as error:
        return [(None, f"cannot be read ({error})")]
    problems = []
    if size != check.entry["bytes"]:
        problems.append((None, f"has {size} bytes instead of {check.entry['bytes']}"))
    if digest != check.entry["sha256"]:
        problems.append((None, "its SHA-256 is not the manifest's"))
    if check.rows is not None and len(check.rows) != check.entry["records"]:
        problems.append(
            (None, f"{len(check.rows)} records in the index, {check.entry['records']} in the manifest")
        )
    try:
        if check.rows is None:
            return problems + _check_frames(check, progress)
        return problems + _check_rows(check, size, progress)
    except OSError as error:
        return [*problems, (None, f"cannot be read ({error})")]


def _check_rows(check: Check, size: int, progress) -> list:
    problems = []
    if not size:
        return [(number, "cut off") for number in range(len(check.rows))]
    with open(check.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, row in enumerate(check.rows):
            start, length = int(row["offset"]), int(row["length"])
            header = data[max(0, start - records.FRAME_HEADER_BYTES) : start]
            payload = data[start : start + length]
            footer = data[start + length : start + length + records.FRAME_FOOTER_BYTES]
            if len(payload) < length or len(footer) < records.FRAME_FOOTER_BYTES:
                reasons = ["cut off: the file ends before it"]
            elif zlib.crc32(payload) != row["crc32"]:
                reasons = [f"CRC32 is {zlib.crc32(payload):08x}, written was {int(row['crc32']):08x}"]
                reasons += _check_record(payload, row=row, key=None)
            else:
                reasons = _check_record(payload, row=row, key=check.keys and check.keys[number])
                reasons += _check_frame(header, payload, footer)
            problems += [(number, reason) for reason in reasons]
            if progress:
                progress(1)
    return problems


def _check_frames(check: Check, progress) -> list:
    """Without an index: what can be walked from frame to frame."""
    problems, number = [], -1
    for number, payload in enumerate(tfrecord.read_frames(check.path)):
        key = check.keys[number] if check.keys and number < len(check.keys) else None
        problems += [(number, reason) for reason in _check_record(payload, row=None, key=key)]
        if progress:
            progress(1)
    if number + 1 != check.entry["records"]:
        problems.append(
            (
                None,
                f"only {number + 1} of {check.entry['records']} records can be reached from frame to frame",
            )
        )
    return problems


def _check_frame(header: bytes, payload: bytes, footer: bytes) -> list:
    reasons = []
    expected_header, expected_footer = tfrecord.frame_ends(payload)
    if header != expected_header:
        reasons.append("its frame's length, or the CRC of that, is damaged (the record itself is whole)")
    if footer != expected_footer:
        reasons.append("its frame's CRC is damaged (the record itself is whole)")
    return reasons


def _check_record(payload: bytes, *, row, key: str | None) -> list:
    """Parses, compares the SHA-256, decodes both images, and compares their sizes and the key."""
    try:
        pair = records.parse(payload)
    except DataError as error:
        return [str(error)]
    reasons = []
    if key is not None and pair.key != key:
        reasons.append(f"its key is {pair.key!r}, the list of sources says {key!r}")
    if row is not None and (pair.height, pair.width) != (row["height"], row["width"]):
        reasons.append(f"it says {pair.width}x{pair.height}, the index {row['width']}x{row['height']}")
    for side in shard.FOLDERS:
        try:
            height, width = image_io.load_rgb(getattr(pair, side), name=f"the {side} image")[0].shape[:2]
        except HazeHealError as error:
            reasons.append(str(error))
            continue
        if (height, width) != (pair.height, pair.width):
            reasons.append(
                f"the {side} image is {width}x{height}, the record says {pair.width}x{pair.height}"
            )
    return reasons
