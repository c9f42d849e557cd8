"""Turns finished shards into a data set: index, sources, TFDS metadata, and finally the manifest.

A directory without a manifest is an unfinished conversion, which no reader accepts.
"""

import collections
import datetime
import io
import json
import pathlib

import numpy as np

from hazeheal.data import records
from hazeheal.data.pairing.pair_table import SPLITS
from hazeheal.errors import DataError
from hazeheal.utils.atomic import atomic_path, atomic_write
from hazeheal.utils.console import one_line
from hazeheal.utils.versions import installed_versions
from tfrecords_tools.convert import shard
from tfrecords_tools.convert.output_dir import write_manifest
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.convert.scenes import scene_of
from tfrecords_tools.convert.shard import ShardSpec
from tfrecords_tools.convert.tfds_metadata import tfds_files

SKIPPED = "skipped.txt"
_NEXT = "next_tfds_sha256"  # of the metadata that will be written
_PACKAGES = ("tensorflow", "tensorflow-datasets", "numpy", "pillow")


def assemble(
    *,
    output_dir: pathlib.Path,
    name: str,
    splits: dict[str, list[ShardSpec]],
    described: dict,
    skipped: list[dict],
    provenance: dict,
    extended: dict | None = None,
) -> dict:
    """Writes all files of a data set except the shards, which are finished.

    Args:
        output_dir, name, splits: The data set and the shards of each of its splits.
        described: Further entries of the manifest, which the fingerprint covers.
        skipped: `key`, `hazy`, `clear` and `reason` of pairs that are in no shard.
        provenance: Entries of the manifest's provenance, which the fingerprint does not cover.
        extended: The manifest of a complete data set, which is valid at any time while the one split of `splits` is
            added to it; None to write a new one.

    Returns:
        The manifest.
    """
    skipped, entries, scenes = list(skipped), {}, {}
    counts = {name: collections.Counter() for name in ("reencoded", "profiles", "darker")}
    for split, specs in splits.items():
        entries[split], scenes[split] = _assemble_split(output_dir, name, split, specs, skipped, counts)
    manifest = {"schema": records.SCHEMA_VERSION, "name": name, **described, "skipped": len(skipped)}
    provenance = {**provenance, "scenes": scenes, "hazy_darker": dict(counts["darker"])}
    if extended is not None:
        (split,) = splits
        old = {key: value for key, value in extended.get("provenance", {}).items() if key != _NEXT}
        extended = {**extended, "provenance": old}
        manifest = {
            **extended,
            "added": {**extended.get("added", {}), split: described},
            "skipped": len(skipped) + extended.get("skipped", 0),
        }
        entries = {**extended["splits"], **entries}
        counts["reencoded"].update(extended.get("reencoded", {}))
        counts["profiles"].update(extended.get("converted_to_srgb", {}))
        provenance = {
            **old,
            "added": {**old.get("added", {}), split: provenance},
            "scenes": {**old.get("scenes", {}), **scenes},
            "hazy_darker": {**old.get("hazy_darker", {}), **counts["darker"]},
        }
    manifest |= {
        "splits": {split: entries[split] for split in SPLITS if split in entries},
        "reencoded": dict(sorted(counts["reencoded"].items())),
    }
    if counts["profiles"]:
        manifest["converted_to_srgb"] = dict(sorted(counts["profiles"].items()))
    manifest["fingerprint"] = records.fingerprint(manifest)
    metadata = tfds_files(name, manifest["splits"])
    hashes = {file: records.sha256(text.encode()) for file, text in metadata.items()}
    manifest["provenance"] = {
        **provenance,
        "versions": installed_versions(*_PACKAGES),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "tfds_sha256": hashes,
    }
    _write_skipped(output_dir / SKIPPED, skipped, extend=extended is not None)
    if extended is not None:  # `verify` accepts the metadata before and after
        write_manifest(output_dir, {**extended, "provenance": {**old, _NEXT: hashes}})
    for file, text in metadata.items():
        atomic_write(output_dir / file, text, durable=True)
    write_manifest(output_dir, manifest)
    return manifest


def _write_skipped(path: pathlib.Path, skipped: list[dict], *, extend: bool) -> None:
    known = path.read_text(encoding="utf-8").split("\n")[1:-1] if extend and path.exists() else []
    if not skipped and known:
        return
    if not skipped:
        path.unlink(missing_ok=True)
        return
    columns = ("key", "hazy", "clear", "reason")
    lines = {"\t".join(one_line(pair[column]) for column in columns) for pair in skipped}
    lines = sorted(lines.union(known))
    atomic_write(path, "\n".join(["# key, hazy file, clear file, reason", *lines, ""]), durable=True)


def _assemble_split(
    output_dir: pathlib.Path,
    name: str,
    split: str,
    specs: list[ShardSpec],
    skipped: list[dict],
    counts: dict[str, collections.Counter],
) -> tuple[dict, int]:
    """Writes the index and the sources of a split, and adds to `skipped` and to the `counts` of the shards' notes.

    Returns:
        The split's entry in the manifest, and its number of scenes.
    """
    rows, shards, scenes = [], [], set()
    formats = {side: collections.Counter() for side in FOLDERS}
    sources_path = output_dir / f"{name}-{split}.sources.jsonl"
    with (
        atomic_path(sources_path, durable=True) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as lines,
    ):
        for spec in specs:
            note = shard.read_note(spec)
            if note is None:
                raise DataError(f"shard {spec.path} changed during the conversion; rerun the command")
            lines.writelines(json.dumps(source, ensure_ascii=False) + "\n" for source in note["sources"])
            scenes.update(map(scene_of, note["sources"]))
            rows.append(note["rows"])
            shards.append({key: note[key] for key in ("file", "records", "bytes", "sha256")})
            skipped += note["skipped"]
            counts["reencoded"].update(note["reencoded"])
            counts["profiles"].update(note["profiles"])
            counts["darker"][split] += note["darker"]
            for side, counter in formats.items():
                counter.update(note["formats"][side])
    index = np.concatenate(rows)
    if not len(index):
        raise DataError(f"no pair of split {split} can be converted; check the images, or choose another split")
    buffer = io.BytesIO()
    np.save(buffer, index, allow_pickle=False)
    index_path = output_dir / f"{name}-{split}.index.npy"
    atomic_write(index_path, buffer.getvalue(), durable=True)
    entry = {
        "records": len(index),
        "shards": shards,
        "index": index_path.name,
        "index_sha256": records.sha256(buffer.getvalue()),
        "sources": sources_path.name,
        "sources_sha256": shard.hash_file(sources_path),
        "formats": {side: dict(sorted(counter.items())) for side, counter in formats.items()},
    }
    return entry, len(scenes)
