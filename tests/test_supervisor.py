"""The supervisor, with small stand-ins for the training processes: killed, silent, stopped, in error, done."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from hazeheal.launch import supervisor

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 30

# Before what a stand-in does: who it is, which attempt this is (from 0), how it gives a sign of life.
STAND_IN = """
import os, pathlib, signal, sys, time
from hazeheal.training.heartbeat import Heartbeat
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
    while not (here / path).exists():
        time.sleep(0.01)
"""
BOTH = "[signal.SIGTERM, signal.SIGINT]"
FOR_EVER = "time.sleep(60)"
HANG = f"note('ready'); {FOR_EVER}"
STOPS = f"on({BOTH}, 75, 0.2); {FOR_EVER}"

# What `hazeheal launch` does, as a process of its own that signals can be sent to.
LAUNCHER = """
import sys
from hazeheal.launch import supervisor
vars(supervisor).update({constants!r})
sys.exit(supervisor.Supervisor(lambda: {processes!r}, **{options!r}).run())
"""


# A stand-in that has not come to its first sign of life on a busy machine is no silent one.
QUICK = {"POLL_SECONDS": 0.02, "FIRST_DELAY": 0.01, "SECONDS_TO_FOLLOW": 5.0, "START_FACTOR": 20}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setattr(supervisor, name, value)


@pytest.fixture(autouse=True)
def an_end():
    """Whatever goes wrong, no test waits for ever."""

    def late(*_):
        raise AssertionError(f"it goes on after {PATIENCE} s")

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


class Job:
    """Stand-ins under a supervisor, and what they leave in a folder.

    Attributes:
        lines: What the supervisor has said.
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

    def run(self, *, max_restarts=3, hang_timeout=0, start=None):
        options = {"max_restarts": max_restarts, "hang_timeout": hang_timeout, "say": self.lines.append}
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
        """Those that are there still; as zombies too, as far as it is for this process to bury them."""
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
def job(tmp_path):
    """Gives job(code, ...): one stand-in for each code; none of their processes may be left at the end."""
    made = []

    def make(*codes):
        made.append(Job(tmp_path, *codes))
        return made[-1]

    yield make
    for one in made:
        left = one.running()
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        assert not left, "processes are left over"


@contextlib.contextmanager
def launched(job, *, hang_timeout=0, max_restarts=3, ignored=(), **constants):
    """A real launcher process for a job; the constants are of the module `supervisor`."""
    constants = QUICK | constants
    options = {"max_restarts": max_restarts, "hang_timeout": hang_timeout}
    code = LAUNCHER.format(constants=constants, processes=job.start(), options=options)

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


# Ends that nobody asked for.


def test_when_all_are_done_the_job_is_done(job):
    one = job("pass", "time.sleep(0.2)")
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (1, 1)
    assert one.lines == []


def test_a_process_gets_its_variables_a_session_and_no_input(job, monkeypatch):
    monkeypatch.setenv("OF_THE_LAUNCHER", "x")
    kept, (reader, writer) = os.dup(0), os.pipe()
    os.dup2(reader, 0)  # as a terminal would be
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


def test_one_that_is_killed_is_started_again(job):
    one = job("if attempt == 0: kill()")
    assert one.run() == 0
    assert one.attempts() == 2
    (line,) = one.lines
    assert re.fullmatch(
        r"group_00 \(process \d+\) was ended by SIGKILL; it starts again in 0\.01 s, from the last checkpoint "
        r"\(restart 1 of at most 3 without a new step\)",
        line,
    )


def test_one_that_is_lost_takes_the_others_with_it_into_a_new_start(job):
    one = job("if attempt == 0: kill()", "if attempt == 0: time.sleep(0.3); note('followed'); sys.exit(69)")
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert one.notes(1) == ["followed"]
    assert "group_00" in one.lines[0] and "SIGKILL; all start again" in one.lines[0]


def test_one_that_does_not_follow_is_killed_before_the_new_start(job, monkeypatch):
    monkeypatch.setattr(supervisor, "SECONDS_TO_FOLLOW", 0.2)
    one = job("if attempt == 0: kill()", f"if attempt == 0: {FOR_EVER}")
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert re.match(
        r"group_00 \(process \d+\) was ended by SIGKILL, and group_01 did not end by itself and was killed; all",
        one.lines[0],
    )


def test_the_one_that_was_killed_is_named_and_not_the_one_that_noticed(job):
    one = job(
        "if attempt == 0: until('group_01.attempt-0'); sys.exit(69)",
        "if attempt == 0: until('group_00.attempt-0'); kill()",
    )
    assert one.run() == 0
    assert one.lines[0].startswith("group_01 (process ")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(69)", "has lost another group"),
        ("sys.exit(3)", "ended with code 3"),
        ("os.abort()", "was ended by SIGABRT"),
        ("kill(signal.SIGTERM)", "was ended by SIGTERM"),
        ("kill(40)", "was ended by signal 40"),
    ],
)
def test_every_end_but_an_error_is_a_loss(job, end, said):
    one = job(f"if attempt == 0: {end}")
    assert one.run() == 0
    assert one.attempts() == 2
    assert f"{said}; it starts again" in one.lines[0]


def test_crashes_that_bring_nothing_are_given_up_after_delays_that_double(job, monkeypatch):
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
    assert [
        re.search(r"in (\S+) s, .*restart (\d) of at most 4", line).groups() for line in one.lines[:4]
    ] == [*[("0.03", "1"), ("0.06", "2"), ("0.1", "3"), ("0.1", "4")]]
    assert one.lines[4].endswith("was ended by SIGKILL; given up after 4 restarts without a new step")


def test_where_no_restart_is_allowed_the_first_loss_is_the_end(job):
    one = job("beat(3); kill()")
    assert one.run(max_restarts=0) == 1
    assert one.attempts() == 1
    (line,) = one.lines
    assert line.endswith("was ended by SIGKILL; given up")


class Doll:
    """In place of a process: ends when a test says so."""

    def __init__(self, name, code=None, silent=0.0):
        self.name, self.code, self.silent = name, code, silent
        self.process = type("Process", (), {"pid": 1, "wait": lambda _: None})()

    def step(self):
        return -1

    def silent_seconds(self):
        return self.silent

    def send(self, number):
        self.code = -number if self.code is None else self.code


def test_thousands_of_restarts_are_no_large_number(job, monkeypatch):
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 0)
    monkeypatch.setattr(supervisor, "Worker", lambda name, *_: Doll(name, code=-9))
    one = job("")
    assert one.run(max_restarts=3000) == 1
    assert len(one.lines) == 3001


def test_a_new_step_makes_the_count_start_anew(job):
    one = job("beat(attempt)\nif attempt < 4: kill()")
    assert one.run(max_restarts=1) == 0
    assert one.attempts() == 5
    assert all("restart 1 of at most 1" in line for line in one.lines)


@pytest.mark.parametrize("steps", ["5", "max(0, 5 - attempt)", "[5, 0, 3, 9][attempt]"])
def test_a_step_that_was_reached_before_is_no_new_one(job, steps):
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
def test_one_that_would_go_on_beside_an_error_is_ended(job, monkeypatch, code):
    monkeypatch.setattr(supervisor, "SECONDS_TO_FOLLOW", 0.3)
    one = job(f"until('group_01.notes'); sys.exit({code})", f"note('ready'); {FOR_EVER}")
    begin = time.monotonic()
    assert one.run() == code
    assert time.monotonic() - begin > 0.3
    assert one.attempts(1) == 1


def test_one_that_follows_an_error_has_time_for_it(job):
    one = job("sys.exit(1)", "time.sleep(0.5); note('followed'); sys.exit(69)")
    assert one.run() == 1
    assert one.notes(1) == ["followed"]


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_an_error_that_comes_of_a_killed_process_is_not_final(job, seconds):
    """TensorFlow has many words for a connection that is gone, and not all are known as such."""
    one = job(
        "if attempt == 0: until('group_01.attempt-0'); kill()",
        f"if attempt == 0: until('group_00.attempt-0'); time.sleep({seconds}); sys.exit(1)",
    )
    assert one.run() == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert "group_00" in one.lines[0]


def test_an_error_that_comes_again_after_the_new_start_is_final(job):
    one = job("if attempt == 0: kill()", "sys.exit(1)")
    assert one.run() == 1
    assert one.attempts() == 2


# Silence.

FINE = "if attempt: sys.exit()\n"


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        (FOR_EVER, "1.2"),
        (f"beat(); {FOR_EVER}", "1.2"),  # goes on, but has not come to its first step
        (f"beat(0); {FOR_EVER}", "0.3"),
        ("beat(3); kill(signal.SIGSTOP)", "0.3"),
        (f"beat(3); signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOR_EVER}", "0.3"),
    ],
)
def test_one_without_a_sign_of_life_is_killed_and_started_again(job, monkeypatch, code, limit):
    monkeypatch.setattr(supervisor, "START_FACTOR", 4)
    one = job(FINE + code)
    begin = time.monotonic()
    assert one.run(hang_timeout=0.3) == 0
    assert time.monotonic() - begin > float(limit)
    assert one.attempts() == 2
    assert re.match(
        rf"group_00 \(process \d+\) shows no sign of life for {re.escape(limit)} s; it starts", one.lines[0]
    )


def test_one_that_is_silent_takes_the_others_with_it(job):
    one = job(
        "for n in range(10000):\n    beat(n)\n    time.sleep(0.01)\n    if attempt: break",
        f"{FINE}beat(1); kill(signal.SIGSTOP)",
    )
    assert one.run(hang_timeout=0.5) == 0
    assert (one.attempts(0), one.attempts(1)) == (2, 2)
    assert one.lines[0].startswith("group_01 ") and "no sign of life" in one.lines[0]


def test_of_several_silent_ones_the_first_is_named(job, monkeypatch):
    """The others wait for it."""
    dolls = iter([Doll("group_00", silent=400.0), Doll("group_01", silent=500.0), *[Doll("", code=0)] * 2])
    monkeypatch.setattr(supervisor, "Worker", lambda *_: next(dolls))
    one = job("", "")
    assert one.run(hang_timeout=1.0) == 0
    assert one.lines[0].startswith("group_01 ")


def test_one_that_gives_signs_of_life_goes_on(job):
    one = job("for n in range(60):\n    beat(1)\n    time.sleep(0.02)")
    assert one.run(hang_timeout=0.8) == 0
    assert (one.attempts(), one.lines) == (1, [])


def test_what_the_one_before_has_told_does_not_count(job):
    """The second has its own first step before it, whatever the first one reached."""
    one = job("if attempt == 0: beat(9); kill()\ntime.sleep(0.6)")
    assert one.run(hang_timeout=0.3) == 0
    assert one.attempts() == 2


@pytest.mark.parametrize("code", ["time.sleep(0.5)", "beat(3); time.sleep(0.5)"])
def test_a_hang_timeout_of_0_means_never(job, code):
    one = job(code)
    assert one.run(hang_timeout=0) == 0
    assert (one.attempts(), one.lines) == (1, [])


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_is_set_does_not_matter(job, monkeypatch, hours):
    now = [1e9]

    def clock():
        now[0] += hours * 3600
        return now[0]

    monkeypatch.setattr(time, "time", clock)
    one = job(
        "for n in range(20):\n    beat(n)\n    time.sleep(0.02)\n"  # nobody takes it for silent
        f"if attempt == 0: {FOR_EVER}"  # and nobody for alive
    )
    assert one.run(hang_timeout=0.5) == 0
    assert one.attempts() == 2
    assert "no sign of life for 0.5 s" in one.lines[0]


def test_time_in_which_the_launcher_itself_was_stopped_does_not_count(job):
    """As when a scheduler suspends the job, or a container is frozen: all of it stops, and goes on."""
    one = job("note('ready')\nwhile not (here / 'end').exists():\n    beat(1)\n    time.sleep(0.02)")
    with launched(one, hang_timeout=1.0, UNWATCHED_SECONDS=0.5) as process:
        wait_for(one.is_ready, process)
        time.sleep(0.3)
        (worker,) = one.processes()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(0.2)  # its last sign of life is seen
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


# Requests to stop.

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
        assert "again in 40 s" in process.stderr.readline()
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

    def say(_):
        signal.raise_signal(number)

    assert supervisor.Supervisor(start, max_restarts=3, hang_timeout=0, say=say).run() == code
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


# The launcher's own end.


def test_a_launcher_that_is_killed_takes_its_processes_with_it_and_they_save(job):
    one = job(STOPS, STOPS)
    with launched(one) as process:
        wait_for(one.is_ready, process)
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
        end = time.monotonic() + PATIENCE
        while one.running() and time.monotonic() < end:
            time.sleep(0.02)
    assert one.notes(0) == one.notes(1) == ["ready", "SIGTERM"]


def test_a_process_whose_launcher_was_killed_before_it_began_does_not_begin():
    code = "from hazeheal.launch import supervisor\nsupervisor._end_with_parent({})\nprint('went on')"
    for parent, returned, out in (("1234567", 75, ""), ("__import__('os').getppid()", 0, "went on\n")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(parent)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (returned, out), done.stderr


def test_a_process_that_cannot_be_started_ends_those_that_were(job):
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


def test_a_reader_of_its_lines_that_is_gone_does_not_end_the_training(job):
    one = job("until('closed')\nif attempt == 0: kill()")
    with launched(one) as process:
        wait_for(lambda: one.processes(), process)
        process.stderr.close()
        (one.folder / "closed").touch()
        assert process.wait(PATIENCE) == 0
    assert one.attempts() == 2


def test_it_leaves_neither_handlers_nor_files(job, monkeypatch, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert job("beat(1)\nif attempt == 0: kill()").run() == 0
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert not list(folder.iterdir())
