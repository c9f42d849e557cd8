"""Shared by the tests of the supervisor: small stand-ins for training processes, and launchers of them.

A plugin: `pytest_plugins = ["supervised"]` in a test module brings the fixtures.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from hazeheal.distributed import supervisor

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 30

# The start of every stand-in: its name, the attempt (from 0), and how it sends heartbeats.
STAND_IN = """
import os, pathlib, signal, sys, time
from hazeheal.distributed.heartbeat import Heartbeat
here, name = pathlib.Path(sys.argv[1]), sys.argv[2]
attempt = len(list(here.glob(f"{name}.attempt-*")))
(here / f"{name}.attempt-{attempt}").write_text(str(os.getpid()))
beat = Heartbeat().beat
def note(word):
    with open(here / f"{name}.notes", "a") as file:
        file.write(f"{word}\\n")
def on(numbers, code, seconds=0.0):
    def stop(number, frame):
        note(signal.Signals(number).name)
        time.sleep(seconds)
        sys.exit(code)
    for number in numbers:
        signal.signal(number, stop)
    note("ready")
def kill(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
def until(path):
    file = here / path
    while not file.exists() or (file.suffix == ".notes" and not file.stat().st_size):
        time.sleep(0.01)
"""
BOTH = "[signal.SIGTERM, signal.SIGINT]"
FOR_EVER = "time.sleep(60)"
HANG = f"note('ready'); {FOR_EVER}"
STOPS = f"on({BOTH}, 75, 0.2); {FOR_EVER}"

# What `hazeheal launch` does, as a process that can receive signals.
LAUNCHER = """
import sys
from hazeheal.distributed import error_notes, supervisor, worker
for module in (supervisor, worker):
    vars(module).update({constants!r})
note_arguments = {note_arguments!r}
sys.exit(supervisor.Supervisor(lambda: {processes!r}, notes=note_arguments and error_notes.ErrorNotes(note_arguments[0], group_name=note_arguments[1]), **{options!r}).run())
"""


# START_FACTOR is high, because on a busy machine a stand-in's first heartbeat may be late.
QUICK = {
    "POLL_SECONDS": 0.02,
    "FIRST_DELAY": 0.01,
    "SECONDS_TO_FOLLOW": 5.0,
    "START_FACTOR": 20,
    "NOTES_SECONDS": 0.05,
}


@pytest.fixture
def quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setattr(supervisor, name, value)


@pytest.fixture
def an_end():
    """Makes a test fail that does not end."""

    def late(*_):
        raise AssertionError(f"still running after {PATIENCE} s")

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


class Job:
    """Stand-ins under a supervisor, and the files that they write to a folder.

    Attributes:
        lines: What the supervisor has reported.
    """

    def __init__(self, folder, *codes):
        self.folder, self.codes, self.lines = pathlib.Path(folder), codes, []

    def start(self):
        return [
            (
                f"group_{place:02d}",
                [sys.executable, "-c", STAND_IN + code, str(self.folder), f"group_{place:02d}"],
                {"PYTHONPATH": str(ROOT), "PLACE": str(place)},
            )
            for place, code in enumerate(self.codes)
        ]

    def run(self, *, max_restarts=3, hang_timeout=0, start=None, notes=None):
        options = {"max_restarts": max_restarts, "hang_timeout": hang_timeout}
        options |= {"notes": notes, "report": self.lines.append}
        return supervisor.Supervisor(start or self.start, **options).run()

    def attempts(self, place=0):
        return len(list(self.folder.glob(f"group_{place:02d}.attempt-*")))

    def notes(self, place=0):
        path = self.folder / f"group_{place:02d}.notes"
        return path.read_text().split() if path.exists() else []

    def processes(self):
        texts = [path.read_text() for path in self.folder.glob("group_*.attempt-*")]
        return [int(text) for text in texts if text]

    def running(self):
        """Processes that still exist; zombies count if this process has to wait for them."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                state, parent = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z" or int(parent) == os.getpid():
                    found.append(pid)
        return found

    def is_ready(self):
        return all("ready" in self.notes(place) for place in range(len(self.codes)))


@pytest.fixture
def job(tmp_path, quick, an_end):
    """Returns job(code, ..., folder=), with one stand-in per code; all processes must have ended after the test."""
    made = []

    def make(*codes, folder="."):
        made.append(Job(tmp_path / folder, *codes))
        made[-1].folder.mkdir(exist_ok=True)
        return made[-1]

    yield make
    for one in made:
        left = one.running()
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        assert not left, "processes are left over"


@contextlib.contextmanager
def launched(job, *, hang_timeout=0, max_restarts=3, ignored=(), note_arguments=None, **constants):
    """A launcher process for a job. `note_arguments`: the arguments of its ErrorNotes; `constants` are set in `supervisor`."""
    constants = QUICK | constants
    options = {"max_restarts": max_restarts, "hang_timeout": hang_timeout}
    code = LAUNCHER.format(constants=constants, processes=job.start(), options=options, note_arguments=note_arguments)

    def prepare():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(job.folder)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_for(condition, process):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}: {process.stderr.read()}"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


class Doll:
    """A substitute for `Worker` that ends when the test sets its code."""

    def __init__(self, name, code=None, silent=0.0):
        self.name, self.code, self.silent = name, code, silent
        self.process = type("Process", (), {"pid": 1, "wait": lambda _: None})()

    def step(self):
        return -1

    def silent_seconds(self):
        return self.silent

    def send(self, number):
        self.code = -number if self.code is None else self.code
