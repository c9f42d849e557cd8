"""The data set of `hazeheal launch`: makes or converts it before the training starts.

Each step is a process of its own, as its users would run it: `hazeheal` does not import `tfrecords_tools`.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from hazeheal.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, UsageError
from hazeheal.utils.file_lock import wait_for_lock
from hazeheal.utils.signals import handle_signals

SYNTHESIZE = [sys.executable, "-m", "hazeheal.data.synthesis.synthetic_pairs"]
CONVERT = [sys.executable, "-m", "tfrecords_tools", "convert"]
CONVERT_PREFIX = "--convert."


@dataclasses.dataclass(frozen=True)
class DataPlan:
    """The data set of a training and the commands that make it.

    Attributes:
        data_dir, workdir: Directories of the data set and the run; None if the user did not name one.
        steps: Commands that make the data set, in order; empty if it exists already.
        quickstart: Whether the training is the quickstart, on synthetic pairs.
    """

    data_dir: str | None
    workdir: str | None
    steps: tuple[list[str], ...] = ()
    quickstart: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether the steps have to make the data set: its manifest, which is written last, does not exist."""
        return bool(self.steps) and not pathlib.Path(self.data_dir, "manifest.json").is_file()


def plan(flags: argparse.Namespace, convert_flags: Sequence[str], *, has_config: bool) -> DataPlan:
    """Decides which data set to train on and how to make it.

    Without data and without a configuration (`has_config`), it is that of the quickstart. `convert_flags` are the
    arguments `--convert.FLAG=VALUE`.

    Raises:
        UsageError: The flags contradict each other, or a folder does not exist.
    """
    for name in ("hazy_dir", "gt_dir", "data_dir", "workdir"):
        if getattr(flags, name) == "":
            raise UsageError(f"--{name} is empty; give a path")
    options = [f"--{flag.removeprefix(CONVERT_PREFIX)}" for flag in convert_flags]
    if not (flags.hazy_dir or flags.gt_dir or flags.data_dir or has_config):
        return _quickstart(flags.workdir, options)
    if flags.hazy_dir or flags.gt_dir:
        return _from_folders(flags, options)
    if convert_flags:
        raise UsageError(f"{convert_flags[0]} has nothing to convert; give --hazy_dir and --gt_dir")
    return DataPlan(flags.data_dir, flags.workdir)


def _quickstart(workdir, options):
    """Synthetic pairs in data/quickstart: of the clone that this file is in, else of the current directory."""
    clone = pathlib.Path(__file__).resolve().parents[2]
    is_elsewhere = (clone / "launch").is_dir() and not os.path.samefile(clone, os.curdir)
    root = clone if is_elsewhere else pathlib.Path()
    pairs, data_dir = root / "data/quickstart/pairs", root / "data/quickstart/tfrecords"
    folders = [f"--hazy_dir={pairs}/hazy", f"--gt_dir={pairs}/GT", f"--output_dir={data_dir}"]
    synthesize = [*SYNTHESIZE, f"--output_dir={pairs}"]
    convert = [*CONVERT, *folders, "--name=quickstart", *options]
    workdir = workdir or str(root / "runs/quickstart")
    return DataPlan(str(data_dir), workdir, (synthesize, convert), quickstart=True)


def _from_folders(flags, options):
    if not (flags.hazy_dir and flags.gt_dir):
        raise UsageError("--hazy_dir and --gt_dir belong together; one is missing")
    if flags.data_dir:
        raise UsageError(f"--data_dir={flags.data_dir} and --hazy_dir exclude each other; give one of them")
    if not flags.workdir:
        raise UsageError("--workdir is missing; the data set is written to its folder tfrecords")
    for folder in (flags.hazy_dir, flags.gt_dir):
        if not os.path.isdir(folder):
            raise UsageError(f"{folder} is not a directory; give the folder of the images")
    data_dir = os.path.join(flags.workdir, "tfrecords")
    folders = [f"--hazy_dir={flags.hazy_dir}", f"--gt_dir={flags.gt_dir}", f"--output_dir={data_dir}"]
    return DataPlan(data_dir, flags.workdir, ([*CONVERT, *folders, *options],))


def prepare(data: DataPlan, *, check: Sequence[str], environment: Mapping[str, str]) -> int:
    """Makes a data set with the steps of its plan; returns the exit code of the first one that fails or is stopped.

    `check` is a dry run of the training. It runs first where the data set is missing, because a wrong value or a GPU
    that TensorFlow does not find should not be reported after hours of conversion. `environment` is set for it.
    """
    if data.is_missing and (code := run(check, stdout=subprocess.DEVNULL, env=os.environ | environment)):
        return code
    *synthesis, conversion = data.steps
    for step in synthesis:
        # Several hosts that share a file system make the pairs one after the other. The conversion has its own lock.
        lock = pathlib.Path(data.data_dir).parent / ".lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with open(lock, "a", encoding="utf-8") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                wait_for_lock(file.fileno())
            if code := run(step):
                return code
    return run(conversion)


def run(command: Sequence[str], **options) -> int:
    """Runs a command to its end, and forwards SIGINT and SIGTERM to it and to the processes that it starts.

    Returns:
        Its exit code; 128 + N where signal N ended it. Where the command completed although a signal arrived, 130 for
        SIGINT and 75 for SIGTERM, so that the caller starts nothing after it.
    """
    process, received = None, []

    def forward(number, frame=None):
        received.append(number)
        # A closed terminal (SIGHUP) is a request to stop as well.
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM if number == signal.SIGHUP else number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    with handle_signals(forward, *numbers):
        # In a session of its own, so that Ctrl-C reaches it once, through this process.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        for number in received[:]:  # before it had started
            forward(number)
        code = process.wait()
    if code == EXIT_OK and received:
        return EXIT_INTERRUPTED if received[0] == signal.SIGINT else EXIT_RESTART
    return code if code >= 0 else 128 - code
