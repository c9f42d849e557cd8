"""The supervisor: stop signals to the launcher and to its processes."""

import concurrent.futures
import signal
import time

import pytest
from supervised import BOTH, FOR_EVER, HANG, PATIENCE, STOPS, launched, wait_for

from hazeheal.distributed import supervisor

pytest_plugins = ["supervised"]


SIGNALS = [("SIGTERM", 75, "SIGTERM"), ("SIGINT", 130, "SIGINT"), ("SIGHUP", 75, "SIGTERM")]


@pytest.mark.parametrize(("name", "code", "received"), SIGNALS)
def test_a_signal_is_forwarded_once_and_ends_the_job(job, name, code, received):
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


def test_a_program_may_stop_a_supervisor_that_runs_in_a_thread(job):
    one = job(STOPS)
    watched = supervisor.Supervisor(one.start, max_restarts=3, hang_timeout=0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(watched.run)
        while not one.is_ready():
            time.sleep(0.01)
        watched.stop(signal.SIGTERM)
        assert running.result(PATIENCE) == 75
    assert one.notes() == ["ready", "SIGTERM"]


def test_sigint_is_handled_even_if_it_was_ignored(job):
    """A script starts background processes with SIGINT ignored."""
    one = job(f"on({BOTH}, 130); {FOR_EVER}")
    with launched(one, ignored=[signal.SIGINT]) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert one.notes() == ["ready", "SIGINT"]


def test_under_nohup_sighup_is_ignored(job):
    one = job(f"on({BOTH}, 75)\nuntil('end')")
    with launched(one, ignored=[signal.SIGHUP]) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        (one.folder / "end").touch()
        assert process.wait(PATIENCE) == 0
    assert one.notes() == ["ready"]


def test_a_second_ctrl_c_is_forwarded(job):
    """A training process that receives a second SIGINT exits at once."""
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
def test_a_signal_before_a_restart_prevents_it(job, number, code):
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
def test_an_interrupt_while_python_starts_is_not_an_error(job, steps, code):
    """It exits with code 1; after the first step that is an error."""
    one = job(f"{steps}; on([signal.SIGINT], 1); {FOR_EVER}")
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == code


@pytest.mark.parametrize("code", [75, 130])
def test_a_process_that_was_stopped_directly_stops_the_job(job, code):
    """The others get SIGTERM, because a second SIGINT would end them without saving."""
    one = job(f"until('group_01.notes'); sys.exit({code})", STOPS)
    assert one.run() == code
    assert one.notes(1) == ["ready", "SIGTERM"]
    assert (one.attempts(0), one.attempts(1), one.lines) == (1, 1, [])


@pytest.mark.parametrize("other", ["sys.exit(69)", "kill()", "pass"])
def test_a_stopped_process_ends_the_job_however_the_others_end(job, other):
    one = job("sys.exit(75)", f"signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(0.2); {other}")
    assert one.run() == 75
    assert (one.attempts(0), one.lines) == (1, [])


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_process_killed_while_it_stops_is_not_restarted(job, name, code):
    one = job(f"on({BOTH}, {code}); {FOR_EVER}", f"signal.signal(signal.{name}, lambda *_: kill()); {HANG}")
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.Signals[name])
        assert process.wait(PATIENCE) == code
    assert (one.attempts(0), one.attempts(1)) == (1, 1)


@pytest.mark.parametrize(("ends", "code"), [((75, 1), 1), ((75, 2), 2), ((0, 0), 0), ((0, 75), 75)])
def test_exit_codes_of_a_stopped_job(job, ends, code):
    """An error while saving is an error, and a complete process is complete."""
    one = job(*(f"on({BOTH}, {end}); {FOR_EVER}" for end in ends))
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == code
    assert one.attempts(1) == 1


def test_a_process_that_ignores_sigterm_before_its_first_step_is_killed(job):
    """TensorFlow blocks signals while it connects the groups; there is nothing to save."""
    one = job(f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nbeat()\n{HANG}", HANG)  # the other is ended by it
    with launched(one, SECONDS_TO_STOP=0.3, SECONDS_TO_FOLLOW=60.0) as process:
        wait_for(one.is_ready, process)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
        assert time.monotonic() - begin > 0.3
    assert one.attempts() == 1


def test_a_process_has_time_to_save(job):
    one = job(f"beat(3); on({BOTH}, 75, 1.0); {FOR_EVER}")
    with launched(one, SECONDS_TO_STOP=0.1) as process:
        wait_for(one.is_ready, process)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
        assert time.monotonic() - begin > 1.0


def test_a_process_that_hangs_while_it_stops_is_killed(job):
    one = job(f"beat(3); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{HANG}")
    with launched(one, hang_timeout=0.8) as process:
        wait_for(one.is_ready, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
    assert one.attempts() == 1
