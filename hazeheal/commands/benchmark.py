"""Measures how fast this machine reads data, trains, reduces gradients, converts and restores images.

Examples:
  hazeheal benchmark                                     everything at the sizes of the quickstart, in minutes
  hazeheal benchmark --what=step --config=rice1 --config.train.batch_size=8 --data_dir=records/rice1
  hazeheal benchmark --what=step,comm --replicas=1,2,4,8 --per_replica --passes=3
  hazeheal benchmark --what=loop --step_ms=3 --seconds=60 --config=rice1 --data_dir=records/rice1
  hazeheal benchmark --what=restore --model=best --image=1920x1080

Without --data_dir, synthetic pairs are made and removed again. Each figure is the median of --rounds times --passes
values, printed with the lowest and the highest. The part loop is one training of --rounds times --seconds with all that
surrounds the steps, which only wait. Measurements that the device does not support are skipped and listed.
docs/benchmarks.md explains the figures and the fields of the JSON file.

exit codes: 0 done, 1 error, 2 bad usage, 75 stopped by SIGTERM, 130 stopped by SIGINT
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
from collections.abc import Sequence

import hazeheal
from hazeheal import config as configs
from hazeheal.benchmark import model_config, plan, report, suite
from hazeheal.commands.parsing import (
    PRETRAINED,
    CommandParser,
    choices,
    command_parser,
    count,
    number,
    numbers,
    seconds,
)
from hazeheal.errors import EXIT_OK, EXIT_RESTART, UsageError
from hazeheal.utils.signals import exit_on_sigterm

SCHEMA = 2
XLA = ("off", "on")
STEP_MS = number("a number of milliseconds from 0.1 to 60000", float, 0.1, 60_000)
PRECISIONS = configs.FIELDS["train.precision"].choices[1:]  # all but auto


def parser() -> CommandParser:
    """Returns the parser of the command's flags, without those of the configuration."""
    parse = command_parser("benchmark", __doc__)
    add = parse.add_argument_group("what to measure").add_argument
    add("--what", type=choices(plan.KINDS), default=plan.KINDS, metavar="A,B", help=_listed(plan.KINDS))
    add("--config", metavar="NAME", help="and --config.x.y=VALUE, as in training (default: quickstart)")
    model_help = (
        f"in place of --config, the configuration of {PRETRAINED}, of a run or of an .npz weights file. The weights "
        "are not used: the speed does not depend on them"
    )
    add("--model", metavar="MODEL", help=model_help)
    add("--data_dir", metavar="DIR", help="data set of `hazeheal-tfrecords convert`, for input, step, loop")
    add("--pairs", type=count, default=256, metavar="N", help="synthetic pairs to convert (default: 256)")
    add("--size", type=count, metavar="N", help="side of the synthetic images (default: 5/3 of the crop)")
    image_help = "size of the image to restore (default: 550x412)"
    add("--image", "--picture", type=_size, default=(412, 550), metavar="WxH", help=image_help)
    add("--step_ms", type=STEP_MS, default=3.0, metavar="MS", help="duration of a step of loop (default: 3)")
    add = parse.add_argument_group("devices").add_argument
    add("--cpu", action="store_true", help="do not use the GPUs")
    replicas_help = "numbers of replicas (default: powers of two up to all GPUs; 1,2 on CPUs)"
    add("--replicas", type=_replicas, metavar="1,2,4", help=replicas_help)
    add("--per_replica", action="store_true", help="the batch size is that of one replica")
    add("--precision", type=choices(PRECISIONS), metavar="A,B", help=_listed(PRECISIONS))
    add("--xla", type=choices(XLA), default=XLA, metavar="A,B", help=_listed(XLA))
    add = parse.add_argument_group("duration").add_argument
    add("--seconds", type=seconds, default=1.0, metavar="S", help="length of a round (default: 1)")
    add("--rounds", type=count, default=3, metavar="N", help="rounds in each process (default: 3)")
    add("--passes", type=count, default=1, metavar="N", help="passes over all processes (default: 1)")
    add = parse.add_argument_group("output").add_argument
    add("--json", metavar="FILE", help="a new file (default: ./benchmark-TIME.json)")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal benchmark` with these arguments; returns the exit code or raises `HazeHealError`."""
    config_flags, rest = configs.split_argv(argv)
    flags = parser().parse_args(rest)
    config = _configuration(flags.model, config_flags)
    flags.size = flags.size or max(16, config.data.crop_size * 5 // 3)
    plan.check(config, flags)
    started = datetime.datetime.now().astimezone()
    path = _new_file(flags.json or f"benchmark-{started:%Y%m%d-%H%M%S}.json")
    with exit_on_sigterm(EXIT_RESTART):
        result = suite.run(config, flags)
    report.derive(result)
    print(f"{report.tables(result)}\n", flush=True)
    header = {
        "schema": SCHEMA,
        "begun": started.isoformat(timespec="seconds"),
        "command": shlex.join(["hazeheal", "benchmark", *argv]),
        "versions": {"hazeheal": hazeheal.__version__, "python": platform.python_version()},
        "config": config.to_dict(),
    }
    with open(path, "x", encoding="utf-8") as file:
        file.write(json.dumps(header | result, indent=1) + "\n")
    print(f"wrote {path}")
    return EXIT_OK


def _configuration(model, config_flags):
    if model is None:
        named = configs.is_named(config_flags)
        return configs.load(config_flags if named else ["--config=quickstart", *config_flags])
    if configs.is_named(config_flags):
        raise UsageError(f"--model={model} and --config=NAME both name a configuration; give one of them")
    return model_config.load(model, config_flags)


def _new_file(name):
    path = pathlib.Path(name)
    if os.path.lexists(path):
        raise UsageError(f"--json={name} already exists; name a new file, or remove it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--json={name}: {path.parent} is not a writable directory; name another file")
    return path


def _listed(names):
    return f"one or more of {','.join(names)} (default: all)"


def _replicas(text):
    return tuple(sorted(set(numbers(text))))


def _size(text):
    """Parses `WIDTHxHEIGHT` as (height, width)."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a size such as 550x412, got {text!r}")
    return int(match[2]), int(match[1])
