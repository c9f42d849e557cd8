"""`hazeheal runs`: the runs below a folder, what they are doing and how far they are. Without TensorFlow."""

import datetime
import json
import os
import sys

from hazeheal.commands.parsing import CommandParser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.runs import listing
from hazeheal.utils.console import one_line

EPILOG = """\
examples:
  hazeheal runs runs                 a table of all runs below runs/
  hazeheal runs runs/mine --json     one run, for a script: state, step, eta_seconds, reason, ...

states: starting, training, validating, saving; complete; stopped (Ctrl-C) and preempted (SIGTERM): saved, the same
command goes on; failed: with the reason; killed: its process is gone without a word, the same command goes on from
the last checkpoint; silent: no sign of life for ten minutes; unknown: it has no readable status.json

exit codes: 0 shown, 1 there is no run, or a folder could not be read, 2 bad usage
"""
PROBLEMS = ("failed", "killed", "silent")


def parser() -> CommandParser:
    parse = CommandParser(
        prog="hazeheal runs",
        description="Lists the runs in and below folders. Nothing is changed, and runs that train go on meanwhile.",
        epilog=EPILOG,
    )
    parse.add_argument(
        "folders", metavar="DIR", nargs="+", help="a run, or a folder with runs anywhere below it"
    )
    parse.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    return parse


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal runs`.

    Raises:
        HazeHealError: There is no run, or a folder could not be read; what could be is shown.
    """
    flags = parser().parse_args(argv)
    for folder in flags.folders:
        if not os.path.isdir(folder):
            raise UsageError(f"{folder} is no directory; name a run, or a folder that holds runs")
    unread, paths = [], {}
    for folder in flags.folders:
        for run in listing.find_runs(folder, on_error=unread.append):
            paths.setdefault(os.path.realpath(run), run)
    rows = [{"run": str(run)} | listing.describe(run) for run in paths.values()]
    if flags.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        print(table(rows))
    sys.stdout.flush()  # before the message about what is wrong
    if unread:
        raise HazeHealError("; ".join(f"{e.filename} cannot be read: {e.strerror}" for e in unread))
    if not rows:
        raise HazeHealError(
            f"no run in or below {', '.join(flags.folders)}; `hazeheal train` makes them (--workdir)"
        )
    return EXIT_OK


def table(rows) -> str:
    """The rows of `main`, aligned; under it, why some of them do not go on."""
    cells = [("run", "state", "step", "left", "best PSNR", "images/s", "updated", "data set")]
    cells += [_cells(row) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]) - 1)]
    right = {2, 3, 4, 5}
    lines = []
    for row in cells:
        aligned = [
            f"{c:>{w}}" if i in right else f"{c:{w}}"
            for i, (c, w) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*aligned, row[-1]]).rstrip())
    lines += [f"{one_line(row['run'])}: {_words(row)}" for row in rows if row["state"] in PROBLEMS]
    return "\n".join(lines)


def _cells(row):
    def shown(value, form):
        return "-" if value is None else form.format(value)

    psnr = shown(row["best_psnr"], "{:.2f} dB")
    if row["best_step"] is not None:
        psnr += f" @{row['best_step']}"
    left = row["eta_seconds"] if row["alive"] else None
    return (
        one_line(row["run"]),
        row["state"],
        f"{shown(row['step'], '{}')}/{shown(row['steps'], '{}')}",
        "-" if left is None else str(datetime.timedelta(seconds=round(left))),
        psnr,
        shown(row["images_per_second"], "{:.1f}"),
        (row["updated"] or "-")[:19].replace("T", " "),
        one_line(row["data_dir"] or "-"),
    )


def _words(row):
    if row["state"] == "failed":
        return f"failed (exit code {row['exit_code']}): {one_line(row['reason'])}"
    where = f"process {row['pid']} on {one_line(row['host'])}"
    if row["state"] == "killed":
        saved = "from the start" if row["checkpoint_step"] is None else f"from step {row['checkpoint_step']}"
        return f"killed: {where} is gone without a word; the same command goes on {saved}"
    return f"silent: {where} has shown no sign of life for {round(row['age_seconds'] / 60)} minutes"
