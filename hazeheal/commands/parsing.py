"""What the commands share in reading their arguments."""

import argparse
import os

from hazeheal.errors import UsageError
from hazeheal.models import pretrained
from hazeheal.utils.console import CommandParser, one_line

__all__ = [
    "MIRROR_HELP",
    "MODEL_HELP",
    "CommandParser",
    "add_removed_flags",
    "count",
    "names_of_runs",
    "natural",
    "numbers",
    "port",
    "seconds",
]

MODEL_HELP = (
    "best (default) or fast, which ship; or a run's directory, one checkpoint's, an export's, or an .npz of weights; "
    "./best is a path"
)
MIRROR_HELP = "take the mean with the restored mirror image: a little better, in twice the time"

# Flags of earlier versions, by command, each with what to use instead.
REMOVED_FLAGS: dict[str, dict[str, str]] = {}


def add_removed_flags(parse: CommandParser) -> None:
    """Refuses the flags that `REMOVED_FLAGS` lists for `parse.prog`; `--help` does not show them."""
    for flag, advice in REMOVED_FLAGS.get(parse.prog, {}).items():
        parse.add_argument(flag, action=_Removed, advice=advice, help=argparse.SUPPRESS)


class _Removed(argparse.Action):
    """Refuses its flag, with a value or without."""

    def __init__(self, option_strings, dest, *, advice, help):
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS, help=help)
        self.advice = advice

    def __call__(self, parser, namespace, values, option_string=None):
        raise UsageError(f"{option_string} was removed; {self.advice}")


def numbers(text):
    """`0,1` as [0, 1]."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0,1")
    return [int(part) for part in text.split(",")]


def natural(text):
    """An integer of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return int(text)


def count(text):
    """An integer of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def port(text):
    """The number of a TCP port."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 1 to 65535")
    return int(text)


def seconds(text):
    """A duration of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def names_of_runs(runs, *, taken=()) -> dict[str, str]:
    """What to call several models.

    Args:
        runs: What `--model` was given: paths, and names of networks that ship.
        taken: Names that none of them may get.

    Returns:
        {name: run}: the last part of a path, or all of it where that is taken or names two of them; one that ships keeps
        its name.

    Raises:
        UsageError: One is given twice.
    """
    shipped = [run for run in runs if pretrained.is_name(run)]
    paths = [os.path.normpath(run) for run in runs if run not in shipped]
    for given in (shipped, paths):
        for run in given:
            if given.count(run) > 1:
                raise UsageError(f"--model={run} is given twice; name each run once")
    ends = {path: os.path.basename(os.path.abspath(path)) for path in paths}
    known = [*ends.values(), *shipped, *taken]
    names = {}
    for run in runs:
        if run in shipped:
            names[run] = run
            continue
        path = os.path.normpath(run)
        names[one_line(os.path.join(".", path) if known.count(ends[path]) > 1 else ends[path])] = run
    return names
