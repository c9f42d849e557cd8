"""Argument parsing shared by the commands: types of values, help texts, removed flags."""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence

from hazeheal.errors import UsageError
from hazeheal.models import pretrained
from hazeheal.utils.console import CommandParser, one_line

__all__ = [
    "MIRROR_HELP",
    "MODEL_HELP",
    "WHICH_HELP",
    "CommandParser",
    "add_removed_flags",
    "choices",
    "count",
    "name_runs",
    "natural",
    "numbers",
    "port",
    "seconds",
]

MODEL_HELP = (
    "trained generator: best or fast (both included), the directory of a run, of a checkpoint or of an export, or an "
    ".npz weights file; write ./best for a path (default: best)"
)
WHICH_HELP = "checkpoint of a run: best by validation PSNR, newest, or a step (default: best)"
MIRROR_HELP = "average with the restored mirror image: slightly better, twice the time"
# Flags of earlier versions, by command, each with its replacement.
REMOVED_FLAGS: dict[str, dict[str, str]] = {
    "hazeheal evaluate": {"--lpips_weights": "use --lpips=alex or --lpips=vgg"},
}


def add_removed_flags(parse: CommandParser) -> None:
    """Makes `parse` refuse the flags that `REMOVED_FLAGS` lists for `parse.prog`; `--help` does not show them."""
    for flag, advice in REMOVED_FLAGS.get(parse.prog, {}).items():
        parse.add_argument(flag, action=_Removed, advice=advice, help=argparse.SUPPRESS)


class _Removed(argparse.Action):
    """Refuses its flag, with a value or without."""

    def __init__(self, option_strings, dest, *, advice, help):
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS, help=help)
        self.advice = advice

    def __call__(self, parser, namespace, values, option_string=None):
        raise UsageError(f"{option_string} was removed; {self.advice}")


def numbers(text: str) -> list[int]:
    """Parses `0,1` as [0, 1]."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"must be a list of numbers such as 0,1, got {text!r}")
    return [int(part) for part in text.split(",")]


def natural(text: str) -> int:
    """Parses an integer of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a non-negative integer, got {text!r}")
    return int(text)


def count(text: str) -> int:
    """Parses an integer of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def port(text: str) -> int:
    """Parses the number of a TCP port."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port number from 1 to 65535, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Parses a duration in seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, 0 or more, got {text!r}")
    return value


def choices(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Returns an argparse type that parses `a,b` as a tuple of known names without repetitions, in the given order."""
    known = tuple(known)

    def parse(text):
        names = tuple(text.split(","))
        for name in names:
            if name not in known or names.count(name) > 1:
                raise argparse.ArgumentTypeError(f"must be one or more of {','.join(known)}, got {text!r}")
        return names

    return parse


def name_runs(runs: Sequence[str], *, taken: Sequence[str] = ()) -> dict[str, str]:
    """Chooses a short name for each of several models.

    Args:
        runs: The values of `--model`: paths, and names of included networks.
        taken: Names that no run may get.

    Returns:
        {name: run}. An included network keeps its name. A path is named by its last part, or by the whole path if that
        part is taken or ambiguous.

    Raises:
        UsageError: A run is given twice.
    """
    included = [run for run in runs if pretrained.is_name(run)]
    paths = [os.path.normpath(run) for run in runs if run not in included]
    for given in (included, paths):
        for run in given:
            if given.count(run) > 1:
                raise UsageError(f"--model={run} is given twice; name each run once")
    last_parts = {path: os.path.basename(os.path.abspath(path)) for path in paths}
    known = [*last_parts.values(), *included, *taken]
    names = {}
    for run in runs:
        if run in included:
            names[run] = run
            continue
        path = os.path.normpath(run)
        is_unique = known.count(last_parts[path]) == 1
        names[one_line(last_parts[path] if is_unique else os.path.join(".", path))] = run
    return names
