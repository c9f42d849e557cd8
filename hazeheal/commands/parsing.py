"""Argument parsing shared by the commands: types of values, and flags that several commands have."""

import argparse
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hazeheal.data.images.pixel_options import BANDS_HELP, COLOR_HELP, COLORS, WHITE_HELP, parse_bands, parse_white
from hazeheal.errors import UsageError
from hazeheal.models import pretrained
from hazeheal.utils.console import CommandParser, one_line

PRETRAINED = f"{', '.join(pretrained.NAMES[:-1])} or {pretrained.NAMES[-1]}"  # for the help of flags
MODEL_HELP = (
    f"trained generator: {PRETRAINED} (all included), the directory of a run, of a checkpoint or of an export, or a .npz, "
    ".keras or .onnx file of an export; write ./best for a path (default: best)"
)
WHICH_HELP = "checkpoint of a run: best by validation PSNR, newest, or a step (default: best)"


def command_parser(name: str, docstring: str) -> CommandParser:
    """Returns the parser of `hazeheal NAME`. The docstring of its module is the help: examples follow the flags."""
    description, _, examples = docstring.partition("\n\nExamples:")
    return CommandParser(prog=f"hazeheal {name}", description=description, epilog=f"examples:{examples}")


def add_model_flags(parse: CommandParser, **model: Any) -> Callable[..., argparse.Action]:
    """Adds the flags of a trained generator, and returns the function that adds more to their group.

    `model` has the argparse settings of --model.
    """
    add = parse.add_argument_group("model").add_argument
    add("--model", metavar="MODEL", **model)
    add("--which", metavar="WHICH", help=WHICH_HELP)
    mirror_help = "average with the restored mirror image: slightly better, twice the time"
    add("--mirror", action="store_true", help=mirror_help)
    return add


def add_pixel_flags(parse: CommandParser, *, color: bool = False) -> None:
    """Adds the flags that say how samples become RGB; `color` adds the one of the color profile."""
    add = parse.add_argument_group("samples of images").add_argument
    add("--white", type=parse_white, metavar="V", help=WHITE_HELP)
    add("--bands", type=parse_bands, metavar="R,G,B", help=BANDS_HELP)
    if color:
        add("--color", choices=COLORS, help=COLOR_HELP)


def numbers(text: str) -> list[int]:
    """Parses `0,1` as [0, 1]."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"must be a list of numbers such as 0,1, got {text!r}")
    return [int(part) for part in text.split(",")]


def number(
    description: str, kind: Callable[[str], float], least: float, most: float = math.inf
) -> Callable[[str], float]:
    """Returns an argparse type for numbers from `least` to `most`; `kind` is `int` or `float`."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be {description}, got {text!r}")
        return value

    return parse


natural = number("a non-negative integer", int, 0)
count = number("a positive integer", int, 1)
seconds = number("a number of seconds, 0 or more", float, 0, 1e9)


def choices(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Returns an argparse type that parses `a,b` as a tuple of known names without repetitions, in the given order."""
    known = tuple(known)

    def parse(text):
        names = tuple(text.split(","))
        if len(set(names)) < len(names) or not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"must be one or more of {','.join(known)}, got {text!r}")
        return names

    return parse


def name_runs(runs: Sequence[str], *, taken: Sequence[str] = ()) -> dict[str, str]:
    """Returns {short name: run} of the values of `--model`.

    An included network keeps its name. A path is named by its last part, or by the whole path if that part is taken
    or ambiguous.

    Raises:
        UsageError: A run is given twice.
    """
    paths = [run if pretrained.is_name(run) else os.path.join(".", os.path.normpath(run)) for run in runs]
    last_parts = [os.path.basename(os.path.abspath(path)) for path in paths]
    names = {}
    for run, path, last_part in zip(runs, paths, last_parts, strict=True):
        if paths.count(path) > 1:
            raise UsageError(f"--model={os.path.normpath(run)} is given twice; name each run once")
        is_unique = [*last_parts, *taken].count(last_part) == 1
        names[one_line(last_part if is_unique else path)] = run
    return names
