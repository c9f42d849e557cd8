"""Command line of HazeHeal: `hazeheal COMMAND ...`. Dispatch alone; each command is a file of `hazeheal.commands`."""

import importlib
import os
import sys

from hazeheal import __version__
from hazeheal.errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    GroupLostError,
    HazeHealError,
)
from hazeheal.utils.console import escape_unencodable_output, one_line

COMMANDS = {
    "train": "train a generator on a data set, or go on with a run",
    "launch": "train in one or several processes, watched, and started again when one is lost",
    "dehaze": "remove haze from images and videos with a trained generator",
    "evaluate": "score restored images beside the hazy input and a classical baseline; HTML report",
    "runs": "list runs: state, step, best PSNR, speed; what was killed or has failed",
    "export": "write a trained generator as SavedModel, .keras, TensorFlow Lite, ONNX or weights, each checked",
    "checkpoints": "list a run's checkpoints: step, size, validation PSNR, whole or damaged",
    "doctor": "look whether this machine can train: versions, devices, limits, disk",
    "benchmark": "measure this machine: input, step, reduction, conversion, restoring",
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: hazeheal COMMAND [arguments]",
            "",
            "Trains a GAN that removes haze from images, and uses it.",
            "",
            *lines,
            "",
            "`hazeheal COMMAND --help` tells more. Networks that ship restore images at once; to train, pairs become a",
            "data set first:",
            "",
            "  hazeheal dehaze photo.jpg --output=restored",
            "  hazeheal-tfrecords convert --hazy_dir=D/hazy --gt_dir=D/GT --output_dir=records/mine",
            "  hazeheal train --config=default --data_dir=records/mine --workdir=runs/mine",
            "  hazeheal dehaze hazy.jpg --model=runs/mine --output=restored",
            "",
            "exit codes: 0 done, 1 error, 2 bad usage; train and launch have more",
        ]
    )


def main(argv=None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 error, 2 bad usage, 75 restart me."""
    escape_unencodable_output()
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in ("-h", "--help", "help"):
        print(usage())
        return EXIT_OK
    if argv and argv[0] == "--version":
        print(f"hazeheal {__version__}")
        return EXIT_OK
    if not argv or argv[0] not in COMMANDS:
        problem = f"there is no command {argv[0]!r}" if argv else "no command was given"
        print(usage(), file=sys.stderr)
        print(f"\nhazeheal: error: {one_line(problem)}; use one of {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_USAGE
    try:
        return importlib.import_module(f"hazeheal.commands.{argv[0]}").main(argv[1:])
    except SystemExit as end:  # --help
        return end.code or EXIT_OK
    except BrokenPipeError:  # `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except HazeHealError as error:
        print(f"hazeheal {argv[0]}: error: {one_line(error)}", file=sys.stderr)
        if isinstance(error, GroupLostError):
            # What is left to do at the end of a process is to wait for the group that is gone.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.exit_code)
        return error.exit_code
    except OSError as error:
        # A disk that is full, a folder that may not be read: nothing that a traceback would help with.
        print(f"hazeheal {argv[0]}: error: {one_line(error)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
