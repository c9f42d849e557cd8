"""Shared by the tests of launch/train_ray.py: the program as a module, and jobs on a Ray of this machine."""

import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import types

import jobs
import processes
from places import ROOT

PROGRAM = ROOT / "launch/train_ray.py"


class Remote:
    """Stands for a Ray actor: `actor.method.remote(...)` is a call."""

    def __init__(self, actor):
        self._actor = actor

    def __getattr__(self, name):
        return types.SimpleNamespace(remote=getattr(self._actor, name))


def load():
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("train_ray", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(data, run, *more, workers=2, **overrides):
    """Starts a job of CPU workers on a Ray of its own, which ends with it. Its output goes to RUN.txt."""
    run = pathlib.Path(run)
    flags = ["--address=local", f"--workers={workers}", "--gpus_per_worker=0", *jobs.flags(data, run, **overrides)]
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": ""}
    # A file, because nobody reads a pipe while the test waits.
    with open(output(run), "a", encoding="utf-8") as file:
        return processes.start(
            sys.executable, PROGRAM, *flags, *more, variables=variables, stdout=file, stderr=subprocess.STDOUT
        )


def output(run):
    return pathlib.Path(f"{run}.txt")


def finish(process, run):
    """The exit code of a job and the text that it has written."""
    try:
        code = process.wait(processes.PATIENCE)
    finally:
        process.kill()
    assert not trainings(run)
    return code, output(run).read_text(encoding="utf-8")


def trainings(run):
    """{number of the group: process id} of the training processes of a job."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (path / "cmdline").read_bytes().decode().split("\0")
            if arguments[1:4] == ["-m", "hazeheal", "train"] and f"--workdir={run}" in arguments:
                variables = (path / "environ").read_bytes().split(b"\0")
                config = next(v.partition(b"=")[2] for v in variables if v.startswith(b"TF_CONFIG="))
                found[json.loads(config)["task"]["index"]] = int(path.name)
    return found


def parent(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill(run, *, group, what, number):
    """Sends a signal to the training process of a group, or to the Ray worker that has started it."""
    pid = trainings(run)[group]
    os.kill(pid if what == "training" else parent(pid), number)
