"""`hazeheal checkpoints`: lists the checkpoints of a run and whether they are intact. It does not import TensorFlow."""

import contextlib
import datetime
import json
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence

from hazeheal.commands.parsing import CommandParser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.runs import checkpoints
from hazeheal.utils.console import progress_bar

EPILOG = """\
examples:
  hazeheal checkpoints runs/rice1
  hazeheal checkpoints runs/rice1 --json

intact: sizes and hashes match; damaged: they do not; set aside: it was damaged, or the run was rewound to an earlier
step; being written: by a run that is training, or was killed while it saved

exit codes: 0 every group has an intact checkpoint and none is damaged, 1 otherwise, 2 bad usage or not a run
"""
INTACT, DAMAGED, SET_ASIDE, BEING_WRITTEN = "whole", "damaged", "set aside", "being written"  # in --json
# Names of checkpoints that are not restored; `hazeheal.runs.checkpoint_manager` gives them.
NOT_RESTORED = {
    SET_ASIDE: re.compile(r"ckpt-([0-9]{8,})\.(?:damaged|set_aside)(?:\.[0-9]+)?"),
    BEING_WRITTEN: re.compile(r"\.writing-ckpt-([0-9]{8,})-.*"),
}


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = CommandParser(
        prog="hazeheal checkpoints",
        description="Lists the checkpoints of every replica group of a run. It reads each one and compares it with its "
        "hashes. It changes nothing; the run may be training.",
        epilog=EPILOG,
    )
    parse.add_argument("run", metavar="RUN", help="directory of the run: the --workdir of its training")
    parse.add_argument("--json", action="store_true", help="print a list of objects instead of tables")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal checkpoints`; raises `HazeHealError` if a checkpoint is damaged or a group has no intact one."""
    flags = parser().parse_args(argv)
    folders = {name: pathlib.Path(flags.run, name, "checkpoints") for name in group_names(flags.run)}
    entries = [entry for folder in folders.values() for entry in _entries(folder).items()]
    total = sum(_bytes(path) for path, (_, state) in entries if state is None)
    units = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with progress_bar(total=total, leave=False, desc="reading", **units) as bar:
        groups = {name: describe(folder, bar.update) for name, folder in folders.items()}
    if flags.json:
        print(json.dumps([{"group": name, **row} for name, rows in groups.items() for row in rows], indent=1))
    else:
        print("\n\n".join(f"{name}\n{table(rows)}" for name, rows in groups.items()))
    sys.stdout.flush()  # before the error message
    problems = []
    for name, rows in groups.items():
        problems += [f"{name}: {row['name']} is damaged" for row in rows if row["state"] == DAMAGED]
        if not any(row["newest"] for row in rows):
            problems.append(f"{name} has no intact checkpoint")
    if problems:
        raise HazeHealError(f"{'; '.join(problems)}; training resumes from the newest intact one")
    return EXIT_OK


def group_names(run: str) -> list[str]:
    """Returns the names of a run's replica groups (`group_00`, ...) in order.

    Raises:
        UsageError: `run` is not the directory of a run.
    """
    try:
        names = [name for name in os.listdir(run) if re.fullmatch(r"group_[0-9]{2,}", name)]
        reason = "it has no group_00"
    except OSError as error:
        names, reason = [], error.strerror
    if not names:
        raise UsageError(f"{run} is not the directory of a run: {reason}; name the --workdir of a training")
    return sorted(names, key=lambda name: int(name.removeprefix("group_")))


def describe(folder: pathlib.Path, advance: Callable[[int], object]) -> list[dict]:
    """Describes the checkpoints of a replica group, ordered by step.

    Args:
        folder: The group's `checkpoints/`; it may be missing.
        advance: Called with the number of bytes of each checkpoint that was read.

    Returns:
        A dict for each: name, step, bytes, saved (ISO time), psnr (dB, or None), state (`INTACT`, `DAMAGED`, `SET_ASIDE`
        or `BEING_WRITTEN`), reason (of the damage, or None), newest and best (of the intact ones).
    """
    known, entries = {}, _entries(folder)
    # A run that is training saves and removes checkpoints meanwhile, so the folder is read until it does not change.
    while entries.keys() != known.keys():
        known = {path: known.get(path) or _describe(path, *entries[path], advance) for path in entries}
        entries = _entries(folder)
    intact = [path for path, row in known.items() if row["state"] == INTACT]
    scored = [path for path in intact if known[path]["psnr"] is not None]
    best = max(scored, key=lambda path: (known[path]["psnr"], known[path]["step"]), default=None)
    return [row | {"newest": path in intact[-1:], "best": path == best} for path, row in known.items()]


def _entries(folder):
    """Returns {path: (step, state)} ordered by step; the state is None if the checkpoint has to be read to know it."""
    steps = checkpoints.list_steps(folder)
    entries = {checkpoints.checkpoint_path(folder, step): (step, None) for step in steps}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        for state, pattern in NOT_RESTORED.items():
            if match := pattern.fullmatch(path.name):
                entries[path] = (int(match[1]), state)
    return dict(sorted(entries.items(), key=lambda entry: entry[1][0]))


def _describe(path, step, state, advance):
    size, saved, psnr, reason = _bytes(path), 0, checkpoints.validation_psnr(path), None
    with contextlib.suppress(FileNotFoundError):  # removed meanwhile; the next look does not list it
        saved = [*path.glob(checkpoints.MANIFEST), path][0].stat().st_mtime
    if state is None:
        reason = checkpoints.find_damage(path)
        state = DAMAGED if reason else INTACT
        advance(size)
    return {
        "name": path.name,
        "step": step,
        "bytes": size,
        "state": state,
        "saved": datetime.datetime.fromtimestamp(saved).astimezone().isoformat(" ", "seconds"),
        "psnr": psnr if math.isfinite(psnr) else None,
        "reason": reason and reason.replace(f"{path}{os.sep}", ""),
    }


def _bytes(path):
    with contextlib.suppress(OSError):  # removed meanwhile, or not a directory
        return sum(entry.stat().st_size for entry in os.scandir(path))
    return 0


def table(rows: list[dict]) -> str:
    """Returns the rows of `describe` as aligned text."""
    lines = [f"{'step':>10}  {'MiB':>9}  {'saved':19}  {'PSNR (dB)':>9}  state"]
    for row in rows:
        psnr = "-" if row["psnr"] is None else f"{row['psnr']:.2f}"
        state = "intact" if row["state"] == INTACT else row["state"]
        state = ", ".join([state, *(mark for mark in ("newest", "best") if row[mark])])
        detail = {DAMAGED: f": {row['reason']}", SET_ASIDE: f": {row['name']}"}.get(state, "")
        lines.append(
            f"{row['step']:10}  {row['bytes'] / 2**20:9.2f}  {row['saved'][:19]}  {psnr:>9}  {state}{detail}"
        )
    return "\n".join(lines) if rows else "no checkpoints"
