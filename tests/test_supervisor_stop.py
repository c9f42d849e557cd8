"""The supervisor: requests to stop, to itself and to the processes that it watches."""

import signal
import time

import pytest
from supervised import BOTH, FOR_EVER, HANG, PATIENCE, STOPS, launched, wait_for

from hazeheal.distributed import supervisor

pytest_plugins = ["supervised"]


SIGNALS = [("SIGTERM", 75, "SIGTERM"), ("SIGINT", 130, "SIGINT"), ("SIGHUP", 75, "SIGTERM")]


@pytest.mark.parametrize(("name", "code", "received"), SIGNALS)
def test_a_signal_to_the_launcher_is_handed_on_once_and_ends_the_job(job, name, code, received):
    one = job(f"on({BOTH}, {code}, 0.3); {FOR_EVER}", f"on({BOTH}, {code}, 0.2); {FOR_EVER}")
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.Signals[name])
        assert process.wait(PATIENCE) == code
        assert process.stderr.read() == ""
    for place in (0, 1):
        assert one.notes(place) == ["ready", received]
        assert one.attempts(place) == 1
    assert not list(one.folder.glob("hazeheal-launch-*"))


def test_a_launcher_in_the_background_of_a_script_takes_sigint_too(job):
    """It is started with SIGINT ignored."""
    one = job(f"on({BOTH}, 130); {FOR_EVER}")
    with launched(one, ignored=[signal.SIGINT]) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert one.notes() == ["ready", "SIGINT"]


def test_under_nohup_a_closed_terminal_changes_nothing(job):
    one = job(f"on({BOTH}, 75)\nuntil('end')")
    with launched(one, ignored=[signal.SIGHUP]) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        (one.folder / "end").touch()
        assert process.wait(PATIENCE) == 0
    assert one.notes() == ["ready"]


def test_a_second_ctrl_c_is_handed_on_too(job):
    """A training process that is asked twice ends at once."""
    one = job(
        "def stop(number, frame):\n    note('asked')\n    signal.signal(number, signal.SIG_DFL)\n"
        f"signal.signal(signal.SIGINT, stop)\nnote('ready')\n{FOR_EVER}"
    )
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGINT)
        wait_for(lambda: "asked" in one.notes(), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert one.attempts() == 1


@pytest.mark.parametrize(("name", "code", "received"), SIGNALS)
def test_a_signal_between_two_attempts_ends_the_job(job, name, code, received):
    one = job("kill()")
    with launched(one, FIRST_DELAY=40.0) as process:
        assert "restarting it in 40 s" in process.stderr.readline()
        process.send_signal(signal.Signals[name])
        assert process.wait(PATIENCE) == code
        assert process.stderr.read() == ""
    assert one.attempts() == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_just_before_the_start_starts_nothing_new(job, number, code):
    one, starts = job("kill()"), []

    def start():
        starts.append(one.start())
        return starts[-1]

    def report(_):
        signal.raise_signal(number)

    assert supervisor.Supervisor(start, max_restarts=3, hang_timeout=0, report=report).run() == code
    assert len(starts) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_while_the_processes_are_started_is_not_lost(job, number, code):
    one = job(FOR_EVER, FOR_EVER)

    def start():
        signal.raise_signal(number)
        return one.start()

    assert one.run(start=start) == code
    assert max(one.attempts(0), one.attempts(1)) <= 1
    assert one.lines == []


@pytest.mark.parametrize(("steps", "code"), [("pass", 130), ("beat(1)", 1)])
def test_a_python_that_is_interrupted_while_it_starts_is_no_error(job, steps, code):
    """It ends with code 1 then; later on that is an error."""
    one = job(f"{steps}; on([signal.SIGINT], 1); {FOR_EVER}")
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == code


@pytest.mark.parametrize("code", [75, 130])
def test_one_that_was_asked_itself_takes_the_job_with_it(job, code):
    """The others get SIGTERM: a second SIGINT would end one that is saving at once."""
    one = job(f"until('group_01.notes'); sys.exit({code})", STOPS)
    assert one.run() == code
    assert one.notes(1) == ["ready", "SIGTERM"]
    assert (one.attempts(0), one.attempts(1), one.lines) == (1, 1, [])


@pytest.mark.parametrize("other", ["sys.exit(69)", "kill()", "pass"])
def test_one_that_was_asked_itself_ends_the_job_whatever_comes_of_the_others(job, other):
    one = job("sys.exit(75)", f"signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(0.2); {other}")
    assert one.run() == 75
    assert (one.attempts(0), one.lines) == (1, [])


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_one_that_is_killed_while_it_stops_does_not_start_the_job_again(job, name, code):
    one = job(f"on({BOTH}, {code}); {FOR_EVER}", f"signal.signal(signal.{name}, lambda *_: kill()); {HANG}")
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.Signals[name])
        assert process.wait(PATIENCE) == code
    assert (one.attempts(0), one.attempts(1)) == (1, 1)


@pytest.mark.parametrize(("ends", "code"), [((75, 1), 1), ((75, 2), 2), ((0, 0), 0), ((0, 75), 75)])
def test_what_a_job_that_was_asked_to_stop_comes_to(job, ends, code):
    """An error while saving is one; and one that was done already is done."""
    one = job(*(f"on({BOTH}, {end}); {FOR_EVER}" for end in ends))
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == code
    assert one.attempts(1) == 1


def test_one_that_is_deaf_before_its_first_step_is_ended(job):
    """As TensorFlow is while it waits for the other groups; there is nothing to save."""
    one = job(f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nbeat()\n{HANG}", HANG)  # the other dies of it
    with launched(one, SECONDS_TO_STOP=0.3, SECONDS_TO_FOLLOW=60.0) as process:
        wait_for(one.is_ready, process)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
        assert time.monotonic() - begin > 0.3
    assert one.attempts() == 1


def test_one_that_has_something_to_save_is_given_the_time(job):
    one = job(f"beat(3); on({BOTH}, 75, 1.0); {FOR_EVER}")
    with launched(one, SECONDS_TO_STOP=0.1) as process:
        wait_for(one.is_ready, process)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
        assert time.monotonic() - begin > 1.0


def test_one_that_hangs_while_it_stops_is_killed(job):
    one = job(f"beat(3); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{HANG}")
    with launched(one, hang_timeout=0.8) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
    assert one.attempts() == 1
