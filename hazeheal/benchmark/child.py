"""Runs one measurement in its own process, because precision, devices and memory are fixed when TensorFlow starts.

    python -m hazeheal.benchmark.child KIND SPEC      # prints the result

KIND is a module of this package with a function `measure(spec)`. SPEC and the result are JSON objects. In a result, a list
contains repeated measurements of one quantity.
"""

import importlib
import json
import sys

from hazeheal.errors import EXIT_OK, EXIT_USAGE, HazeHealError, UsageError
from hazeheal.utils.subprocesses import describe_failure, run_module


def run(kind: str, spec: dict) -> dict:
    """Runs one measurement and waits for it.

    Args:
        kind: `device`, `input`, `step`, `loop`, `comm` or `restore`.
        spec: Its arguments. With `cpu` true the process sees no GPU.

    Returns:
        The result of the module's `measure`.

    Raises:
        UsageError: The measurement is not possible as requested.
        HazeHealError: The measurement failed. The message contains the last line of its output.
    """
    done = run_module("hazeheal.benchmark.child", kind, json.dumps(spec), hide_gpus=spec["cpu"])
    if done.returncode == EXIT_OK:
        return json.loads(done.stdout.splitlines()[-1])
    error = UsageError if done.returncode == EXIT_USAGE else HazeHealError
    raise error(f"measuring {kind} failed: {describe_failure(done)}")


def main(kind: str, spec: str) -> int:
    """Runs the measurement in this process and prints its result; returns the exit code."""
    try:
        result = importlib.import_module(f"hazeheal.benchmark.{kind}").measure(json.loads(spec))
    except HazeHealError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(result))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
