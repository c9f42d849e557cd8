"""The supervisor: processes without heartbeats."""

import os
import re
import signal
import time

import pytest
from supervised import FOR_EVER, PATIENCE, Doll, launched, wait_for

from hazeheal.distributed import supervisor

pytest_plugins = ["supervised"]


FINE = "if attempt: sys.exit()\n"


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        (FOR_EVER, "1.2"),
        (f"beat(); {FOR_EVER}", "1.2"),  # alive, but before its first step
        (f"beat(0); {FOR_EVER}", "0.3"),
        ("beat(3); kill(signal.SIGSTOP)", "0.3"),
        (f"beat(3); signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOR_EVER}", "0.3"),
    ],
)
def test_a_process_without_heartbeats_is_restarted(job, monkeypatch, code, limit):
    monkeypatch.setattr(supervisor, "START_FACTOR", 4)
    one = job(FINE + code)
    begin = time.monotonic()
    assert one.run(hang_timeout=0.3) == 0
    assert time.monotonic() - begin > float(limit)
    assert one.attempts() == 2
    assert re.match(
        rf"group_00 \(process \d+\) sent no heartbeat for {re.escape(limit)} s; restarting it", one.lines[0]
    )


def test_a_silent_process_restarts_all(job):
    one = job(
        "for n in range(10000):\n    beat(n)\n    time.sleep(0.01)\n    if attempt: break",
        f"{FINE}beat(1); kill(signal.SIGSTOP)",
    )
    assert one.run(hang_timeout=0.5) == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert one.lines[0].startswith("group_01 ") and "no heartbeat" in one.lines[0]


def test_the_first_of_several_silent_processes_is_named(job, monkeypatch):
    """The others wait for the first one."""
    dolls = iter([Doll("group_00", silent=400.0), Doll("group_01", silent=500.0), *[Doll("", code=0)] * 2])
    monkeypatch.setattr(supervisor, "Worker", lambda *_: next(dolls))
    one = job("", "")
    assert one.run(hang_timeout=1.0) == 0
    assert one.lines[0].startswith("group_01 ")


def test_a_process_with_heartbeats_continues(job):
    one = job("for n in range(60):\n    beat(1)\n    time.sleep(0.02)")
    assert one.run(hang_timeout=0.8) == 0
    assert (one.attempts(), one.lines) == (1, [])


def test_heartbeats_of_an_earlier_attempt_do_not_count(job):
    """The second attempt is before its first step, whatever the first attempt reached."""
    one = job("if attempt == 0: beat(9); kill()\ntime.sleep(0.6)")
    assert one.run(hang_timeout=0.3) == 0
    assert one.attempts() == 2


@pytest.mark.parametrize("code", ["time.sleep(0.5)", "beat(3); time.sleep(0.5)"])
def test_a_hang_timeout_of_0_means_never(job, code):
    one = job(code)
    assert one.run(hang_timeout=0) == 0
    assert (one.attempts(), one.lines) == (1, [])


@pytest.mark.parametrize("hours", [-5, 5])
def test_setting_the_clock_has_no_effect(job, monkeypatch, hours):
    now = [1e9]

    def clock():
        now[0] += hours * 3600
        return now[0]

    monkeypatch.setattr(time, "time", clock)
    one = job(
        "for n in range(20):\n    beat(n)\n    time.sleep(0.02)\n"  # not silent
        f"if attempt == 0: {FOR_EVER}"  # silent
    )
    assert one.run(hang_timeout=0.5) == 0
    assert one.attempts() == 2
    assert "sent no heartbeat for 0.5 s" in one.lines[0]


def test_time_in_which_the_launcher_was_suspended_does_not_count(job):
    """A scheduler suspends the job, or a container is frozen, and all processes continue later."""
    one = job("note('ready')\nwhile not (here / 'end').exists():\n    beat(1)\n    time.sleep(0.02)")
    with launched(one, hang_timeout=1.0, UNWATCHED_SECONDS=0.5) as process:
        wait_for(one.is_ready, process)
        time.sleep(0.3)
        (worker,) = one.processes()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(0.2)  # the last heartbeat is read
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        os.kill(worker, signal.SIGCONT)
        time.sleep(0.2)
        (one.folder / "end").touch()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert one.attempts() == 1
