"""`hazeheal checkpoints`: what a run has saved, and whether it is whole. Reads files alone, without TensorFlow."""

import contextlib
import datetime
import json
import math
import os
import pathlib
import re
import sys

from hazeheal.commands.parsing import CommandParser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.runs import checkpoints
from hazeheal.utils.console import progress_bar

EPILOG = """\
examples:
  hazeheal checkpoints runs/rice1
  hazeheal checkpoints runs/rice1 --json

set aside: was damaged, or the run went back behind it; being written: by a run that trains or was killed

exit codes: 0 every group has a whole checkpoint and none is damaged, 1 else, 2 bad usage or no run there
"""
# What `training.checkpoint` makes of the name of one that is not to be read.
UNREAD = {
    "set aside": re.compile(r"ckpt-([0-9]{8,})\.(?:damaged|set_aside)(?:\.[0-9]+)?"),
    "being written": re.compile(r"\.writing-ckpt-([0-9]{8,})-.*"),
}


def parser() -> CommandParser:
    parse = CommandParser(
        prog="hazeheal checkpoints",
        description="Lists the checkpoints of every replica group of a run. Each is read and compared with its\n"
        "hashes; nothing is changed, and a run that trains may go on meanwhile.",
        epilog=EPILOG,
    )
    parse.add_argument("run", metavar="RUN", help="the run's directory: the --workdir of its training")
    parse.add_argument("--json", action="store_true", help="print a list of objects instead of tables")
    return parse


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal checkpoints`.

    Raises:
        HazeHealError: There is no run, a checkpoint is damaged, or a group has none that is whole.
    """
    flags = parser().parse_args(argv)
    folders = {name: pathlib.Path(flags.run, name, "checkpoints") for name in groups(flags.run)}
    entries = [entry for folder in folders.values() for entry in _entries(folder).items()]
    total = sum(_bytes(path) for path, (_, state) in entries if state is None)
    shown = {"desc": "reading", "unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with progress_bar(total=total, leave=False, **shown) as bar:
        listed = {name: look(folder, bar.update) for name, folder in folders.items()}
    if flags.json:
        print(json.dumps([{"group": name, **row} for name in listed for row in listed[name]], indent=1))
    else:
        print("\n\n".join(f"{name}\n{table(rows)}" for name, rows in listed.items()))
    sys.stdout.flush()  # before the message about what is wrong
    wrong = []
    for name, rows in listed.items():
        wrong += [f"{name}: {row['name']} is damaged" for row in rows if row["state"] == "damaged"]
        wrong += [] if any(row["newest"] for row in rows) else [f"{name} has no whole checkpoint"]
    if wrong:
        raise HazeHealError(f"{'; '.join(wrong)}; training goes on from the newest whole one")
    return EXIT_OK


def groups(run) -> list[str]:
    """Names of a run's groups (`group_00`, ...) in order; UsageError where `run` is no run's directory."""
    advice = "name the --workdir of a training"
    try:
        names = [name for name in os.listdir(run) if re.fullmatch(r"group_[0-9]{2,}", name)]
    except OSError as error:
        raise UsageError(f"{run} is no run's directory: {error.strerror}; {advice}") from error
    if not names:
        raise UsageError(f"{run} is no run's directory: it holds no group_00; {advice}")
    return sorted(names, key=lambda name: int(name.removeprefix("group_")))


def look(folder, advance) -> list[dict]:
    """Describes the checkpoints in a group's `checkpoints/` (none where it is missing), by step.

    `advance` is called with the bytes of each that was read. Returns a dict each: name, step, bytes, saved (ISO
    time), psnr (or None), state (`whole`, `damaged` or a key of `UNREAD`), reason (what is damaged, or None),
    newest and best (whether it is, of the whole ones).
    """
    known, entries = {}, _entries(folder)
    # A run that trains saves new ones and removes old ones: looked at once, there might seem to be none.
    while entries.keys() != known.keys():
        known = {path: known.get(path) or _describe(path, *entries[path], advance) for path in entries}
        entries = _entries(folder)
    whole = [path for path, row in known.items() if row["state"] == "whole"]
    scored = [path for path in whole if known[path]["psnr"] is not None]
    best = max(scored, key=lambda path: (known[path]["psnr"], known[path]["step"]), default=None)
    return [row | {"newest": path in whole[-1:], "best": path == best} for path, row in known.items()]


def _entries(folder):
    """{path: (step, state, or None where it must be read to know)}, by step."""
    found = {
        checkpoints.checkpoint_path(folder, step): (step, None) for step in checkpoints.list_steps(folder)
    }
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        for state, pattern in UNREAD.items():
            if match := pattern.fullmatch(path.name):
                found[path] = (int(match[1]), state)
    return dict(sorted(found.items(), key=lambda entry: entry[1][0]))


def _describe(path, step, state, advance):
    size, saved, psnr, reason = _bytes(path), 0, checkpoints.validation_psnr(path), None
    with contextlib.suppress(FileNotFoundError):  # removed meanwhile: then it will not be listed
        saved = [*path.glob(checkpoints.MANIFEST), path][0].stat().st_mtime
    if state is None:
        reason = checkpoints.find_damage(path)
        state = "damaged" if reason else "whole"
        advance(size)
    row = {"name": path.name, "step": step, "bytes": size, "state": state}
    row["saved"] = datetime.datetime.fromtimestamp(saved).astimezone().isoformat(" ", "seconds")
    row["psnr"] = psnr if math.isfinite(psnr) else None
    row["reason"] = reason and reason.replace(f"{path}{os.sep}", "")
    return row


def _bytes(path):
    with contextlib.suppress(OSError):  # removed meanwhile, or no directory
        return sum(entry.stat().st_size for entry in os.scandir(path))
    return 0


def table(rows) -> str:
    """The rows of `look`, aligned; what has no fixed length stands last."""
    lines = [f"{'step':>10}  {'MiB':>9}  {'saved':19}  {'PSNR (dB)':>9}  state"]
    for row in rows:
        psnr = "-" if row["psnr"] is None else f"{row['psnr']:.2f}"
        state = ", ".join([row["state"], *(mark for mark in ("newest", "best") if row[mark])])
        detail = {"damaged": f": {row['reason']}", "set aside": f": {row['name']}"}.get(state, "")
        lines.append(
            f"{row['step']:10}  {row['bytes'] / 2**20:9.2f}  {row['saved'][:19]}  {psnr:>9}  {state}{detail}"
        )
    return "\n".join(lines) if rows else "no checkpoints"
