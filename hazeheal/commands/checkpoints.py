"""Lists the checkpoints of every replica group of a run, and compares each one with its hashes.

It changes nothing; the run may be training.

Examples:
  hazeheal checkpoints runs/rice1
  hazeheal checkpoints runs/rice1 --json

intact: sizes and hashes match; damaged: they do not; set aside: it was damaged, or the run was rewound to an earlier
step; being written: by a run that is training, or was killed while it saved

exit codes: 0 every group has an intact checkpoint and none is damaged, 1 otherwise, 2 bad usage or not a run
"""

import contextlib
import datetime
import json
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence

from hazeheal.commands.parsing import CommandParser, command_parser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.runs import checkpoints
from hazeheal.utils.console import align, progress_bar

INTACT, DAMAGED, SET_ASIDE, BEING_WRITTEN = "whole", "damaged", "set aside", "being written"  # in --json
# As `hazeheal.runs.checkpoint_manager` names them: a checkpoint, one that is set aside, one that is being written.
NAME = re.compile(r"ckpt-(\d{8,})(?:\.(?:damaged|set_aside)(?:\.\d+)?)?|\.writing-ckpt-(\d{8,})-.*")


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("checkpoints", __doc__)
    parse.add_argument("run", metavar="RUN", help="directory of the run: the --workdir of its training")
    parse.add_argument("--json", action="store_true", help="print a list of objects instead of tables")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal checkpoints`; raises `HazeHealError` if a checkpoint is damaged or a group has no intact one."""
    flags = parser().parse_args(argv)
    folders = {name: pathlib.Path(flags.run, name, "checkpoints") for name in group_names(flags.run)}
    total = sum(len(_entries(folder)) for folder in folders.values())
    with progress_bar(total=total, leave=False, desc="reading", unit=" checkpoints") as bar:
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
    paths = pathlib.Path(run).glob("group_*")
    names = [path.name for path in paths if re.fullmatch(r"group_\d{2,}", path.name)]
    if not names:
        raise UsageError(f"{run} is not the directory of a run; name the --workdir of a training")
    return sorted(names, key=lambda name: int(name.removeprefix("group_")))


def describe(folder: pathlib.Path, on_read: Callable[[], object]) -> list[dict]:
    """Describes the checkpoints of a replica group, ordered by step.

    Args:
        folder: The group's `checkpoints/`; it may be missing.
        on_read: Called after each checkpoint that was read.

    Returns:
        A dict for each: name, step, bytes, saved (ISO time), psnr (dB, or None), state (`INTACT`, `DAMAGED`, `SET_ASIDE`
        or `BEING_WRITTEN`), reason (of the damage, or None), newest and best (of the intact ones).
    """
    rows, entries = {}, _entries(folder)
    # A run that is training saves and removes checkpoints meanwhile, so the folder is read until it does not change.
    while entries.keys() != rows.keys():
        rows = {path: rows.get(path) or _describe(path, step, on_read) for path, step in entries.items()}
        entries = _entries(folder)
    intact = [path for path, row in rows.items() if row["state"] == INTACT]
    scored = [path for path in intact if rows[path]["psnr"] is not None]
    best = max(scored, key=lambda path: (rows[path]["psnr"], rows[path]["step"]), default=None)
    return [row | {"newest": path in intact[-1:], "best": path == best} for path, row in rows.items()]


def _entries(folder):
    """Returns {path: step} of all checkpoints, ordered by step."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [(path, match) for path in paths if (match := NAME.fullmatch(path.name))]
    steps = {path: int(match[1] or match[2]) for path, match in matches}
    return dict(sorted(steps.items(), key=lambda entry: entry[1]))


def _describe(path, step, on_read):
    size, saved, psnr, reason = 0, 0, checkpoints.validation_psnr(path), None
    with contextlib.suppress(OSError):  # removed meanwhile, or not a directory
        saved = [*path.glob(checkpoints.MANIFEST), path][0].stat().st_mtime
        size = sum(entry.stat().st_size for entry in os.scandir(path))
    if path.name.startswith("."):
        state = BEING_WRITTEN
    elif path.suffix:
        state = SET_ASIDE
    else:
        reason = checkpoints.find_damage(path)
        state = DAMAGED if reason else INTACT
    on_read()
    return {
        "name": path.name,
        "step": step,
        "bytes": size,
        "state": state,
        "saved": datetime.datetime.fromtimestamp(saved).astimezone().isoformat(" ", "seconds"),
        "psnr": psnr if math.isfinite(psnr) else None,
        "reason": reason and reason.replace(f"{path}{os.sep}", ""),
    }


def table(rows: list[dict]) -> str:
    """Returns the rows of `describe` as aligned text."""
    cells = [("step", "MiB", "saved", "PSNR (dB)", "state")]
    for row in rows:
        psnr = "-" if row["psnr"] is None else f"{row['psnr']:.2f}"
        state = "intact" if row["state"] == INTACT else row["state"]
        detail = {DAMAGED: f": {row['reason']}", SET_ASIDE: f": {row['name']}"}.get(state, "")
        marks = "".join(f", {mark}" for mark in ("newest", "best") if row[mark])
        size = f"{row['bytes'] / 2**20:.2f}"
        cells.append((str(row["step"]), size, row["saved"][:19], psnr, f"{state}{detail}{marks}"))
    return align(cells, left=(2, 4)) if rows else "no checkpoints"
