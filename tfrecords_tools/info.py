"""`hazeheal-tfrecords info`: what a data set holds, from its manifest and index; no record is read."""

import collections
import json

import numpy as np

from hazeheal.data import records

TOP_RESOLUTIONS = 5


def describe(directory) -> dict:
    """Returns what `info --json` prints.

    Args:
        directory: The data set.

    Returns:
        `name`, `fingerprint`, `options`, `reencoded`, `skipped`, `provenance`, and for each of `splits`:
        `records`, `shards`, `bytes`, `formats`, `resolutions` ({"WxH": count}, the most frequent first),
        `smallest` and `largest` side, `psnr` (mean over pairs that differ, None if all are equal), `psnr_min`,
        `psnr_max` and `identical`, the number of pairs of two equal images.

    Raises:
        DataError: The manifest, an index or a shard is missing or damaged.
    """
    manifest = records.load_manifest(directory)
    splits = {}
    for name, entry in manifest["splits"].items():
        index = records.open_split(directory, name).index
        sizes = collections.Counter(zip(index["width"].tolist(), index["height"].tolist(), strict=True))
        ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
        psnr = index["psnr"].astype(np.float64)
        finite = psnr[np.isfinite(psnr)]
        sides = np.stack([index["width"], index["height"]]) if len(index) else np.zeros((2, 1), int)
        splits[name] = {
            "records": len(index),
            "shards": len(entry["shards"]),
            "bytes": sum(shard["bytes"] for shard in entry["shards"]),
            "formats": entry.get("formats", {}),
            "resolutions": {f"{width}x{height}": count for (width, height), count in ordered},
            "smallest": int(sides.min()),
            "largest": int(sides.max()),
            "psnr": float(finite.mean()) if len(finite) else None,
            "psnr_min": float(finite.min()) if len(finite) else None,
            "psnr_max": float(finite.max()) if len(finite) else None,
            "identical": int(len(psnr) - len(finite)),
        }
    kept = ("name", "fingerprint", "options", "reencoded", "skipped", "provenance")
    return {key: manifest.get(key) for key in kept} | {"splits": splits}


def info(directory, *, as_json: bool = False) -> int:
    """Prints `describe(directory)`; returns exit code 0."""
    found = describe(directory)
    if as_json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"{found['name']}  ({directory})")
    for name, split in found["splits"].items():
        print(
            f"{name}: {split['records']} pairs in {split['shards']} shard{'s' * (split['shards'] > 1)}, {format_bytes(split['bytes'])}, sides "
            f"{split['smallest']} to {split['largest']}"
        )
        resolutions = list(split["resolutions"].items())
        for size, count in resolutions[:TOP_RESOLUTIONS]:
            print(f"  {size:>11}  {count:7d}  {100 * count / split['records']:5.1f} %")
        if len(resolutions) > TOP_RESOLUTIONS:
            rest = sum(count for _, count in resolutions[TOP_RESOLUTIONS:])
            other = f"{len(resolutions) - TOP_RESOLUTIONS} others"
            print(f"  {other:>11}  {rest:7d}  {100 * rest / split['records']:5.1f} %")
        for side, formats in split["formats"].items():
            print(f"  {side}: " + ", ".join(f"{count} {kind}" for kind, count in formats.items()))
        if split["psnr"] is not None:
            print(
                f"  PSNR of the hazy images: mean {split['psnr']:.2f} dB ({split['psnr_min']:.2f} to "
                f"{split['psnr_max']:.2f})"
            )
        if split["identical"]:
            print(f"  {split['identical']} pairs are two equal images (PSNR infinite, not in the mean)")
    for reason, count in (found["reencoded"] or {}).items():
        print(f"re-encoded: {count} images: {reason}")
    if found["skipped"]:
        print(f"skipped: {found['skipped']} pairs, see skipped.txt")
    print(f"options: {', '.join(f'{k}={v}' for k, v in (found['options'] or {}).items() if v is not None)}")
    print(f"fingerprint: {found['fingerprint']}")
    provenance = found["provenance"] or {}
    print(f"made: {provenance.get('time')} by: {provenance.get('command')}")
    print(f"with: {', '.join(f'{k} {v}' for k, v in provenance.get('versions', {}).items())}")
    return 0


def format_bytes(count: int) -> str:
    """`1536` as `1.5 KiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
