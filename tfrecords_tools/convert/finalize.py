"""Turns finished shards into a data set: index, sources, TFDS metadata, and last of all the manifest.

Until the manifest is there, a directory is an unfinished conversion and no reader takes it for more.
"""

import collections
import datetime
import io
import json
import os
import pathlib
import shutil

import numpy as np

from hazeheal.data import records
from hazeheal.errors import DataError
from hazeheal.utils import quiet_import
from hazeheal.utils.console import one_line
from hazeheal.utils.versions import installed_versions
from tfrecords_tools.convert import shard

SKIPPED = "skipped.txt"
TFDS_FILES = ("dataset_info.json", "features.json")


def assemble(
    *, output_dir, name: str, splits: dict, described: dict, skipped: list, provenance: dict
) -> dict:
    """Writes everything but the shards, which are there with their notes.

    Args:
        output_dir: The data set.
        name: Of the data set.
        splits: {split: list of `shard.ShardSpec`}.
        described: Further entries of the manifest.
        skipped: {`key`, `hazy`, `clear`, `reason`} of pairs that never came into a shard.
        provenance: What is known about this run.

    Returns:
        The manifest.

    Raises:
        DataError: A split came out empty, or two records have one key.
    """
    output_dir = pathlib.Path(output_dir)
    skipped, reencoded, seen, entries = list(skipped), collections.Counter(), set(), {}
    for split, specs in splits.items():
        entries[split], notes = _assemble_split(output_dir, name, split, specs, seen)
        for note in notes:
            skipped += note["skipped"]
            reencoded.update(note["reencoded"])
    if skipped:
        lines = ["\t".join(one_line(s[k]) for k in ("key", "hazy", "clear", "reason")) for s in skipped]
        text = "# key, hazy file, clear file, reason\n" + "".join(f"{line}\n" for line in sorted(lines))
        shard.atomic_write(output_dir / SKIPPED, text.encode())
    else:
        (output_dir / SKIPPED).unlink(missing_ok=True)
    metadata = _write_tfds_metadata(output_dir, name, entries)
    manifest = {
        "schema": records.SCHEMA_VERSION,
        "name": name,
        **described,
        "splits": entries,
        "reencoded": dict(sorted(reencoded.items())),
        "skipped": len(skipped),
    }
    manifest["fingerprint"] = records.fingerprint(manifest)
    manifest["provenance"] = {
        **provenance,
        "versions": installed_versions("tensorflow", "tensorflow-datasets", "numpy", "pillow"),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "tfds_sha256": metadata,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    shard.atomic_write(output_dir / records.MANIFEST, text.encode())
    return manifest


def _assemble_split(output_dir, name, split, specs, seen) -> tuple:
    rows, notes = [], []
    formats = {side: collections.Counter() for side in shard.FOLDERS}
    sources_path = output_dir / records.sources_name(name, split)
    temporary = sources_path.with_name(f".{sources_path.name}.tmp-{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as lines:
            for spec in specs:
                note = shard.read_done(spec, detail=True)
                if note is None:
                    raise DataError(
                        f"shard {spec.path} changed while it was converted; run the command again"
                    )
                rows.append(note.pop("rows"))
                for source in note.pop("sources"):
                    if source["key"] in seen:
                        raise DataError(
                            f"two records have the key {source['key']!r}; rename {source['hazy']}"
                        )
                    seen.add(source["key"])
                    lines.write(json.dumps(source, ensure_ascii=False) + "\n")
                for side, counter in formats.items():
                    counter.update(note["formats"][side])
                notes.append(note)
            lines.flush()
            os.fsync(lines.fileno())
        os.replace(temporary, sources_path)
    finally:
        temporary.unlink(missing_ok=True)
    index = np.concatenate(rows)
    if not len(index):
        raise DataError(
            f"not one pair of split {split} could be converted ({sum(len(n['skipped']) for n in notes)} skipped); "
            "look at the sources, or choose the split differently"
        )
    buffer = io.BytesIO()
    np.save(buffer, index, allow_pickle=False)
    index_path = output_dir / records.index_name(name, split)
    shard.atomic_write(index_path, buffer.getvalue())
    entry = {
        "records": len(index),
        "shards": [{key: note[key] for key in ("file", "records", "bytes", "sha256")} for note in notes],
        "index": index_path.name,
        "index_sha256": records.sha256(buffer.getvalue()),
        "sources": sources_path.name,
        "sources_sha256": shard.hash_file(sources_path),
        "formats": {side: dict(sorted(counter.items())) for side, counter in formats.items()},
    }
    return entry, notes


def load_tfds():
    """TFDS, whose import takes a while: to be asked for while others work."""
    return quiet_import.import_module("tensorflow_datasets")


def _write_tfds_metadata(output_dir: pathlib.Path, name: str, entries: dict) -> dict:
    """Writes what `tfds.builder_from_directory` needs; returns the files' SHA-256."""
    tfds = load_tfds()
    # TFDS writes in place and finds the data set's name in the names of the shards: it gets a directory of
    # its own with empty files of these names.
    aside = output_dir / f".tfds.tmp-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        template = tfds.core.ShardedFileTemplate(
            data_dir=aside,
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            dataset_name=name,
            filetype_suffix="tfrecord",
        )
        infos = []
        for split, entry in entries.items():
            for one in entry["shards"]:
                (aside / one["file"]).touch()
            infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[one["records"] for one in entry["shards"]],
                    num_bytes=sum(one["bytes"] for one in entry["shards"]),
                    filename_template=template,
                )
            )
        text, number = tfds.features.Text(), tfds.features.Scalar(np.int64)
        image = tfds.features.Image(shape=(None, None, 3), doc="uint8 RGB")
        tfds.folder_dataset.write_metadata(
            data_dir=aside,
            features=tfds.features.FeaturesDict(
                {
                    "hazy": image,
                    "clear": image,
                    "key": text,
                    "height": number,
                    "width": number,
                    "hazy_source": text,
                    "clear_source": text,
                    "hazy_sha256": text,
                    "clear_sha256": text,
                }
            ),
            split_infos=infos,
            version="1.0.0",
            filename_template=template,
            check_data=False,
            description="Pairs of hazy and clear images, converted by hazeheal-tfrecords.",
            supervised_keys=("hazy", "clear"),
        )
        hashes = {}
        for file in TFDS_FILES:
            data = (aside / file).read_bytes()
            shard.atomic_write(output_dir / file, data)
            hashes[file] = records.sha256(data)
        return hashes
    finally:
        shutil.rmtree(aside, ignore_errors=True)
