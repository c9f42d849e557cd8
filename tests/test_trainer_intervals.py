"""DehazeTrainer with intervals in minutes, and with saves that take longer than the time to the next one.

The clock of the intervals is a fake one, and writes of checkpoints are held up until the test releases them.
"""

import json
import signal
import threading
import types

import pytest
import tiny
from machine import EPOCH_ENDS, LOSSES, TOTAL, csv_rows, log_of

from hazeheal.runs import checkpoints
from hazeheal.runs.checkpoint_manager import CheckpointManager
from hazeheal.runs.status import read_status
from hazeheal.utils import pace

pytestmark = pytest.mark.usefixtures("restored_logger")

NEVER = {f"train__{name}_every": "never" for name in ("log", "sample", "validate", "save")}
MINUTES = NEVER | {"train__save_every": "5 minutes", "train__validate_every": "8 minutes"}


class FakeClock:
    """A clock that stands still until it is told to go on, in minutes."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(pace, "time", types.SimpleNamespace(monotonic=lambda: 60 * self.now))

    def advance(self, minutes):
        def action():
            self.now += minutes

        return action


@pytest.fixture
def clock(monkeypatch):
    return FakeClock(monkeypatch)


def validated(run):
    return sorted({event[2] for event in tiny.events(run) if event[:1] == ("val",) and event[1] == "quality/psnr"})


def test_activities_are_due_by_the_clock(machine, tmp_path, clock, monkeypatch):
    psnrs = iter([20.0, 10.0, 10.0])
    validate = machine.trainer._validator.run
    monkeypatch.setattr(machine.trainer._validator, "run", lambda **o: validate(**o) | {"psnr": next(psnrs)})
    # Calls of the loop end at steps 3, 6, 9, ...; what is over before a call is done after it.
    machine.run(tmp_path, after={3: clock.advance(6), 6: clock.advance(3), 15: clock.advance(4.5)}, **MINUTES)
    assert validated(tmp_path) == [9, TOTAL]
    # Step 6 after 5 minutes; 9 because its validation is the best, which starts the interval again.
    assert tiny.steps(tmp_path) == [6, 9, TOTAL]


def test_a_run_killed_and_resumed_at_other_times_has_the_same_losses(machine, whole_run, tmp_path, clock):
    """Which steps are validated and saved depends on the clock; what is learned, and the rows of epochs, do not."""

    def crash():
        raise RuntimeError("as good as killed")

    with pytest.raises(RuntimeError):
        machine.run(tmp_path, before={15: crash}, after={3: clock.advance(6), 9: clock.advance(3)}, **MINUTES)
    assert tiny.steps(tmp_path) == [6, 12]
    machine.run(tmp_path, resumed_at=12, after={15: clock.advance(6)}, **MINUTES)
    assert tiny.steps(tmp_path)[-2:] == [18, TOTAL]
    assert tiny.tensors(tmp_path, TOTAL) == tiny.tensors(whole_run[0], TOTAL)
    ours, theirs = csv_rows(tmp_path), csv_rows(whole_run[0])
    assert [int(row["step"]) for row in ours] == EPOCH_ENDS
    for row, other in zip(ours, theirs, strict=True):
        for name in ("epoch", "images", "learning_rate", "skipped_steps", *LOSSES):
            assert row[name] == other[name]


def test_a_resumed_run_continues_the_interval_of_validations(machine, tmp_path, clock):
    after = {3: clock.advance(5), 6: lambda: signal.raise_signal(signal.SIGTERM)}
    assert machine.run(tmp_path, after=after, **MINUTES)["steps"] == 6
    clock.advance(10**6)()
    machine.run(tmp_path, resumed_at=6, after={9: clock.advance(4)}, **MINUTES)
    assert validated(tmp_path) == [12, TOTAL]


def test_the_row_of_an_epoch_has_its_last_validation_after_a_restart_too(machine, whole_run, tmp_path):
    """Validated at step 10, stopped there, and the epoch ends at step 11."""
    options = {"train__validate_every": "10 steps", "train__sample_every": "never"}
    done = machine.stopped(tmp_path, 10, **options)["steps"]
    assert done == 10 and int(csv_rows(tmp_path)[-1]["step"]) == 9
    machine.run(tmp_path, resumed_at=done, **options)
    columns = [f"val_{name}" for name in LOSSES] + ["val_psnr", "val_ssim"]
    rows = [[row[name] for name in columns] for row in csv_rows(tmp_path)]
    assert rows == [[row[name] for name in columns] for row in csv_rows(whole_run[0])]
    assert [row[-1] != "NA" for row in rows] == [False, False, False, True, False, False, True, True]


@pytest.fixture
def held(monkeypatch):
    """held(step) holds up the write of that step's checkpoint and returns the event that releases it."""
    write, events, released = CheckpointManager._write, {}, threading.Event()
    released.set()

    def wait_and_write(self, variables, step, *rest):
        assert events.get(step, released).wait(60)
        return write(self, variables, step, *rest)

    def hold(step):
        return events.setdefault(step, threading.Event())

    monkeypatch.setattr(CheckpointManager, "_write", wait_and_write)
    yield hold
    for event in events.values():
        event.set()


def release(machine, event):
    """From now on the disk is fast."""

    def action():
        event.set()
        machine.waits_for_writes = machine.session._checkpoints.wait()

    return action


def test_a_save_is_skipped_while_the_one_before_it_is_written(machine, whole_run, tmp_path, held):
    after = {11: release(machine, held(2))}
    options = {"train__validate_every": "never", "train__save_every": "2 steps", "train__keep": 20}
    machine.run(tmp_path, waits_for_writes=False, after=after, **options)
    assert tiny.steps(tmp_path) == [2, 12, 14, 16, 18, 20, TOTAL]
    assert tiny.tensors(tmp_path, TOTAL) == tiny.tensors(whole_run[0], TOTAL)
    (line,) = [line for line in log_of(tmp_path).splitlines() if "is not saved" in line]
    assert "step 4 is not saved, because an earlier checkpoint is still being written; use a faster disk" in line


def test_a_save_in_minutes_is_made_as_soon_as_the_writer_is_free(machine, tmp_path, clock, held):
    before, after = {6: clock.advance(6)}, {3: clock.advance(6), 13: release(machine, held(6))}
    options = MINUTES | {"train__validate_every": "never"}
    machine.run(tmp_path, waits_for_writes=False, before=before, after=after, **options)
    assert tiny.steps(tmp_path) == [6, 15, TOTAL]
    assert log_of(tmp_path).count("is not saved") == log_of(tmp_path).count("step 12 is not saved") == 1


def test_the_best_validation_queues_and_does_not_count_if_it_cannot(machine, tmp_path, held, monkeypatch):
    psnrs = iter([10.0, 30.0, 40.0, 35.0])
    validate = machine.trainer._validator.run
    monkeypatch.setattr(machine.trainer._validator, "run", lambda **o: validate(**o) | {"psnr": next(psnrs)})
    seen = []
    look = {at: lambda: seen.append(read_status(tmp_path)) for at in (15, 21)}
    options = {"train__save_every": "8 steps", "train__validate_every": "7 steps", "train__keep": 20}
    # 7 is being written, 8 and 16 are skipped, 14 is the best and queues, 21 would be the best.
    machine.run(tmp_path, waits_for_writes=False, before=look, after={22: release(machine, held(7))}, **options)
    assert [(s["best_psnr"], s["best_step"], s["validation"]["step"]) for s in seen] == [(30.0, 14, 14), (30.0, 14, 21)]
    assert tiny.steps(tmp_path) == [7, 14, TOTAL]
    folder = tmp_path / "group_00/checkpoints"
    assert [checkpoints.validation_psnr(checkpoints.checkpoint_path(folder, s)) for s in (7, 14)] == [10.0, 30.0]
    # Better than all that was saved, though not than step 21.
    assert machine.session._best == 35.0
    assert (read_status(tmp_path)["best_psnr"], read_status(tmp_path)["best_step"]) == (35.0, TOTAL)


def test_the_end_waits_for_a_save_that_is_being_written(machine, tmp_path, held):
    timer = threading.Timer(0.5, held(20).set)
    options = {"train__save_every": "20 steps", "train__validate_every": "never"}
    machine.run(tmp_path, waits_for_writes=False, before={20: timer.start}, **options)
    assert tiny.steps(tmp_path) == [20, TOTAL]
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == TOTAL
    assert "is not saved" not in log_of(tmp_path)


def test_a_stop_by_sigterm_waits_for_a_save_that_is_being_written(machine, tmp_path, held):
    timer = threading.Timer(0.5, held(4).set)
    after = {4: timer.start, 5: lambda: signal.raise_signal(signal.SIGTERM)}
    done = machine.run(tmp_path, waits_for_writes=False, after=after, train__validate_every="never")["steps"]
    assert tiny.steps(tmp_path) == [4, done]
