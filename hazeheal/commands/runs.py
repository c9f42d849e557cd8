"""Lists the runs in and below directories. It changes nothing; the runs may be training.

Examples:
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

import datetime
import json
import os
import sys
from collections.abc import Sequence

from hazeheal.commands.parsing import CommandParser, command_parser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.runs import listing
from hazeheal.utils.console import align, one_line

PROBLEMS = ("failed", "killed", "silent")


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("runs", __doc__)
    parse.add_argument("folders", metavar="DIR", nargs="+", help="a run, or a directory with runs below it")
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
        folders = ", ".join(flags.folders)
        raise HazeHealError(f"no run in or below {folders}; `hazeheal train` creates them (--workdir)")
    return EXIT_OK


def table(rows: Sequence[dict]) -> str:
    """Returns a table of runs, each as `listing.describe` and its directory `run`, with a line for each problem."""
    head = ("run", "state", "step", "left", "best PSNR", "images/s", "overhead", "updated", "data set")
    problems = [f"{one_line(row['run'])}: {_problem(row)}" for row in rows if row["state"] in PROBLEMS]
    return "\n".join([align([head, *map(_cells, rows)], left=(0, 1, 7, 8)), *problems])


def _cells(row):
    """Returns the cells of a run; `-` for what is not known."""

    def to_text(key, form="{}"):
        return "-" if row[key] is None else form.format(row[key])

    psnr = to_text("best_psnr", "{:.2f} dB") + ("" if row["best_step"] is None else f" @{row['best_step']}")
    left = row["eta_seconds"] if row["alive"] else None
    return (
        one_line(row["run"]),
        row["state"],
        f"{to_text('step')}/{to_text('steps')}",
        "-" if left is None else str(datetime.timedelta(seconds=round(left))),
        psnr,
        to_text("images_per_second", "{:.1f}"),
        to_text("overhead_share", "{:.1%}"),
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
