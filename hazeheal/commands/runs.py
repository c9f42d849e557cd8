"""`hazeheal runs`: lists the runs below a directory, with state and progress. It does not import TensorFlow."""

import datetime
import json
import os
import sys
from collections.abc import Sequence

from hazeheal.commands.parsing import CommandParser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.runs import listing
from hazeheal.utils.console import one_line

EPILOG = """\
examples:
  hazeheal runs runs                 a table of all runs below runs/
  hazeheal runs runs/mine --json     one run, for a script: state, step, eta_seconds, reason, ...

states:
  starting, training, validating, saving, complete
  stopped     by SIGINT after saving; rerun the command to resume
  preempted   by SIGTERM after saving; rerun the command to resume
  failed      the error is printed below the table
  killed      died without a final status; rerun the command to resume
  silent      has shown no progress for ten minutes
  unknown     has no readable status.json

exit codes: 0 done, 1 there is no run, or a directory could not be read, 2 bad usage
"""
PROBLEMS = ("failed", "killed", "silent")


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = CommandParser(
        prog="hazeheal runs",
        description="Lists the runs in and below directories. It changes nothing; the runs may be training.",
        epilog=EPILOG,
    )
    parse.add_argument(
        "folders", metavar="DIR", nargs="+", help="the directory of a run, or one with runs anywhere below it"
    )
    parse.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal runs`; raises `HazeHealError` if there is no run, or a directory could not be read."""
    flags = parser().parse_args(argv)
    for folder in flags.folders:
        if not os.path.isdir(folder):
            raise UsageError(f"{folder} is not a directory; name a run, or a directory with runs")
    errors, paths = [], {}
    for folder in flags.folders:
        for run in listing.find_runs(folder, on_error=errors.append):
            paths.setdefault(os.path.realpath(run), run)
    rows = [{"run": str(run)} | listing.describe(run) for run in paths.values()]
    if flags.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        print(table(rows))
    sys.stdout.flush()  # before the error message
    if errors:
        raise HazeHealError("; ".join(f"{e.filename} cannot be read: {e.strerror}" for e in errors))
    if not rows:
        raise HazeHealError(
            f"no run in or below {', '.join(flags.folders)}; `hazeheal train` creates them (--workdir)"
        )
    return EXIT_OK


def table(rows: Sequence[dict]) -> str:
    """Returns a row of aligned text for each run, and below them a line for each run that has a problem.

    Args:
        rows: The facts of `listing.describe`, each with the directory as `run`.
    """
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
    lines += [f"{one_line(row['run'])}: {_problem(row)}" for row in rows if row["state"] in PROBLEMS]
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


def _problem(row):
    if row["state"] == "failed":
        return f"failed (exit code {row['exit_code']}): {one_line(row['reason'])}"
    process = f"process {row['pid']} on {one_line(row['host'])}"
    if row["state"] == "killed":
        step = row["checkpoint_step"]
        restart = "start again" if step is None else f"resume from step {step}"
        return f"killed: {process} died without a final status; rerun the command to {restart}"
    return f"silent: {process} has shown no progress for {round(row['age_seconds'] / 60)} minutes"
