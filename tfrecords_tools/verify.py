"""`hazeheal-tfrecords verify`: reads everything in a data set again and names what is damaged.

Records are located by the index, not by their frames: a flipped bit in a frame's length would hide all frames after it,
but here it affects only its own record.
"""

import pathlib
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np

from hazeheal.data import records, tfrecord
from hazeheal.data.images import image_io
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.console import first_few, one_line, plural
from hazeheal.utils.cpu import usable_cores
from tfrecords_tools import pool
from tfrecords_tools.convert import shard, tfds_metadata
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.convert.scenes import find_shared_images
from tfrecords_tools.text import format_bytes


class ShardCheck(NamedTuple):
    """A shard to check: its path, its entry in the manifest, and its rows of the index, or None without an index."""

    path: pathlib.Path
    entry: dict
    rows: np.ndarray | None


def verify(directory: str, *, workers: int | None = None) -> int:
    """Checks a data set in `workers` processes and prints each problem; returns exit code 0 if there is none.

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
    problems, checks, places = [], [], []
    provenance = manifest.get("provenance", {})
    # While a split is added, both the old and the new metadata are valid.
    hashes, following = (provenance.get(name, {}) for name in ("tfds_sha256", "next_tfds_sha256"))
    for name in tfds_metadata.FILES:
        if name in hashes:
            damage = _check_file(directory / name, hashes[name])
            problems += damage and _check_file(directory / name, following.get(name, hashes[name]))
        else:
            problems.append(f"{directory / name}: {records.MANIFEST} lacks its SHA-256")
    readable = True
    for name, entry in manifest["splits"].items():
        damage = _check_file(directory / entry["sources"], entry["sources_sha256"])
        problems += damage
        readable &= not damage
        damage = _check_file(directory / entry["index"], entry["index_sha256"])
        problems += [f"{line} (the records of its shards cannot be checked one by one)" for line in damage]
        index = None if damage else np.load(directory / entry["index"], allow_pickle=False)
        paths = tuple(directory / one["file"] for one in entry["shards"])
        split = records.Split(
            name=name,
            shards=paths,
            index=index,
            sources=directory / entry["sources"],
            fingerprint=records.split_fingerprint(entry),
        )
        first = 0
        for number, one in enumerate(entry["shards"]):
            rows = None if index is None else index[index["shard"] == number]
            checks.append(ShardCheck(paths[number], one, rows))
            places.append((split, first))
            first += one["records"]
    if readable and (shared := find_shared_images(directory, manifest)):
        problems.append(f"{directory}: splits share {plural(len(shared), 'clear image')} ({first_few(shared)})")
    results = pool.run_tasks(
        check_shard,
        checks,
        workers=workers,
        total=sum(check.entry["records"] for check in checks),
        unit="record",
    )
    for check, (split, first), found in zip(checks, places, results, strict=True):
        for record, reason in found:
            place = f"shard {check.path}" if record is None else split.describe(first + record)
            problems.append(f"{place}: {reason}")
    return problems


def _check_file(path: pathlib.Path, sha256: str) -> list[str]:
    try:
        if shard.hash_file(path) != sha256:
            return [f"{path}: its SHA-256 is not that of the manifest"]
    except FileNotFoundError:
        return [f"{path} is missing"]
    except OSError as error:
        return [f"{path} cannot be read ({error})"]
    return []


def check_shard(check: ShardCheck, progress: Callable[[int], object]) -> list[tuple[int | None, str]]:
    """Checks a shard's size and SHA-256, and each of its records if there is an index.

    Returns:
        (number of the record in the shard, problem); the number is None for a problem of the whole shard.
    """
    path, entry, rows = check
    problems = []
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            problems.append((None, f"has {size} bytes instead of {entry['bytes']}"))
        if shard.hash_file(path) != entry["sha256"]:
            problems.append((None, "its SHA-256 is not that of the manifest"))
        with open(path, "rb") as file:
            for number, row in enumerate([] if rows is None else rows):
                problems += [(number, reason) for reason in _check_record(file, row)]
                progress(1)
    except FileNotFoundError:
        return [(None, f"missing, with {entry['records']} records")]
    except OSError as error:
        problems.append((None, f"cannot be read ({error})"))
    return problems


def _check_record(file: BinaryIO, row: np.void) -> list[str]:
    """Reads the record of a row of the index, checks its CRC and its frame, and decodes both of its images."""
    start, length = int(row["offset"]), int(row["length"])
    file.seek(start - tfrecord.FRAME_HEADER_BYTES)
    frame = file.read(tfrecord.FRAME_HEADER_BYTES + length + tfrecord.FRAME_FOOTER_BYTES)
    payload = frame[tfrecord.FRAME_HEADER_BYTES :][:length]
    if len(frame) < tfrecord.FRAME_HEADER_BYTES + length + tfrecord.FRAME_FOOTER_BYTES:
        return ["truncated: the file ends before the record's end"]
    crc, expected = zlib.crc32(payload), int(row["crc32"])
    reasons = []
    if crc != expected:
        reasons.append(f"its CRC32 is {crc:08x} instead of {expected:08x}")
    elif frame != tfrecord.frame(payload):
        reasons.append("its frame's length or CRC is damaged (the record itself is intact)")
    try:
        pair = records.parse(payload)
    except DataError as error:
        return [*reasons, str(error)]
    for side in FOLDERS:
        try:
            height, width = image_io.load_rgb(getattr(pair, side), name=f"the {side} image")[0].shape[:2]
        except HazeHealError as error:
            reasons.append(str(error))
            continue
        if (height, width) != (row["height"], row["width"]):
            reasons.append(f"the {side} image is {width}x{height}, but {row['width']}x{row['height']} in the index")
    return reasons
