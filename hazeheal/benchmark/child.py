"""A measurement in a process of its own: precision, devices and memory are decided once, when TensorFlow starts.

    python -m hazeheal.benchmark.child KIND FILE      # reads the spec in FILE, writes FILE.result

KIND is a module beside this one whose `measure(spec)` takes and returns what JSON can hold.
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
        spec: Its arguments; with `cpu` true it sees no GPU.

    Raises:
        UsageError: The measurement cannot be made as asked.
        HazeHealError: It failed; the message holds the end of what it wrote.
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
        result = file.with_suffix(".result")
        if done.returncode == EXIT_OK:
            return json.loads(result.read_text(encoding="utf-8"))
        if result.exists():  # an error that it has words for
            said = json.loads(result.read_text(encoding="utf-8"))
            raise (UsageError if said["usage"] else HazeHealError)(said["error"])
    raise HazeHealError(f"measuring {kind} {ended(done)}")


def ended(done) -> str:
    """How a process ended that should not have, with the last line it wrote."""
    how = f"was killed by signal {-done.returncode}" if done.returncode < 0 else "failed"
    if done.returncode == -9:
        how += " (the system does that when memory runs out; use a smaller batch or crop)"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"{how}: {lines[-1]}" if lines else how


def environment(*, cpu: bool) -> dict:
    """The variables of a process that finds the packages where this one has found them."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return variables | ({"CUDA_VISIBLE_DEVICES": "-1"} if cpu else {})


def main(argv) -> int:
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
