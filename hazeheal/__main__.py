"""Command line of HazeHeal: `hazeheal COMMAND ...`. It only dispatches; each command is a file of `hazeheal.commands`."""

import importlib
import os
import sys
from collections.abc import Sequence

from hazeheal import __version__
from hazeheal.errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    DeviceFailedError,
    GroupLostError,
    HazeHealError,
)
from hazeheal.utils.console import escape_unencodable_output, one_line

GROUPS = {
    "train": {
        "launch": "prepare data, train in one process or several, restart lost ones; without arguments: a quickstart",
        "train": "train a generator on a data set, or resume a run, in this process",
    },
    "use": {
        "dehaze": "remove haze from images and videos with a trained generator",
        "demo": "open a local page: drop images, compare before and after, download the results",
        "evaluate": "score restored images against ground truth and a classical baseline; HTML report",
        "export": "write a trained generator as SavedModel, .keras, TensorFlow Lite, ONNX or weights",
    },
    "inspect": {
        "runs": "list runs: state, step, best PSNR, speed, reason of a failure",
        "checkpoints": "list the checkpoints of a run: step, size, validation PSNR, intact or damaged",
        "cache": "list or remove the decoded images that trainings keep",
        "doctor": "check whether this machine can train: versions, devices, memory, disk",
        "benchmark": "measure this machine: input, step, reduction, conversion, inference",
    },
}
COMMANDS = {name: text for commands in GROUPS.values() for name, text in commands.items()}
USAGE = """\
usage: hazeheal COMMAND [arguments]

Trains a GAN that removes haze from images, and restores images and videos with it.
{commands}

`hazeheal COMMAND --help` or `hazeheal help COMMAND` describes a command.

Two trained networks are included. To train your own, first convert pairs of images to a data set:

  hazeheal dehaze photo.jpg --output=restored
  hazeheal-tfrecords convert --hazy_dir=D/hazy --gt_dir=D/GT --output_dir=records/mine
  hazeheal train --config=default --data_dir=records/mine --workdir=runs/mine
  hazeheal dehaze hazy.jpg --model=runs/mine --output=restored

exit codes: 0 done, 1 error, 2 bad usage; train and launch have more"""


def usage() -> str:
    """Returns the text of `hazeheal --help`."""
    width, lines = max(map(len, COMMANDS)), []
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:{width}}  {text}" for name, text in commands.items())]
    return USAGE.format(commands="\n".join(lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments; None: those of the process.

    Returns:
        The exit code: 0 done, 1 error, 2 bad usage; `hazeheal.errors` has the others.
    """
    escape_unencodable_output()
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["help"]:
        argv = [*argv[1:2], "--help"]
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK if {"-h", "--help"} & set(argv) else EXIT_ERROR


def _run(argv):
    command = argv[0] if argv else ""
    if command in ("-h", "--help"):
        print(usage())
        return EXIT_OK
    if command == "--version":
        print(f"hazeheal {__version__}")
        return EXIT_OK
    if command not in COMMANDS:
        problem = f"unknown command {command!r}" if argv else "no command was given"
        print(usage(), file=sys.stderr)
        print(f"\nhazeheal: error: {one_line(problem)}; use one of {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_USAGE
    try:
        return importlib.import_module(f"hazeheal.commands.{command}").main(argv[1:])
    except SystemExit as end:  # --help
        return end.code or EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except (
        HazeHealError,
        OSError,
    ) as error:  # a full disk or an unreadable folder: a traceback would not help
        print(f"hazeheal {command}: error: {one_line(error)}", file=sys.stderr)
        code = error.exit_code if isinstance(error, HazeHealError) else EXIT_ERROR
        # An ordinary exit would wait for the lost group, or for work that the failed device does not finish.
        if isinstance(error, GroupLostError | DeviceFailedError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code


if __name__ == "__main__":
    sys.exit(main())
