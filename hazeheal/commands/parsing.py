"""What the commands share in reading their arguments."""

import argparse
import os

from hazeheal.errors import UsageError
from hazeheal.help import CommandParser
from hazeheal.lines import one_line

__all__ = ["CommandParser", "count", "names_of_runs", "natural", "numbers", "port", "seconds"]


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
    """What to call several runs.

    Args:
        runs: Paths.
        taken: Names that none of them may get.

    Returns:
        {name: path}: the last part of the path, or all of it where that is taken or names two of them.

    Raises:
        UsageError: One is given twice.
    """
    paths = [os.path.normpath(run) for run in runs]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(f"--model={path} is given twice; name each run once")
    ends = [os.path.basename(os.path.abspath(path)) for path in paths]
    names = [
        os.path.join(".", path) if ends.count(end) > 1 or end in taken else end
        for path, end in zip(paths, ends, strict=True)
    ]
    return {one_line(name): run for name, run in zip(names, runs, strict=True)}
