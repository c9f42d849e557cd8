"""`hazeheal benchmark`: how fast this machine reads, trains, reduces, converts and restores, and what bounds it."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shlex

import hazeheal
from hazeheal import config as configs
from hazeheal.benchmark import plan, report, suite
from hazeheal.commands.parsing import CommandParser, count, numbers, seconds
from hazeheal.errors import EXIT_OK, EXIT_RESTART, UsageError
from hazeheal.utils.signals import exit_on_sigterm

SCHEMA = 1
PRECISIONS = configs.CHOICES["train.precision"][1:]
EPILOG = """\
examples:
  hazeheal benchmark                                     all of it at the quickstart's sizes, in a few minutes
  hazeheal benchmark --what=step --config=rice1 --config.train.batch_size=8 --data_dir=records/rice1
  hazeheal benchmark --what=step,comm --replicas=1,2,4,8 --per_replica --passes=3

Without --data_dir, pairs are made by rule and removed again. Every figure is a median with the lowest and the
highest of --rounds times --passes; what the device lacks is left out and named. docs/benchmarks.md explains
the figures and the fields of the JSON.

exit codes: 0 done, 1 error, 2 bad usage, 75 stopped by SIGTERM, 130 by SIGINT
"""


def parser() -> CommandParser:
    parse = CommandParser(prog="hazeheal benchmark", description=__doc__, epilog=EPILOG)
    add = parse.add_argument
    add("--what", type=some_of(plan.KINDS), default=plan.KINDS, metavar="A,B", help=_listed(plan.KINDS))
    add("--config", metavar="NAME", help="and --config.x.y=VALUE, as in training (default: quickstart)")
    add("--data_dir", help="data set made by `hazeheal-tfrecords convert`, for input and step")
    add("--cpu", action="store_true", help="leave the GPUs alone")
    add("--replicas", type=numbers, help="as in 1,2,4 (default: doubled up to all GPUs; 1,2 on CPUs)")
    add("--per_replica", action="store_true", help="the batch is each replica's share, not the global batch")
    add("--precision", type=some_of(PRECISIONS), metavar="A,B", help=_listed(PRECISIONS))
    add(
        "--xla",
        type=some_of(("off", "on")),
        default=("off", "on"),
        metavar="A,B",
        help=_listed(("off", "on")),
    )
    add("--seconds", type=seconds, default=1.0, help="of one round (default: 1)")
    add("--rounds", type=count, default=3, help="in each process (default: 3)")
    add("--passes", type=count, default=1, help="over all processes in turn (default: 1)")
    add("--pairs", type=count, default=256, help="to convert, made by rule (default: 256)")
    add("--size", type=count, help="side of images made by rule (default: 5/3 of the crop)")
    add(
        "--image",
        "--picture",
        type=sides,
        default=(412, 550),
        metavar="WxH",
        help="to restore (default: 550x412)",
    )
    add("--json", metavar="FILE", help="a new file (default: ./benchmark-TIME.json)")
    return parse


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal benchmark`.

    Raises:
        HazeHealError: What is wrong, which value, what to do; `hazeheal.__main__` prints it.
    """
    ours, rest = configs.split_argv(argv)
    flags = parser().parse_args(rest)
    named = any(argument.startswith("--config=") for argument in ours)
    config = configs.load(ours if named else ["--config=quickstart", *ours])
    options = chosen(config, flags)
    plan.check(config, options)
    begun = datetime.datetime.now().astimezone()
    path = new_file(flags.json or f"benchmark-{begun:%Y%m%d-%H%M%S}.json")
    with exit_on_sigterm(EXIT_RESTART):
        result = report.derive(suite.run(config, options))
    print(f"{report.tables(result)}\n", flush=True)
    about = {
        "schema": SCHEMA,
        "begun": begun.isoformat(timespec="seconds"),
        "command": shlex.join(["hazeheal", "benchmark", *argv]),
        "versions": {"hazeheal": hazeheal.__version__, "python": platform.python_version()},
        "config": config.to_dict(),
    }
    with open(path, "x", encoding="utf-8") as file:
        file.write(json.dumps(about | result, indent=1) + "\n")
    print(f"written to {path}")
    return EXIT_OK


def chosen(config, flags) -> plan.Options:
    """The options that the flags name."""
    names = (
        "what",
        "data_dir",
        "cpu",
        "per_replica",
        "xla",
        "seconds",
        "rounds",
        "passes",
        "pairs",
        "image",
    )
    return plan.Options(
        **{name: getattr(flags, name) for name in names},
        replicas=None if flags.replicas is None else tuple(sorted(set(flags.replicas))),
        precisions=flags.precision,
        size=flags.size or max(16, config.data.crop_size * 5 // 3),
    )


def new_file(name) -> pathlib.Path:
    """The path of a file that can be written and is not there yet."""
    path = pathlib.Path(name)
    if os.path.lexists(path):
        raise UsageError(f"--json={name} is there already; name a new file, or remove it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--json={name}: {path.parent} is no directory that can be written to; name another")
    return path


def some_of(known):
    """An argparse type: `a,b` as a tuple of the known names, in their order."""

    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return tuple(name for name in known if name in names)

    return parse


def _listed(names):
    return f"of {', '.join(names)} (default: all)"


def sides(text):
    """`WIDTHxHEIGHT` as (height, width)."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 550x412")
    return int(match[2]), int(match[1])
