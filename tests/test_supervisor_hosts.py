"""Launchers of several hosts: an error on one ends the others with the reason; a loss does not."""

import json
import signal
import socket
import time

import pytest
from supervised import BOTH, FOR_EVER, PATIENCE, launched, wait_for

from hazeheal.distributed import supervisor
from hazeheal.distributed.error_notes import FOLDER, ErrorNotes

pytest_plugins = ["supervised"]

# A training process that waits for the other host's, and one that fails.
WAITS = f"on({BOTH}, 75); {FOR_EVER}"
FAILS = "until('../go'); sys.exit({})"


@pytest.fixture
def hosts(job, tmp_path):
    """Returns hosts(here, there): the jobs of two hosts, and the ErrorNotes arguments of each, on one workdir."""

    def make(here, there):
        run = str(tmp_path / "run")
        return (job(here, folder="a"), job(there, folder="b")), ((run, "group_00"), (run, "group_01"))

    return make


def reason(code):
    return (
        f"launcher: group_00 on {socket.gethostname()} ended with an error (code {code}), which its host reports; stopping the "
        "job\n"
    )


@pytest.mark.parametrize("code", [1, 2, 71])
def test_an_error_on_one_host_ends_the_other(hosts, tmp_path, code):
    (here, there), note_arguments = hosts(FAILS.format(code), WAITS)
    with launched(there, note_arguments=note_arguments[1]) as other:
        wait_for(there.is_ready, other)
        (tmp_path / "go").touch()
        assert here.run(notes=ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1])) == code
        assert other.wait(PATIENCE) == code
        assert other.stderr.read() == reason(code)
    assert there.attempts() == 1
    assert there.notes() == ["ready", "SIGTERM"]


def test_a_process_that_noticed_the_error_is_not_restarted(hosts, tmp_path):
    """The collective fails at once, before or after the note is written."""
    (here, there), note_arguments = hosts(FAILS.format(1), "note('ready'); until('end'); sys.exit(69)")
    with launched(there, note_arguments=note_arguments[1], NOTES_SECONDS=60.0) as other:
        wait_for(there.is_ready, other)
        (tmp_path / "go").touch()
        assert here.run(notes=ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1])) == 1
        (there.folder / "end").touch()
        assert other.wait(PATIENCE) == 1
        assert other.stderr.read() == reason(1)
    assert there.attempts() == 1


def test_an_error_is_awaited_before_the_caller_restarts(hosts):
    """The process of this host notices the end of the other one before that host writes its note."""
    (here, _), note_arguments = hosts("sys.exit(69)", "pass")
    other = ErrorNotes(note_arguments[1][0], group_name=note_arguments[1][1])
    own = ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1])
    here.lines = type("", (), {"append": lambda _, line: other.write(2)})()  # the line on the loss
    assert here.run(notes=own, max_restarts=None) == 2


def test_a_note_ends_the_delay_before_a_restart(hosts, tmp_path):
    (here, there), note_arguments = hosts(FAILS.format(1), "sys.exit(69)")
    with launched(there, note_arguments=note_arguments[1], FIRST_DELAY=40.0) as other:
        assert "restarting it in 40 s" in other.stderr.readline()
        (tmp_path / "go").touch()
        assert here.run(notes=ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1])) == 1
        assert other.wait(PATIENCE) == 1
        assert other.stderr.read() == reason(1)
    assert there.attempts() == 1


def test_a_process_that_does_not_exit_after_a_note_is_killed(hosts, tmp_path):
    (here, there), note_arguments = hosts(
        FAILS.format(1), f"on([signal.SIGUSR1], 0)\nsignal.signal(15, lambda *_: 0)\n{FOR_EVER}"
    )
    with launched(there, note_arguments=note_arguments[1], SECONDS_TO_FOLLOW=0.3) as other:
        wait_for(there.is_ready, other)
        (tmp_path / "go").touch()
        here.run(notes=ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1]))
        assert other.wait(PATIENCE) == 1


def test_a_complete_host_exits_with_0(hosts, tmp_path):
    """The other host fails in something it does at the end."""
    (here, there), note_arguments = hosts(FAILS.format(1), f"on({BOTH}, 0); {FOR_EVER}")
    with launched(there, note_arguments=note_arguments[1]) as other:
        wait_for(there.is_ready, other)
        (tmp_path / "go").touch()
        here.run(notes=ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1]))
        assert other.wait(PATIENCE) == 0
        assert other.stderr.read() == ""


@pytest.mark.parametrize(
    ("here", "code"),
    [
        ("beat(1)\nif attempt == 0: kill()", 0),  # killed and restarted
        ("kill()", 1),  # gives up: a scheduler may restart the launcher
        ("sys.exit(69)", 1),
        ("sys.exit(75)", 75),
        ("sys.exit(130)", 130),
        ("pass", 0),
    ],
)
def test_a_loss_or_a_stop_does_not_end_the_other_host(hosts, tmp_path, here, code):
    (here, there), note_arguments = hosts(here, "note('ready'); until('end')")
    with launched(there, note_arguments=note_arguments[1]) as other:
        wait_for(there.is_ready, other)
        assert here.run(notes=ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1]), max_restarts=1) == code
        time.sleep(0.3)  # several intervals
        assert other.poll() is None
        (there.folder / "end").touch()
        assert other.wait(PATIENCE) == 0
        assert other.stderr.read() == ""
    assert not (tmp_path / "run" / FOLDER).exists()


def test_a_signal_stops_a_launcher_with_notes(hosts):
    (_, there), note_arguments = hosts("", WAITS)
    with launched(there, note_arguments=note_arguments[1]) as other:
        wait_for(there.is_ready, other)
        other.send_signal(signal.SIGTERM)
        assert other.wait(PATIENCE) == 75


def test_the_note_of_an_earlier_job_is_ignored(hosts, tmp_path):
    """All launchers are restarted after an error, in any order, with the old notes present."""
    (here, there), note_arguments = hosts("sys.exit(1)", "note('ready'); until('end')")
    assert here.run(notes=ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1])) == 1
    assert [path.name for path in (tmp_path / "run" / FOLDER).iterdir()] == ["group_00"]
    with launched(there, note_arguments=note_arguments[1]) as other:
        wait_for(there.is_ready, other)
        time.sleep(0.3)
        assert other.poll() is None
        again = ErrorNotes(note_arguments[0][0], group_name=note_arguments[0][1])
        assert not (tmp_path / "run" / FOLDER).exists()
        assert here.run(notes=again) == 1  # the error occurs again
        assert other.wait(PATIENCE) == 1


def test_only_new_notes_of_other_hosts_are_read(tmp_path):
    first, second = (ErrorNotes(tmp_path, group_name=f"group_0{i}") for i in (0, 1))
    assert first.read_new() is second.read_new() is None
    first.write(1)
    assert first.read_new() is None  # its own note
    assert second.read_new() == (1, f"group_00 on {socket.gethostname()}")
    third = ErrorNotes(tmp_path, group_name="group_02")
    assert third.read_new() is None
    first.write(2)
    assert third.read_new() == (2, f"group_00 on {socket.gethostname()}")
    ErrorNotes(tmp_path, group_name="group_00")
    assert second.read_new() is third.read_new() is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"id": "x", "host": "h"}', '{"id": "x", "host": "h", "code": "y"}']
)
def test_invalid_notes_are_ignored(tmp_path, text):
    notes = ErrorNotes(tmp_path, group_name="group_00")
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "group_01").write_text(text)
    (tmp_path / FOLDER / ".group_01.x").write_text(
        json.dumps({"id": "x", "host": "h", "code": 1})
    )  # an incomplete file
    assert notes.read_new() is None


def test_an_unwritable_note_does_not_change_the_exit_code(job, tmp_path):
    (tmp_path / "run").write_text("a file")
    one = job("sys.exit(1)")
    assert one.run(notes=ErrorNotes(tmp_path / "run", group_name="group_00")) == 1
    assert one.lines == []


def test_notes_are_read_at_an_interval(job, monkeypatch):
    """The directory may be on a slow file system."""
    monkeypatch.setattr(supervisor, "NOTES_SECONDS", 60.0)
    looks = []
    watched = type("Watched", (), {"read_new": lambda _: looks.append(1)})()
    one = job("time.sleep(0.3)")
    assert one.run(notes=watched) == 0
    assert looks == []
