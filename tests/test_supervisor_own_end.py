"""The supervisor: how it ends, and what it leaves behind."""

import signal
import subprocess
import sys
import tempfile
import time

import pytest
from supervised import HANG, PATIENCE, ROOT, STOPS, launched, wait_for

from hazeheal.distributed import supervisor

pytest_plugins = ["supervised"]


def test_a_killed_launcher_stops_its_processes_which_save(job):
    one = job(STOPS, STOPS)
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
        end = time.monotonic() + PATIENCE
        while one.running() and time.monotonic() < end:
            time.sleep(0.02)
    assert one.notes(0) == one.notes(1) == ["ready", "SIGTERM"]


def test_a_process_whose_launcher_died_before_it_started_exits():
    code = "from hazeheal.distributed import worker\nworker._end_with_parent({})\nprint('went on')"
    for parent, returned, out in (("1234567", 75, ""), ("__import__('os').getppid()", 0, "went on\n")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(parent)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (returned, out), done.stderr


def test_a_process_that_cannot_start_ends_the_others(job):
    one = job(HANG)

    def start():
        yield from one.start()
        while not one.is_ready():
            time.sleep(0.01)
        yield "group_01", ["/nowhere/python"], {}

    with pytest.raises(FileNotFoundError):
        one.run(start=start)
    assert one.attempts() == 1


def test_an_error_of_the_launcher_itself_ends_its_processes(job, monkeypatch):
    one = job(HANG, HANG)

    def broken(*_):
        if one.is_ready():
            raise ZeroDivisionError

    monkeypatch.setattr(supervisor.Supervisor, "_hangs", broken)
    with pytest.raises(ZeroDivisionError):
        one.run()
    assert (one.attempts(0), one.attempts(1)) == (1, 1)


def test_a_closed_stderr_does_not_end_the_training(job):
    one = job("until('closed')\nif attempt == 0: kill()")
    with launched(one) as process:
        wait_for(lambda: one.processes(), process)
        process.stderr.close()
        (one.folder / "closed").touch()
        assert process.wait(PATIENCE) == 0
    assert one.attempts() == 2


def test_it_leaves_no_handlers_and_no_files(job, monkeypatch, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert job("beat(1)\nif attempt == 0: kill()").run() == 0
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert not list(folder.iterdir())
