"""Processes that tests start: one way to start them, to wait for something they do, and for their end."""

import os
import subprocess
import sys
import time

from places import ROOT

PATIENCE = 480.0  # seconds; generous, because other tests may use the cores, but every wait has an end


def start(*command, variables=None, **options):
    """Starts a command in the repository, with no input, no GPU and without TensorFlow's own lines.

    Args:
        *command: The program and its arguments, of any type that has a text.
        variables: {name: value} of more environment variables.
        **options: Of `subprocess.Popen`, in place of those here.
    """
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | quiet | (variables or {})
    defaults = {"cwd": ROOT, "env": environment, "text": True, **pipes}
    return subprocess.Popen(list(map(str, command)), **defaults | options)


def finish(process):
    """(exit code, stdout, stderr) of a process, which must end."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end within {PATIENCE:.0f} s:\n{err}") from None
    return process.returncode, out, err


def run(*command, **options):
    """(exit code, stdout, stderr) of a command; the options are those of `start`."""
    return finish(start(*command, **options))


def run_python(code, *argv, **options):
    """(exit code, stdout, stderr) of a Python of its own that runs `code`."""
    return run(sys.executable, "-c", code, *argv, **options)


def wait_for(condition, process):
    """Returns when `condition()` holds, which it must while the process runs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"it ended with {process.returncode}:\n{process.communicate()[1]}"
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)
