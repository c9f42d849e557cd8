"""`hazeheal-tfrecords info`: describes a data set from its manifest and index. No record is read."""

import collections
import json

import numpy as np

from hazeheal.data import records
from hazeheal.utils.console import plural
from tfrecords_tools.convert.pair_check import describe_psnr, format_psnr
from tfrecords_tools.text import format_bytes

TOP_RESOLUTIONS = 5


def describe(directory: str) -> dict:
    """Returns what `info --json` prints.

    Returns:
        `name`, `fingerprint`, `options`, `added`, `reencoded`, `skipped`, `provenance`, and for each of `splits`:
        `records`, `scenes` (None in data sets of version 0.1), `shards`, `bytes`, `formats`, `resolutions` ({"WxH": count}, the most frequent first), `smallest` and `largest`
        side in pixels, `psnr` (mean in dB over pairs of different images; None if there are none), `psnr_min`,
        `psnr_max`, and `identical`, the number of pairs of equal images.

    Raises:
        DataError: The manifest, an index or a shard is missing or damaged.
    """
    manifest = records.load_manifest(directory)
    copied = ("name", "fingerprint", "options", "added", "reencoded", "skipped", "provenance")
    scenes = manifest.get("provenance", {}).get("scenes", {})
    splits = {
        name: _describe_split(records.open_split(directory, name).index, entry) | {"scenes": scenes.get(name)}
        for name, entry in manifest["splits"].items()
    }
    return {key: manifest.get(key) for key in copied} | {"splits": splits}


def _describe_split(index: np.ndarray, entry: dict) -> dict:
    sizes = collections.Counter(zip(index["width"].tolist(), index["height"].tolist(), strict=True))
    by_frequency = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return {
        "records": len(index),
        "shards": len(entry["shards"]),
        "bytes": sum(shard["bytes"] for shard in entry["shards"]),
        "formats": entry.get("formats", {}),
        "resolutions": {f"{width}x{height}": count for (width, height), count in by_frequency},
        "smallest": min(map(min, sizes), default=0),
        "largest": max(map(max, sizes), default=0),
        **describe_psnr(index["psnr"]),
    }


def info(directory: str, *, as_json: bool = False) -> int:
    """Prints `describe(directory)` as text or as JSON; returns exit code 0."""
    description = describe(directory)
    if as_json:
        print(json.dumps(description, indent=1))
        return 0
    print(f"{description['name']}  ({directory})")
    for name, split in description["splits"].items():
        _print_split(name, split)
    for reason, count in (description["reencoded"] or {}).items():
        print(f"re-encoded: {plural(count, 'image')}: {reason}")
    if description["skipped"]:
        print(f"skipped: {plural(description['skipped'], 'pair')}, see skipped.txt")
    for title, entry in {"": description, **(description["added"] or {})}.items():
        options = [f"{key}={value}" for key, value in entry["options"].items() if value is not None]
        print(f"{f'added {title}: ' if title else ''}options: {', '.join(options)}")
    print(f"fingerprint: {description['fingerprint']}")
    provenance = description["provenance"] or {}
    print(f"created: {provenance.get('time')} by: {provenance.get('command')}")
    versions = provenance.get("versions", {})
    print("versions: " + ", ".join(f"{package} {version}" for package, version in versions.items()))
    return 0


def _print_split(name: str, split: dict) -> None:
    scenes = "" if split["scenes"] is None else f", {plural(split['scenes'], 'scene')}"
    size = f"{plural(split['records'], 'pair')} in {plural(split['shards'], 'shard')}{scenes}, {format_bytes(split['bytes'])}"
    print(f"{name}: {size}, sides from {split['smallest']} to {split['largest']} pixels")
    for resolution, count in list(split["resolutions"].items())[:TOP_RESOLUTIONS]:
        print(f"  {resolution:>11}  {count:7d}  {100 * count / split['records']:5.1f} %")
    if len(split["resolutions"]) > TOP_RESOLUTIONS:
        print(f"  and {len(split['resolutions']) - TOP_RESOLUTIONS} other resolutions")
    for side, formats in split["formats"].items():
        print(f"  {side}: " + ", ".join(f"{count} {kind}" for kind, count in formats.items()))
    if split["psnr"] is not None:
        print(f"  {format_psnr(split)}")
    if split["identical"]:
        print(f"  {split['identical']} pairs hold two equal images (infinite PSNR, not included in the mean)")
