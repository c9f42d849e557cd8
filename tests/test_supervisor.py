"""The supervisor: killed, lost, failed and complete processes, and the number of restarts."""

import os
import re
import time

import pytest
from supervised import FOR_EVER, Doll

from hazeheal.distributed import supervisor

pytest_plugins = ["supervised"]


def test_the_job_ends_when_all_processes_end(job):
    one = job("pass", "time.sleep(0.2)")
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (1, 1)
    assert one.lines == []


def test_the_environment_of_a_process(job, monkeypatch):
    monkeypatch.setenv("OF_THE_LAUNCHER", "x")
    kept, (reader, writer) = os.dup(0), os.pipe()
    os.dup2(reader, 0)  # like a terminal
    one = job(
        "assert os.environ['PLACE'] == '0' and os.environ['OF_THE_LAUNCHER'] == 'x'\n"
        "assert os.getsid(0) == os.getpid() and os.readlink('/proc/self/fd/0') == '/dev/null'\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "beat(7)\nnote(pathlib.Path(os.environ['HAZEHEAL_HEARTBEAT']).name)\n"
    )
    try:
        assert one.run() == 0
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, reader, writer):
            os.close(descriptor)
    assert one.notes() == ["group_00"]


def test_a_killed_process_is_restarted(job):
    one = job("if attempt == 0: kill()")
    assert one.run() == 0
    assert one.attempts() == 2
    (line,) = one.lines
    assert re.fullmatch(
        r"group_00 \(process \d+\) was ended by SIGKILL; restarting it in 0\.01 s from the last checkpoint "
        r"\(restart 1 of at most 3 without a new step\)",
        line,
    )


def test_a_lost_process_restarts_all(job):
    one = job("if attempt == 0: kill()", "if attempt == 0: time.sleep(0.3); note('followed'); sys.exit(69)")
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert one.notes(1) == ["followed"]
    assert "group_00" in one.lines[0] and "SIGKILL; restarting all processes" in one.lines[0]


def test_a_process_that_does_not_exit_is_killed_before_the_restart(job, monkeypatch):
    monkeypatch.setattr(supervisor, "SECONDS_TO_FOLLOW", 0.2)
    one = job("if attempt == 0: kill()", f"if attempt == 0: {FOR_EVER}")
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert re.match(r"group_00 \(process \d+\) was ended by SIGKILL; restarting all", one.lines[0])


def test_the_killed_process_is_named_not_the_one_that_noticed(job):
    one = job(
        "if attempt == 0: until('group_01.attempt-0'); sys.exit(69)",
        "if attempt == 0: until('group_00.attempt-0'); kill()",
    )
    assert one.run() == 0
    assert one.lines[0].startswith("group_01 (process ")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(69)", "lost another group"),
        ("sys.exit(71)", "reported a failed device"),
        ("sys.exit(3)", "exited with code 3"),
        ("os.abort()", "was ended by SIGABRT"),
        ("kill(signal.SIGTERM)", "was ended by SIGTERM"),
        ("kill(40)", "was ended by signal 40"),
    ],
)
def test_every_end_but_an_error_is_a_loss(job, end, said):
    one = job(f"if attempt == 0: {end}")
    assert one.run() == 0
    assert one.attempts() == 2
    assert f"{said}; restarting it" in one.lines[0]


def test_it_gives_up_after_restarts_without_a_new_step(job, monkeypatch):
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 0.1)
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.03)
    one, slept = job("kill()"), []
    sleep = supervisor.Supervisor._sleep
    monkeypatch.setattr(supervisor.Supervisor, "_sleep", lambda s, d: (slept.append(d), sleep(s, d)))
    begin = time.monotonic()
    assert one.run(max_restarts=4) == 1
    assert time.monotonic() - begin > sum(slept)
    assert slept == [0.03, 0.06, 0.1, 0.1]
    assert one.attempts() == 5
    assert [re.search(r"in (\S+) s from .*restart (\d) of at most 4", line).groups() for line in one.lines[:4]] == [
        *[("0.03", "1"), ("0.06", "2"), ("0.1", "3"), ("0.1", "4")]
    ]
    assert one.lines[4].endswith("was ended by SIGKILL; giving up after 4 restarts without a new step")


def test_it_gives_up_sooner_on_a_device_that_fails_at_the_same_step(job):
    one = job("beat(7); sys.exit(71)")
    assert one.run(max_restarts=10) == 71
    assert one.attempts() == supervisor.MAX_DEVICE_RESTARTS + 1 == 4
    assert one.lines[-1].endswith("reported a failed device; giving up after 3 restarts without a new step")


def test_failed_devices_are_limited_by_max_restarts_too(job):
    one = job("sys.exit(71)", "sys.exit(69)")
    assert one.run(max_restarts=1) == 71
    assert one.attempts() == 2


def test_a_device_that_fails_at_new_steps_is_restarted(job):
    one = job("beat(attempt)\nif attempt < 6: sys.exit(71)")
    assert one.run(max_restarts=1) == 0
    assert one.attempts() == 7


def test_a_device_error_beside_a_killed_process_does_not_count(job):
    """The communication fails because of the killed process."""
    one = job("if attempt < 5: sys.exit(71)", "if attempt < 5: kill()")
    assert one.run(max_restarts=10) == 0
    assert one.attempts() == 6
    assert all("group_01" in line and "SIGKILL; restarting all" in line for line in one.lines)


def test_other_losses_do_not_count_as_failed_devices(job):
    one = job("sys.exit(71 if attempt == 5 else 69)")
    assert one.run(max_restarts=7) == 1
    assert one.attempts() == 8


def test_an_error_caused_by_a_failed_device_is_not_final(job):
    one = job("if attempt == 0: sys.exit(71)", "if attempt == 0: until('group_00.attempt-0'); sys.exit(1)")
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert "group_00" in one.lines[0] and "reported a failed device; restarting all processes" in one.lines[0]


@pytest.mark.parametrize("end", ["kill()", "sys.exit(69)"])
def test_restarts_may_be_left_to_the_caller(job, end):
    one = job(f"beat(3); {end}")
    assert one.run(max_restarts=None) == 69
    assert one.attempts() == 1
    (line,) = one.lines
    assert re.fullmatch(r"group_00 \(process \d+\) (was ended by SIGKILL|lost another group)", line)


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_other_ends_are_the_same_if_restarts_are_left_to_the_caller(job, code):
    assert job(f"sys.exit({code})").run(max_restarts=None) == code


def test_max_restarts_of_0_means_no_restart(job):
    one = job("beat(3); kill()")
    assert one.run(max_restarts=0) == 1
    assert one.attempts() == 1
    (line,) = one.lines
    assert line.endswith("was ended by SIGKILL; giving up after 0 restarts without a new step")


def test_thousands_of_restarts_do_not_overflow_the_delay(job, monkeypatch):
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 0)
    monkeypatch.setattr(supervisor, "Worker", lambda name, *_: Doll(name, code=-9))
    one = job("")
    assert one.run(max_restarts=3000) == 1
    assert len(one.lines) == 3001


def test_a_new_step_resets_the_number_of_restarts(job):
    one = job("beat(attempt)\nif attempt < 4: kill()")
    assert one.run(max_restarts=1) == 0
    assert one.attempts() == 5
    assert all("restart 1 of at most 1" in line for line in one.lines)


@pytest.mark.parametrize("steps", ["5", "max(0, 5 - attempt)", "[5, 0, 3, 9][attempt]"])
def test_a_step_reached_before_is_not_new(job, steps):
    one = job(f"beat({steps}); kill()")
    assert one.run(max_restarts=2) == 1
    assert one.attempts() == 3


def test_the_step_of_any_process_counts(job):
    one = job("if attempt < 3: kill()", "beat(attempt)\nif attempt < 3: sys.exit(69)")
    assert one.run(max_restarts=1) == 0
    assert one.attempts(1) == 4


@pytest.mark.parametrize("code", [1, 2])
@pytest.mark.parametrize("other", ["pass", "sys.exit(69)", "time.sleep(0.3); os.abort()"])
def test_an_error_is_final(job, code, other):
    one = job(f"sys.exit({code})", other)
    assert one.run() == code
    assert (one.attempts(0), one.attempts(1)) == (1, 1)
    assert one.lines == []


@pytest.mark.parametrize("code", [1, 2])
def test_a_process_that_continues_after_an_error_is_killed(job, monkeypatch, code):
    monkeypatch.setattr(supervisor, "SECONDS_TO_FOLLOW", 0.3)
    one = job(f"until('group_01.notes'); sys.exit({code})", f"note('ready'); {FOR_EVER}")
    begin = time.monotonic()
    assert one.run() == code
    assert time.monotonic() - begin > 0.3
    assert one.attempts(1) == 1


def test_a_process_has_time_to_follow_an_error(job):
    one = job("sys.exit(1)", "time.sleep(0.5); note('followed'); sys.exit(69)")
    assert one.run() == 1
    assert one.notes(1) == ["followed"]


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_an_error_caused_by_a_killed_process_is_not_final(job, seconds):
    """TensorFlow has many messages for a lost connection, and not all are recognized."""
    one = job(
        "if attempt == 0: until('group_01.attempt-0'); kill()",
        f"if attempt == 0: until('group_00.attempt-0'); time.sleep({seconds}); sys.exit(1)",
    )
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert "group_00" in one.lines[0]


def test_an_error_that_recurs_after_the_restart_is_final(job):
    one = job("if attempt == 0: kill()", "sys.exit(1)")
    assert one.run() == 1
    assert one.attempts() == 2
