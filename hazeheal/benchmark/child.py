"""Runs one measurement in its own process, because precision, devices and memory are fixed when TensorFlow starts.

    python -m hazeheal.benchmark.child KIND FILE      # reads the spec in FILE, writes FILE.result

KIND is a module of this package with a function `measure(spec)` that takes and returns JSON values.
"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from hazeheal.errors import EXIT_ERROR, EXIT_OK, HazeHealError, UsageError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(kind: str, spec: dict) -> dict:
    """Runs one measurement and waits for it.

    Args:
        kind: `device`, `input`, `step`, `comm` or `restore`.
        spec: Its arguments. With `cpu` true the process sees no GPU.

    Returns:
        The result of the module's `measure`.

    Raises:
        UsageError: The measurement is not possible as requested.
        HazeHealError: The measurement failed; the message contains the last line of its output.
    """
    with tempfile.TemporaryDirectory(prefix="hazeheal-benchmark-") as folder:
        file = pathlib.Path(folder, "spec.json")
        file.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "hazeheal.benchmark.child", kind, str(file)]
        done = subprocess.run(
            command,
            env=environment(cpu=spec["cpu"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        result_file = file.with_suffix(".result")
        if result_file.exists():
            result = json.loads(result_file.read_text(encoding="utf-8"))
            if done.returncode == EXIT_OK:
                return result
            if "error" in result:
                raise (UsageError if result["usage"] else HazeHealError)(result["error"])
    raise HazeHealError(f"measuring {kind} {describe_failure(done)}")


def describe_failure(done: subprocess.CompletedProcess) -> str:
    """Describes how a process failed, with the last line of its stderr."""
    text = f"was killed by signal {-done.returncode}" if done.returncode < 0 else "failed"
    if done.returncode == -9:
        text += " (usually because memory ran out; use a smaller batch or crop)"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"{text}: {lines[-1]}" if lines else text


def environment(*, cpu: bool) -> dict[str, str]:
    """Returns the environment of a process that imports the same packages as this one.

    Args:
        cpu: Whether to hide the GPUs.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return variables | ({"CUDA_VISIBLE_DEVICES": "-1"} if cpu else {})


def main(argv: list[str]) -> int:
    """Runs the measurement that the arguments KIND and FILE name; returns the exit code."""
    kind, file = argv[0], pathlib.Path(argv[1])
    spec = json.loads(file.read_text(encoding="utf-8"))
    try:
        result, code = importlib.import_module(f"hazeheal.benchmark.{kind}").measure(spec), EXIT_OK
    except HazeHealError as error:
        result, code = {"error": str(error), "usage": isinstance(error, UsageError)}, EXIT_ERROR
    file.with_suffix(".result").write_text(json.dumps(result), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
