"""Folders of images become a data set of sharded TFRecords.

    plan      pairs, checks, split, shards          (tfrecords_tools.convert.plan)
    write     one pure function a shard, in processes (tfrecords_tools.convert.shard, .pool)
    finish    index, sources, metadata, manifest    (tfrecords_tools.convert.finalize)

A conversion can be killed at any moment. Each file is written aside and renamed; a shard that is finished has
a note beside it, and the same command, run again, keeps those whose sources and options are still the same.
"""

import dataclasses
import pathlib
import shutil
import sys
import time

from hazeheal.data import records
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.console import one_line
from tfrecords_tools import pool
from tfrecords_tools.convert import beam, finalize, plan, shard
from tfrecords_tools.convert import output_dir as output_dirs
from tfrecords_tools.convert.options import Options
from tfrecords_tools.convert.shard import ShardSpec, write_shard
from tfrecords_tools.info import format_bytes
from tfrecords_tools.output_lock import claimed

__all__ = ["Options", "ShardSpec", "convert", "write_shard"]

SHOWN = 20
START_SECONDS = 1  # of the processes
FEW_PAIRS = 200  # that one process converts before another one has started
SECONDS_A_WORKER = 2  # of work that make one more process worth its start


def convert(options: Options) -> int:
    """Converts, goes on with an interrupted conversion, or finds that all is done; waits for one that is at work.

    Returns:
        Exit code 0.

    Raises:
        HazeHealError: The message says what, which value, and what to do.
    """
    folders = {"hazy_dir": options.hazy_dir, "gt_dir": options.gt_dir}
    if options.runner is not None:
        beam.check(options.runner, options.beam_options)
    sources = plan.find_sources(**folders, rule=options.pairing)
    if options.val_keys is not None:
        val_scenes = plan.read_val_keys(options.val_keys, sources.pairs)
    else:
        val_scenes = None
    described = {
        "options": dataclasses.asdict(options.record_options)
        | {
            "num_shards": options.num_shards or "auto",
            "pairing": sources.rule,
            "seed": options.seed,
            "val_fraction": options.val_fraction if val_scenes is None else None,
            "val_scenes_sha256": val_scenes and records.sha256("\n".join(sorted(val_scenes)).encode()),
        },
        "inputs": sources.inputs,
    }
    output_dir = pathlib.Path(options.output_dir)
    state = {"name": options.name, "options": described["options"]}
    state |= {flag: str(pathlib.Path(folder).resolve()) for flag, folder in folders.items()}
    with claimed(output_dir, before_waiting=lambda: output_dirs.refuse_to_wait_in_vain(output_dir, state)):
        if output_dirs.is_complete(output_dir, state, described, sources, folders):
            print(f"{output_dir} is complete; nothing to do")
            return 0
        if options.runner is None and options.workers != 1 and len(sources.pairs) > FEW_PAIRS:
            pool.prepare()  # while the headers are read
        look = _checked(options, sources, folders)
        splits, guess = _plan(options, look.good, val_scenes, folders)
        specs = [spec for split in splits.values() for spec in split]
        notes = {spec.file: note for spec in specs if (note := shard.read_done(spec))}
        workers = _announce(options, sources, look, splits, guess, notes)
        output_dirs.remove_leftovers(output_dir, options.name, specs)
        output_dirs.write_state(output_dir, state)
        start = time.monotonic()
        notes |= _write(options, specs, notes, workers)
        manifest = finalize.assemble(
            output_dir=output_dir,
            name=options.name,
            splits=splits,
            described=described,
            skipped=look.unreadable,
            provenance={"command": options.command, "state": sources.state, **folders},
        )
        output_dirs.remove_notes(output_dir)
    _summarize(output_dir, manifest, time.monotonic() - start)
    return 0


def _checked(options, sources, folders) -> plan.Look:
    """Reads all headers; reports everything that does not fit at once, and refuses what was not allowed."""
    for note in sources.pairing.notes:
        print(one_line(note))
    look = plan.look_at_headers(sources, **folders)
    found, wrong = sources.pairing, []
    unreadable = [bad["reason"] for bad in look.unreadable]
    for title, names, allowed, flag in (
        ("hazy images without a clear one", found.orphans_hazy, options.allow_orphans, "--allow_orphans"),
        ("clear images without a hazy one", found.orphans_clear, options.allow_orphans, "--allow_orphans"),
        ("ambiguous names", found.ambiguous, options.allow_orphans, "--allow_orphans"),
        (
            "pairs of two sizes",
            look.mismatched,
            options.size_mismatch != "error",
            "--size_mismatch=center_crop or resize",
        ),
        ("pairs with an image that cannot be read", unreadable, options.skip_bad, "--skip_bad"),
    ):
        if names:
            print(
                "\n".join([f"{title}: {len(names)}", *(f"  {one_line(name)}" for name in names)]),
                file=sys.stderr,
            )
            if not allowed:
                wrong.append(f"{len(names)} {title} ({flag} to go on)")
    if wrong:
        raise DataError(f"{'; '.join(wrong)}: they are listed above; nothing was converted")
    if not look.good:
        raise DataError(f"not one of the {len(sources.pairs)} pairs can be read; they are listed above")
    return look


def _plan(options, pairs, val_scenes, folders) -> tuple:
    if val_scenes is None:
        val_scenes = plan.split_scenes(pairs, val_fraction=options.val_fraction, seed=options.seed)
        if not val_scenes and options.val_fraction:
            print("all pairs share one clear image: no validation split can be made")
    parts = {
        "train": [pair for pair in pairs if pair.scene not in val_scenes],
        "val": [pair for pair in pairs if pair.scene in val_scenes],
    }
    guess = plan.estimate(pairs, **folders, options=options.record_options)
    common = {"output_dir": str(options.output_dir), "options": options.record_options}
    common |= {flag: str(folder) for flag, folder in folders.items()}
    if not parts["train"]:
        raise DataError("every pair that can be read is of the validation split; nothing is left to train on")
    if options.num_shards is not None and options.num_shards > len(parts["train"]):
        raise UsageError(
            f"--num_shards={options.num_shards} is more than the {len(parts['train'])} pairs of split train; give fewer"
        )
    splits = {}
    for split, part in parts.items():
        if not part:
            continue
        if options.num_shards is None:
            num_shards = plan.auto_shards(len(part), num_bytes=guess.total_bytes * len(part) // len(pairs))
        else:
            num_shards = max(1, round(options.num_shards * len(part) / len(parts["train"])))
        splits[split] = plan.plan_shards(
            part, name=options.name, split=split, num_shards=num_shards, common=common
        )
    return splits, guess


def _announce(options, sources, look, splits, guess, notes) -> int:
    """Says what is to come; returns the number of worker processes."""
    specs = [spec for split in splits.values() for spec in split]
    todo = [spec for spec in specs if spec.file not in notes]
    share = sum(len(spec.pairs) for spec in todo) / len(look.good)
    seconds, num_bytes = guess.seconds * share, int(guess.total_bytes * share)
    workers = options.workers or min(pool.cores(), 1 + int(seconds / SECONDS_A_WORKER))
    workers = max(1, min(workers, len(todo)))
    free = shutil.disk_usage(options.output_dir).free
    scenes = len({pair.scene for pair in look.good})
    print(
        f"{len(look.good)} pairs of {scenes} clear images, rule {sources.rule}"
        + (f", {len(look.unreadable)} skipped" if look.unreadable else "")
    )
    for split, planned in splits.items():
        print(
            f"  {split}: {sum(len(spec.pairs) for spec in planned)} pairs in {len(planned)} shard{'s' * (len(planned) > 1)}"
        )
    record = options.record_options
    encoding = f"jpeg of quality {record.quality}" if record.encoding == "jpeg" else record.encoding
    if options.encoding is None and record.encoding != "keep":
        encoding += " (the images are changed, so that their files' bytes cannot be kept)"
    print(f"  encoding: {encoding}")
    if notes:
        print(f"  taken up: {len(notes)} of {len(specs)} shards are finished already")
    if options.runner is not None:
        how = f"{seconds:.0f} s of one core's work, in a pipeline of {options.runner}"
    else:
        how = f"{START_SECONDS + seconds / workers:.0f} s with {workers} worker{'s' * (workers > 1)}"
    print(
        f"  about {format_bytes(num_bytes)} to write to {options.output_dir} ({format_bytes(free)} free), about {how}",
        flush=True,
    )
    if free < 0.9 * num_bytes:
        raise HazeHealError(
            f"--output_dir={options.output_dir} has {format_bytes(free)} free and about {format_bytes(num_bytes)} are "
            "needed; free some, or choose another disk"
        )
    return workers


def _write(options, specs, notes, workers) -> dict:
    """Writes the shards that are not there yet; returns their notes."""

    def hopeless(note):
        return bool(note["skipped"]) and not options.skip_bad

    todo = [spec for spec in specs if spec.file not in notes]
    pairs = {
        "total": sum(len(spec.pairs) for spec in specs),
        "already": sum(len(spec.pairs) for spec in specs if spec.file in notes),
    }
    results = list(notes.values())
    if not any(map(hopeless, results)) and todo:
        if options.runner is not None:
            results += beam.write_shards(todo, runner=options.runner, options=options.beam_options, **pairs)
        else:
            results += pool.run_tasks(
                write_shard,
                todo,
                workers=workers,
                unit="pair",
                stop_after=hopeless,
                meanwhile=finalize.load_tfds,
                **pairs,
            )
    results = [note for note in results if note]
    bad = [pair for note in results for pair in note["skipped"]]
    for pair in bad[:SHOWN]:
        what = "skipped" if options.skip_bad else "bad"
        print(f"  {what}: {one_line(pair['key'])}: {one_line(pair['reason'])}", file=sys.stderr)
    if len(bad) > SHOWN:
        print(f"  ... and {len(bad) - SHOWN} more", file=sys.stderr)
    if bad and not options.skip_bad:
        raise DataError(
            f"{len(bad)} pairs cannot be converted, listed above; replace them and run the same command again, or leave "
            "them out with --skip_bad; finished shards are kept"
        )
    return {note["file"]: note for note in results}


def _summarize(output_dir, manifest, seconds) -> None:
    total = sum(entry["records"] for entry in manifest["splits"].values())
    size = sum(one["bytes"] for entry in manifest["splits"].values() for one in entry["shards"])
    print(f"wrote {total} records, {format_bytes(size)}, in {seconds:.0f} s to {output_dir}")
    if manifest["options"]["encoding"] == "keep":
        changed = sum(manifest["reencoded"].values())
        print(f"  {2 * total - changed} images kept byte for byte, {changed} re-encoded as PNG")
        for reason, count in manifest["reencoded"].items():
            print(f"    {count}: {reason}")
    if manifest["skipped"]:
        print(f"  {manifest['skipped']} pairs skipped, listed in {output_dir / finalize.SKIPPED}")
    print(
        f"  fingerprint {manifest['fingerprint'][:16]}; check it with: hazeheal-tfrecords verify {output_dir}"
    )
