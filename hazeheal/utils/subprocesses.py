"""Runs a module in a process of its own and describes how a process failed."""

import os
import pathlib
import signal
import subprocess
import sys

from hazeheal.utils.console import one_line

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def run_module(
    module: str,
    *arguments: str,
    hide_gpus: bool = False,
    timeout: float | None = None,
    python: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE ARGUMENTS`, which finds the same packages as this process, and waits for it.

    Args:
        module: Name of the module.
        *arguments: Its command-line arguments.
        hide_gpus: Whether the process sees no GPU.
        timeout: In seconds; None for no limit.
        python: The interpreter.

    Returns:
        The exit code and the captured stdout and stderr.

    Raises:
        subprocess.TimeoutExpired: The process did not finish in time and was killed.
    """
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if hide_gpus:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return subprocess.run(
        [python, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        check=False,
    )


def describe_failure(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the signal that killed a process, or else the last line of its stderr, or else its exit code."""
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"killed by {name}" + (" (usually because memory ran out)" if name == "SIGKILL" else "")
    lines = done.stderr.strip().splitlines()
    return one_line(lines[-1]) if lines else f"exit code {done.returncode}"
