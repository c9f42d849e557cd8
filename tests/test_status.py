"""status.json: what a run writes, and what a reader reports for processes that died or hang."""

import datetime
import fcntl
import json
import logging
import math
import sys

import processes
import pytest
from disks import full_disk

from hazeheal.errors import DataError, GroupLostError
from hazeheal.runs import status as module
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.runs.status import ACTIVE, Status, is_locked, read_status

LOSSES = {"disc_loss": 1.25, "gen_l1_loss": 0.5}
RATES = {"images_per_second": 41.0, "images_per_second_wall": 40.0, "overhead_share": 0.02}
QUALITY = {"psnr": 21.5, "psnr_input": 15.0, "ssim": 0.9, "ssim_input": 0.7, "val_disc_loss": 1.5}
# A run's process: takes the lock, writes a state and waits.
HOLD = """
import sys, time
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.runs.status import Status
directory = RunDirectory(sys.argv[1])
with directory.locked():
    status = Status(directory, total_steps=100)
    status.begin()
    status.beat(10)
    status.enter(sys.argv[2], step=40)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def clock(monkeypatch):
    """The value of `time.monotonic`, in a list with one element."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def written(directory):
    return json.loads(directory.status.read_text())


def rewrite(directory, **facts):
    directory.status.write_text(json.dumps(written(directory) | facts))


def ago(seconds):
    return (datetime.datetime.now().astimezone() - datetime.timedelta(seconds=seconds)).isoformat()


def hold(directory, state):
    holder = processes.start(sys.executable, "-c", HOLD, directory.path, state)
    assert holder.stdout.readline() == "held\n", holder.stderr.read()
    return holder


def kill(holder):
    holder.kill()
    holder.communicate()


def test_the_status_during_a_run(directory, clock):
    status = Status(
        directory,
        total_steps=100,
        steps_per_epoch=25,
        facts={"replicas": 2, "data_dir": "records/a"},
    )
    status.begin()
    begun = written(directory)
    assert (begun["state"], begun["step"], begun["steps"]) == ("starting", 0, 100)
    assert (begun["replicas"], begun["data_dir"], begun["eta_seconds"]) == (2, "records/a", None)
    status.restored(0)
    clock[0] += 60  # compilation
    status.beat(10)
    assert written(directory)["state"] == "training"  # the first steps are written at once
    clock[0] += 20
    status.log(30, losses=LOSSES, rates=RATES)
    at_30 = written(directory)
    assert (at_30["step"], at_30["epoch"], at_30["losses"]) == (30, 1, LOSSES)
    assert {name: at_30[name] for name in RATES} == RATES
    assert at_30["eta_seconds"] == 70.0  # one step per second, without the compilation
    status.enter("validating", step=30)
    assert written(directory)["state"] == "validating"
    status.validated(30, QUALITY)
    assert written(directory)["validation"] == {"step": 30} | QUALITY
    assert (written(directory)["state"], written(directory)["best_psnr"]) == ("training", None)  # not saved yet
    status.saving(30, QUALITY)
    status.validated(60, QUALITY | {"psnr": 20.0})
    (directory.checkpoints / "ckpt-00000060").mkdir(parents=True)
    status.saving(60, QUALITY | {"psnr": 20.0})
    at_60 = written(directory)
    assert (at_60["state"], at_60["best_psnr"], at_60["best_step"]) == ("saving", 21.5, 30)
    assert (at_60["validation"]["psnr"], at_60["checkpoint_step"]) == (20.0, 60)
    status.complete(100)
    end = written(directory)
    assert (end["state"], end["step"], end["exit_code"], end["eta_seconds"]) == ("complete", 100, 0, None)
    assert list(end) == list(begun)


def test_new_figures_are_written_at_an_interval(directory, clock, monkeypatch):
    moments, write = [], module.atomic_write
    monkeypatch.setattr(module, "atomic_write", lambda *args: (moments.append(clock[0]), write(*args))[1])
    status = Status(directory, total_steps=10**6)
    status.begin()
    for step in range(1, 1921):  # 64 steps per second, each of them logged
        clock[0] += 1 / 64
        status.log(step, losses=LOSSES, rates=RATES)
        status.beat(step)
    assert moments == [1000.0 + i for i in range(31)]
    assert written(directory)["step"] == 1920


@pytest.mark.parametrize(("signal", "state", "code"), [("SIGTERM", "preempted", 75), ("SIGINT", "stopped", 130)])
def test_stopped_by_a_signal(directory, signal, state, code):
    status = Status(directory, total_steps=100)
    status.stopped(signal, 40)
    end = read_status(directory.path)
    assert (end["state"], end["exit_code"], end["step"]) == (state, code, 40)
    assert end["reason"] == f"{signal} at step 40; rerun the command to resume"


@pytest.mark.parametrize(
    ("error", "state", "code", "reason"),
    [
        (DataError("shard 3 is\ndamaged"), "failed", 1, r"shard 3 is\ndamaged"),
        (GroupLostError("the other is gone"), "failed", 69, "the other is gone"),
        (RuntimeError("wrong\nat length"), "failed", 1, "RuntimeError: wrong"),
        (ValueError(), "failed", 1, "ValueError: "),
        (KeyboardInterrupt(), "stopped", 130, "second SIGINT: stopped without saving"),
    ],
)
def test_an_error_becomes_the_final_status(directory, error, state, code, reason):
    status = Status(directory, total_steps=100)
    with pytest.raises(type(error)), status.record_failure():
        status.enter("training", step=7)
        raise error
    end = written(directory)
    assert (end["state"], end["exit_code"], end["reason"], end["step"]) == (state, code, reason, 7)


def test_nan_and_infinity_are_written_as_null(directory):
    status = Status(directory, total_steps=100)
    status.begin()
    status.validated(5, QUALITY | {"psnr": math.nan})
    status.saving(5, QUALITY | {"psnr": math.nan})
    status._written_at = -math.inf
    status.log(5, losses={"a": math.inf, "b": None}, rates={})
    found = read_status(directory.path)
    assert found["losses"] == {"a": None, "b": None}
    assert found["best_psnr"] is None and found["validation"]["psnr"] is None


def test_only_the_first_group_writes(tmp_path):
    status = Status(RunDirectory(tmp_path, group=1), total_steps=100, enabled=False)
    status.begin()
    status.beat(3)
    status.complete(100)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_causes_one_warning(directory, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("hazeheal"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("hazeheal"), "handlers", [])
    status = Status(directory, total_steps=100)
    status.begin()
    with full_disk(10):
        status.enter("training", step=1)
        status.enter("training", step=2)
    assert caplog.text.count("status.json cannot be written") == 1
    assert written(directory)["step"] == 0  # the previous file, intact
    status.enter("training", step=3)
    assert written(directory)["step"] == 3
    assert [p.name for p in directory.path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("state", ACTIVE)
def test_a_killed_run_is_not_reported_as_active(directory, state):
    holder = hold(directory, state)
    try:
        for _ in range(3):
            now = read_status(directory.path)
            assert (now["state"], now["alive"], now["step"], now["pid"]) == (state, True, 40, holder.pid)
    finally:
        kill(holder)
    assert written(directory)["state"] == state  # the file is unchanged
    now = read_status(directory.path)
    assert (now["state"], now["alive"]) == ("killed", False)


def test_a_run_killed_after_its_result_is_complete(directory):
    kill(hold(directory, "saving"))
    directory.save_result({"steps": 40})
    assert read_status(directory.path)["state"] == "killed"  # the result of a shorter run
    directory.save_result({"steps": 100})
    assert read_status(directory.path)["state"] == "killed"  # a result from before a rewind
    rewrite(directory, step=100)
    assert read_status(directory.path)["state"] == "complete"


def test_a_hanging_run_is_silent(directory):
    with directory.locked():
        Status(directory, total_steps=100).enter("training", step=4)
        rewrite(directory, updated=ago(500))
        assert read_status(directory.path)["state"] == "training"
        rewrite(directory, updated=ago(700))
        found = read_status(directory.path)
        assert (found["state"], found["alive"]) == ("silent", True)
        assert 700 <= found["age_seconds"] < 800
        rewrite(directory, state="starting")  # compilation
        assert read_status(directory.path)["state"] == "starting"
        rewrite(directory, updated=ago(-100))  # the clock was set back
        assert read_status(directory.path)["age_seconds"] == 0.0


def test_a_free_lock_of_another_host_is_ignored(directory):
    Status(directory, total_steps=100).enter("training", step=4)
    assert read_status(directory.path)["state"] == "killed"
    rewrite(directory, boot="another", host="elsewhere")
    found = read_status(directory.path)
    assert (found["state"], found["alive"]) == ("training", None)
    rewrite(directory, updated=ago(700))
    assert read_status(directory.path)["state"] == "silent"


def test_a_file_system_without_locks(directory, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    with directory.locked():
        Status(directory, total_steps=100).enter("training", step=4)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert (read_status(directory.path)["state"], read_status(directory.path)["alive"]) == ("training", None)


def test_a_run_that_ends_during_the_read_is_not_killed(directory, monkeypatch):
    """Between reading the file and checking the lock it writes its final status and releases the lock."""
    status = Status(directory, total_steps=100)
    status.enter("training", step=90)

    def ends(run):
        status.complete(100)
        return False

    monkeypatch.setattr(module, "is_locked", ends)
    assert read_status(directory.path)["state"] == "complete"


def test_readers_do_not_block_a_run(directory):
    """Readers check the lock all the time; a run that starts still gets it."""
    watch = "import sys\nfrom hazeheal.runs.status import is_locked\nprint('go', flush=True)\nwhile True: is_locked(sys.argv[1])"
    with directory.locked():
        assert is_locked(directory.path)
    watchers = [processes.start(sys.executable, "-c", watch, directory.path) for _ in range(2)]
    try:
        for watcher in watchers:
            assert watcher.stdout.readline() == "go\n"
        for _ in range(20):
            with directory.locked():
                assert is_locked(directory.path)
    finally:
        for watcher in watchers:
            kill(watcher)


def test_each_group_has_its_own_lock(directory):
    other = RunDirectory(directory.path, group=1)
    with other.locked():
        assert is_locked(directory.path, group=1)
        assert not is_locked(directory.path)
    assert not is_locked(directory.path, group=1)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"state": "training", "step": 1, "steps": 2, "updated": "?"}'])
def test_an_unreadable_status_is_none(directory, text):
    directory.path.mkdir()
    directory.status.write_text(text)
    assert read_status(directory.path) is None
    assert read_status(directory.path / "absent") is None
