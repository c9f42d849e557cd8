"""`hazeheal-tfrecords convert`: directories of images become a data set of sharded TFRecords.

    plan       pairs, checks, split, shards                (convert/plan.py)
    write      one pure function per shard, in processes   (convert/shard.py, pool.py)
    finalize   index, sources, metadata, manifest          (convert/finalize.py)

A conversion can be killed at any time. Every file is written atomically, and a finished shard has a note
(`.SHARD.done.json`) in the same directory. The same command keeps the finished shards whose sources and options have not
changed, and writes the others.
"""

import pathlib
import shutil
import sys
import time
from collections.abc import Container, Sequence

from hazeheal.data import records
from hazeheal.data.pairing.pair_table import SPLITS
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.console import one_line, plural, progress_bar
from hazeheal.utils.cpu import usable_cores
from tfrecords_tools import pool
from tfrecords_tools.convert import beam, finalize, output_dir, pair_check, plan, scenes
from tfrecords_tools.convert.headers import HeaderCheck, check_headers
from tfrecords_tools.convert.options import Options
from tfrecords_tools.convert.shard import ShardSpec, is_finished, write_shard
from tfrecords_tools.convert.val_keys import read_val_keys
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
    directory = pathlib.Path(options.output_dir)
    extended = _find_extended(options, directory)
    sources, val_scenes = _find_sources(options, extended)
    described = _described_options(options, sources, val_scenes)
    name = options.name if extended is None else extended["name"]
    conversion = output_dir.Conversion(directory, name, described, sources, options.split)
    if output_dir.has_manifest(directory) and output_dir.is_complete(conversion):
        if output_dir.is_untidy(conversion):
            with lock_output_dir(directory):
                output_dir.tidy(conversion)
        print(f"{directory} is complete; nothing to do")
        return 0
    if options.val_keys is None:
        sources = sources.with_joined_scenes()
    checked = _check_headers(options, sources)
    splits, total_bytes = plan.plan_shards(options, name, checked.readable, sources.splits, val_scenes)
    specs = [spec for shards in splits.values() for spec in shards]
    if options.dry_run:
        _print_plan(options, sources, checked, splits, specs, total_bytes)
        print("dry run: nothing was written")
        return 0
    with lock_output_dir(directory):
        if output_dir.is_complete(conversion):
            output_dir.tidy(conversion)
            print(f"{directory} is complete; nothing to do")  # another process has just finished it
            return 0
        if extended is not None:
            extended = records.load_manifest(directory)
            others = {split: entry for split, entry in extended["splits"].items() if split != options.split}
            named = any("scene" in one["options"] for one in (extended, *extended.get("added", {}).values()))
            compare_names = sources.has_named_scenes and named
            scenes.refuse_shared(checked.readable, directory, others, compare_names=compare_names)
        elif output_dir.has_manifest(directory):
            raise HazeHealError(
                f"another process has just finished the data set {directory}; rerun the command to add to it"
            )
        start = time.monotonic()
        missing = _find_missing(specs, skip_bad=options.skip_bad)
        num_bytes = total_bytes * _count_pairs(missing) // len(checked.readable)
        workers = _print_plan(options, sources, checked, splits, missing, num_bytes)
        output_dir.remove_leftovers(conversion, splits if extended else SPLITS, specs)
        output_dir.write_state(conversion)
        _write_shards(options, missing, workers, total=_count_pairs(specs))
        times = {"state": sources.state, "state_blocks": sources.state_blocks}
        manifest = finalize.assemble(
            output_dir=directory,
            name=name,
            splits=splits,
            described={"options": described, "inputs": sources.inputs},
            skipped=[*checked.unreadable, *checked.unfit],
            provenance={"command": options.command, **times, **conversion.folders},
            extended=extended,
        )
        output_dir.remove_notes(directory, manifest)
    _print_summary(directory, manifest, splits, time.monotonic() - start)
    return 0


def _find_extended(options: Options, directory: pathlib.Path) -> dict | None:
    """Returns the manifest of the data set that `--split` adds to; None if it is the first split, or is not given."""
    if options.split is None or not output_dir.has_manifest(directory):
        return None
    manifest = records.load_manifest(directory)
    if manifest["options"].get("split") == options.split:
        return None
    if options.is_named and options.name != manifest["name"]:
        raise UsageError(
            f"--name={options.name} is not the name of the data set {directory}, which is {manifest['name']}"
        )
    return manifest


def _find_sources(options: Options, extended: dict | None) -> tuple[plan.Sources, set[str] | None]:
    """Returns the input files, and the scenes of `--val_keys`, for which clear files are compared."""
    sources = plan.find_sources(
        hazy_dir=options.hazy_dir,
        gt_dir=options.gt_dir,
        rule=options.pairing,
        table=options.pairs,
        scene=options.scene,
        prefix="" if extended is None else f"{options.split}/",  # the other splits may have the same keys
    )
    if sources.splits and (options.divides or options.split):
        raise UsageError(
            f"--pairs={options.pairs} has a column split, which excludes --split, --val_fraction and --val_keys"
        )
    if options.val_keys is None:
        return sources, None
    sources = sources.with_joined_scenes()
    return sources, read_val_keys(options.val_keys, sources.pairs, folders=(sources.hazy_dir, sources.gt_dir))


def _described_options(options: Options, sources: plan.Sources, val_scenes: set[str] | None) -> dict:
    """Returns the options that decide the data set's contents, for the manifest."""
    is_divided_at_random = val_scenes is None and not options.split and not sources.splits
    described = options.record_options.described() | {
        "num_shards": options.num_shards or "auto",
        "pairing": sources.pairing.rule,
        "seed": options.seed,
        "val_fraction": options.val_fraction if is_divided_at_random else None,
        "val_scenes_sha256": val_scenes and records.sha256("\n".join(sorted(val_scenes)).encode()),
    }
    # The others are not in the manifests, and fingerprints, of conversions without them.
    others = {
        "scene": options.scene or ("table" if sources.has_named_scenes else None),
        "split": options.split,
        "assignments_sha256": sources.assignments,
    }
    return described | {key: value for key, value in others.items() if value is not None}


def _find_missing(specs: Sequence[ShardSpec], *, skip_bad: bool) -> list[ShardSpec]:
    """Returns the shards that an earlier run has not finished."""
    missing = []
    with progress_bar(lines=True, total=len(specs), desc="finished shards", unit="shard", leave=False, delay=1) as bar:
        for spec in specs:
            if not is_finished(spec, skip_bad=skip_bad):
                missing.append(spec)
            bar.update()
    return missing


def _check_headers(options: Options, sources: plan.Sources) -> HeaderCheck:
    """Reads all headers, and lists everything that does not fit before it refuses what the options do not allow."""
    for note in sources.pairing.notes:
        print(one_line(note))
    if options.split is None and not sources.splits and (note := scenes.describe_videos(sources.pairs)):
        print(one_line(note))
    checked = check_headers(sources.pairs, options.record_options, workers=options.workers or usable_cores())
    pairing, refused = sources.pairing, []
    unreadable, unfit = ([pair["reason"] for pair in pairs] for pairs in (checked.unreadable, checked.unfit))
    orphans = (options.allow_orphans, "--allow_orphans")
    sizes = (options.size_mismatch != "error", "--size_mismatch=center_crop or resize")
    bad = (options.skip_bad, "--skip_bad")
    for title, names, (allowed, flag) in (
        ("hazy images without a clear image", pairing.describe_orphans(), orphans),
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


def _print_plan(
    options: Options,
    sources: plan.Sources,
    checked: HeaderCheck,
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
    pairs = checked.readable
    counts = f"{plural(len(pairs), 'pair')} of {plural(len({pair.scene for pair in pairs}), 'scene')}"
    images = plural(len({pair.clear for pair in pairs}), "clear image")
    left_out = len(checked.unreadable) + len(checked.unfit)
    skipped = f", {left_out} skipped" if left_out else ""
    print(f"{counts}, {images}, rule {sources.pairing.rule}{skipped}")
    for split, shards in splits.items():
        print(f"  {split}: {_describe_split(shards)} in {plural(len(shards), 'shard')}")
    record = options.record_options
    print(f"  encoding: {record.encoding}" + (f" of quality {record.quality}" if record.quality else ""))
    num_shards = sum(map(len, splits.values()))
    if len(missing) < num_shards:
        print(f"  resuming: {num_shards - len(missing)} of {plural(num_shards, 'shard')} already finished")
    runner = f"in a pipeline of {options.runner}" if options.runner else f"with {plural(workers, 'worker')}"
    disk = pathlib.Path(options.output_dir).absolute()
    free = shutil.disk_usage(next(path for path in (disk, *disk.parents) if path.exists())).free
    size = f"{format_bytes(num_bytes)} to write to {options.output_dir} ({format_bytes(free)} free)"
    print(f"  about {size}, {runner}", flush=True)
    if free < _FREE_FRACTION * num_bytes:
        raise HazeHealError(
            f"--output_dir={options.output_dir} has {format_bytes(free)} free, but about {format_bytes(num_bytes)} are "
            "needed; free some space, or choose another disk"
        )
    return workers


def _describe_split(shards: list[ShardSpec]) -> str:
    count = len({pair.scene for spec in shards for pair in spec.pairs})
    return f"{plural(_count_pairs(shards), 'pair')} of {plural(count, 'scene')}"


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


def _print_summary(output: pathlib.Path, manifest: dict, written: Container[str], seconds: float) -> None:
    splits = [entry for split, entry in manifest["splits"].items() if split in written]
    total = sum(entry["records"] for entry in splits)
    size = sum(one["bytes"] for entry in splits for one in entry["shards"])
    print(f"wrote {plural(total, 'record')}, {format_bytes(size)}, in {seconds:.0f} s to {output}")
    for split, entry in manifest["splits"].items():
        count = manifest["provenance"]["scenes"].get(split)
        print(f"  {split}: {plural(entry['records'], 'record')}" + (f" of {plural(count, 'scene')}" if count else ""))
    if manifest["options"]["encoding"] == "keep":
        changed = sum(manifest["reencoded"].values())
        stored = 2 * sum(entry["records"] for entry in manifest["splits"].values()) - changed
        print(f"  {stored} images stored byte for byte, {changed} re-encoded as PNG")
    for profile, count in manifest.get("converted_to_srgb", {}).items():
        print(f"  {plural(count, 'image')} converted to sRGB from the color profile {one_line(profile)}")
    if manifest["skipped"]:
        print(f"  {manifest['skipped']} pairs skipped, listed in {output / finalize.SKIPPED}")
    for line in pair_check.summary(output, manifest, splits=written):
        print(f"  {line}")
    print(f"  fingerprint {manifest['fingerprint'][:16]}; check it with: hazeheal-tfrecords verify {output}")
