"""`hazeheal-tfrecords convert`: directories of images become a data set of sharded TFRecords.

    plan       pairs, checks, split, shards                (convert/plan.py)
    write      one pure function per shard, in processes   (convert/shard.py, pool.py)
    finalize   index, sources, metadata, manifest          (convert/finalize.py)

A conversion can be killed at any time. Every file is written atomically, and a finished shard has a note
(`.SHARD.done.json`) in the same directory. The same command keeps the finished shards whose sources and options have not
changed, and writes the others.
"""

import os
import pathlib
import shutil
import sys
import time
from collections.abc import Sequence

from hazeheal.data import records
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.console import one_line, plural
from hazeheal.utils.cpu import usable_cores
from tfrecords_tools import pool
from tfrecords_tools.convert import beam, finalize, output_dir, pair_check, plan
from tfrecords_tools.convert.options import Options
from tfrecords_tools.convert.pair_records import SourcePair
from tfrecords_tools.convert.shard import ShardSpec, is_finished, write_shard
from tfrecords_tools.output_lock import lock_output_dir
from tfrecords_tools.text import format_bytes, print_list

_FREE_FRACTION = 0.9  # of the estimated size must be free: the estimate is not exact
_BYTES_PER_WORKER = 16 << 20  # records that justify the start of one more process: about a second of work


def convert(options: Options) -> int:
    """Converts, resumes an interrupted conversion, or reports that the data set is complete.

    Waits while another process converts into the same directory. Returns exit code 0.

    Raises:
        HazeHealError: The input, the options or the output directory are not valid, or the disk is full.
    """
    if options.runner is not None:
        beam.check_runner(options.runner, options.beam_options)
    sources = plan.find_sources(hazy_dir=options.hazy_dir, gt_dir=options.gt_dir, rule=options.pairing)
    val_scenes = None
    if options.val_keys is not None:
        val_scenes = plan.read_val_keys(options.val_keys, sources.pairs)
    described = _described_options(options, sources.pairing.rule, val_scenes)
    settings = {"name": options.name, **described}
    folders = {name: str(pathlib.Path(getattr(options, name)).resolve()) for name in ("hazy_dir", "gt_dir")}
    output = pathlib.Path(options.output_dir)
    if os.path.exists(output / records.MANIFEST) and output_dir.is_complete(output, settings, folders, sources):
        print(f"{output} is complete; nothing to do")
        return 0
    checked = _check_headers(options, sources)
    splits, total_bytes = _plan_shards(options, checked.readable, val_scenes)
    specs = [spec for shards in splits.values() for spec in shards]
    with lock_output_dir(output):
        if output_dir.is_complete(output, settings, folders, sources):
            print(f"{output} is complete; nothing to do")  # another process has just finished it
            return 0
        start = time.monotonic()
        missing = [spec for spec in specs if not is_finished(spec, skip_bad=options.skip_bad)]
        num_bytes = total_bytes * _count_pairs(missing) // len(checked.readable)
        workers = _print_plan(options, sources.pairing.rule, checked, splits, missing, num_bytes)
        output_dir.remove_leftovers(output, options.name, specs)
        output_dir.write_state(output, settings, folders)
        _write_shards(options, missing, workers, total=_count_pairs(specs))
        manifest = finalize.assemble(
            output_dir=output,
            name=options.name,
            splits=splits,
            described={"options": described, "inputs": sources.inputs},
            skipped=[*checked.unreadable, *checked.unfit],
            provenance={"command": options.command, "state": sources.state, **folders},
        )
        output_dir.remove_notes(output)
    _print_summary(output, manifest, time.monotonic() - start)
    return 0


def _described_options(options: Options, rule: str, val_scenes: set[str] | None) -> dict:
    """Returns the options that decide the data set's contents, for the manifest."""
    return options.record_options.described() | {
        "num_shards": options.num_shards or "auto",
        "pairing": rule,
        "seed": options.seed,
        "val_fraction": options.val_fraction if val_scenes is None else None,
        "val_scenes_sha256": val_scenes and records.sha256("\n".join(sorted(val_scenes)).encode()),
    }


def _check_headers(options: Options, sources: plan.Sources) -> plan.HeaderCheck:
    """Reads all headers, and lists everything that does not fit before it refuses what the options do not allow."""
    for note in sources.pairing.notes:
        print(one_line(note))
    checked = plan.check_headers(sources.pairs, options.record_options)
    pairing, refused = sources.pairing, []
    unreadable, unfit = ([pair["reason"] for pair in pairs] for pairs in (checked.unreadable, checked.unfit))
    orphans = (options.allow_orphans, "--allow_orphans")
    sizes = (options.size_mismatch != "error", "--size_mismatch=center_crop or resize")
    bad = (options.skip_bad, "--skip_bad")
    for title, names, (allowed, flag) in (
        ("hazy images without a clear image", pairing.orphans_hazy, orphans),
        ("clear images without a hazy image", pairing.orphans_clear, orphans),
        ("ambiguous names", pairing.ambiguous, orphans),
        ("pairs of different sizes", checked.mismatched, sizes),
        ("pairs of different sizes", unfit, bad),
        ("pairs with an image that cannot be read", unreadable, bad),
    ):
        if not names:
            continue
        print(f"{title}: {len(names)}", file=sys.stderr)
        for name in names:
            print(f"  {one_line(name)}", file=sys.stderr)
        if not allowed:
            refused.append(f"{len(names)} {title} ({flag} to continue)")
    if refused:
        raise DataError(f"{'; '.join(refused)}: they are listed above; nothing was converted")
    if not checked.readable:
        raise DataError(f"none of the {len(sources.pairs)} pairs can be converted; they are listed above")
    return checked


def _plan_shards(
    options: Options, pairs: Sequence[SourcePair], val_scenes: set[str] | None
) -> tuple[dict[str, list[ShardSpec]], int]:
    """Returns the shards of each split, and the approximate size of all in bytes."""
    if val_scenes is None:
        val_scenes = plan.split_scenes(pairs, val_fraction=options.val_fraction, seed=options.seed)
        if not val_scenes and options.val_fraction:
            print("all pairs share one clear image: there is no validation split")
    parts = {
        "train": [pair for pair in pairs if pair.scene not in val_scenes],
        "val": [pair for pair in pairs if pair.scene in val_scenes],
    }
    train_pairs = len(parts["train"])
    if not train_pairs:
        raise DataError("all pairs that can be read are in the validation split; nothing is left to train on")
    if options.num_shards is not None and options.num_shards > train_pairs:
        raise UsageError(
            f"--num_shards={options.num_shards} is more than the {train_pairs} pairs of split train; give fewer"
        )
    total_bytes = plan.estimate_bytes(pairs, options.record_options, skip_bad=options.skip_bad)
    splits = {}
    for split, part in parts.items():
        if not part:
            continue
        if options.num_shards is None:
            num_shards = plan.auto_shards(len(part), num_bytes=total_bytes * len(part) // len(pairs))
        else:
            num_shards = max(1, round(options.num_shards * len(part) / train_pairs))
        splits[split] = [
            ShardSpec(
                output_dir=str(options.output_dir),
                file=records.shard_name(options.name, split, number, num_shards),
                pairs=shard_pairs,
                options=options.record_options,
            )
            for number, shard_pairs in enumerate(plan.divide(part, num_shards))
        ]
    return splits, total_bytes


def _print_plan(
    options: Options,
    rule: str,
    checked: plan.HeaderCheck,
    splits: dict[str, list[ShardSpec]],
    missing: list[ShardSpec],
    num_bytes: int,
) -> int:
    """Prints what will be written, `num_bytes` in all missing shards, and checks that the disk has room for it.

    Returns:
        The number of worker processes.
    """
    workers = options.workers or min(usable_cores(), 1 + num_bytes // _BYTES_PER_WORKER)
    workers = max(1, min(workers, len(missing)))
    scenes = len({pair.scene for pair in checked.readable})
    left_out = len(checked.unreadable) + len(checked.unfit)
    skipped = f", {left_out} skipped" if left_out else ""
    print(f"{plural(len(checked.readable), 'pair')} of {plural(scenes, 'clear image')}, rule {rule}{skipped}")
    for split, shards in splits.items():
        print(f"  {split}: {plural(_count_pairs(shards), 'pair')} in {plural(len(shards), 'shard')}")
    record = options.record_options
    print(f"  encoding: {record.encoding}" + (f" of quality {record.quality}" if record.quality else ""))
    num_shards = sum(map(len, splits.values()))
    if len(missing) < num_shards:
        print(f"  resuming: {num_shards - len(missing)} of {plural(num_shards, 'shard')} already finished")
    runner = f"in a pipeline of {options.runner}" if options.runner else f"with {plural(workers, 'worker')}"
    free = shutil.disk_usage(options.output_dir).free
    size = f"{format_bytes(num_bytes)} to write to {options.output_dir} ({format_bytes(free)} free)"
    print(f"  about {size}, {runner}", flush=True)
    if free < _FREE_FRACTION * num_bytes:
        raise HazeHealError(
            f"--output_dir={options.output_dir} has {format_bytes(free)} free, but about {format_bytes(num_bytes)} are "
            "needed; free some space, or choose another disk"
        )
    return workers


def _count_pairs(specs: list[ShardSpec]) -> int:
    return sum(len(spec.pairs) for spec in specs)


def _write_shards(options: Options, specs: list[ShardSpec], workers: int, *, total: int) -> None:
    """Writes shards; `total` is the number of pairs in these and in the finished shards.

    Raises:
        DataError: Pairs cannot be converted, and `--skip_bad` is not given.
    """
    if options.runner is not None and specs:
        results = beam.write_shards(specs, runner=options.runner, options=options.beam_options)
    else:
        results = pool.run_tasks(
            write_shard,
            specs,
            workers=workers,
            total=total,
            already=total - _count_pairs(specs),
            unit="pair",
            stop_after=lambda skipped: bool(skipped) and not options.skip_bad,
        )
    skipped = [pair for pairs in results for pair in pairs]
    action = "skipped" if options.skip_bad else "bad"
    print_list([f"{action}: {pair['key']}: {pair['reason']}" for pair in skipped])
    if skipped and not options.skip_bad:
        raise DataError(
            f"{len(skipped)} pairs cannot be converted, listed above; replace them and rerun the command, or leave them "
            "out with --skip_bad; finished shards are kept"
        )


def _print_summary(output: pathlib.Path, manifest: dict, seconds: float) -> None:
    splits = manifest["splits"].values()
    total = sum(entry["records"] for entry in splits)
    size = sum(one["bytes"] for entry in splits for one in entry["shards"])
    print(f"wrote {plural(total, 'record')}, {format_bytes(size)}, in {seconds:.0f} s to {output}")
    if manifest["options"]["encoding"] == "keep":
        changed = sum(manifest["reencoded"].values())
        print(f"  {2 * total - changed} images stored byte for byte, {changed} re-encoded as PNG")
    for profile, count in manifest.get("converted_to_srgb", {}).items():
        print(f"  {plural(count, 'image')} converted to sRGB from the color profile {one_line(profile)}")
    if manifest["skipped"]:
        print(f"  {manifest['skipped']} pairs skipped, listed in {output / finalize.SKIPPED}")
    for line in pair_check.summary(output, manifest):
        print(f"  {line}")
    print(f"  fingerprint {manifest['fingerprint'][:16]}; check it with: hazeheal-tfrecords verify {output}")
