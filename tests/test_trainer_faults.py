"""DehazeTrainer with invalid input, which is refused before anything is built, and with faults during a run."""

import contextlib
import csv
import math
import re

import pytest
import tensorflow as tf
import tiny
from disks import full_disk
from machine import EVERY, log_of, same_run
from refusals import refusal

from hazeheal.data import records
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.errors import DataError, DeviceFailedError, HazeHealError, UsageError
from hazeheal.runs import checkpoints
from hazeheal.runs.checkpoint_manager import CheckpointManager
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.runs.status import read_status
from hazeheal.training.step.train_state import local
from hazeheal.training.trainer import DehazeTrainer

pytestmark = pytest.mark.usefixtures("restored_logger")


@pytest.fixture
def building_fails(monkeypatch):
    """Everything must be refused before a network is built."""

    def built(*_, **__):
        raise AssertionError("a network was built before the input was checked")

    monkeypatch.setattr("hazeheal.training.step.step.build_networks", built)


def test_another_data_set_is_refused(building_fails, whole_run, runtime, tmp_path_factory):
    other = tiny.data_set(tmp_path_factory.getbasetemp(), name="other", seed=1)
    before = tiny.files(whole_run[0])
    message = refusal(
        UsageError, DehazeTrainer, tiny.config(**EVERY), data_dir=other, workdir=whole_run[0], runtime=runtime
    )
    assert f"--data_dir={other} is not the data set that the run in {whole_run[0]} was trained on" in message
    assert f"--restore_from={whole_run[0]}" in message
    assert tiny.files(whole_run[0]) == before


def test_a_directory_in_use_is_refused(building_fails, runtime, data, tmp_path):
    with RunDirectory(tmp_path).locked():
        message = refusal(
            HazeHealError,
            DehazeTrainer,
            tiny.config(**EVERY),
            data_dir=data,
            workdir=tmp_path,
            runtime=runtime,
        )
    assert f"--workdir={tmp_path} is in use by process " in message


def test_bad_input_is_refused_before_anything_is_built(building_fails, runtime, data, tmp_path):
    def message(kind, *, where=data, **overrides):
        config = tiny.config(**EVERY | overrides)
        return refusal(kind, DehazeTrainer, config, data_dir=where, workdir=tmp_path / "run", runtime=runtime)

    assert "train.batch_size=5 does not divide over 2 replicas; use 4 or 6" in message(UsageError, train__batch_size=5)
    assert "--config.data.crop_size=41 is larger than the smallest image, 40x40 pixels: " in message(
        UsageError, data__crop_size=41
    )
    weights = {"loss__perceptual_weight": 0.005, "loss__perceptual_weights": str(tmp_path / "no.npz")}
    assert f"perceptual weights {tmp_path / 'no.npz'} not found" in message(UsageError, **weights)
    assert "manifest.json does not exist" in message(DataError, where=tmp_path)
    assert "has no split 'test'" in message(DataError, data__val_split="test")
    locked = tiny.config(**EVERY)
    with locked.unlocked():
        locked.train.batch_size = 0
    assert "batch_size=0 is too small" in refusal(
        UsageError, DehazeTrainer, locked, data_dir=data, workdir=tmp_path / "run", runtime=runtime
    )
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").touch()
    assert "cannot be written: " in refusal(
        HazeHealError,
        DehazeTrainer,
        tiny.config(**EVERY),
        data_dir=data,
        workdir=tmp_path / "file",
        runtime=runtime,
    )


def test_damaged_shards_are_refused(building_fails, runtime, data, tmp_path):
    copy = tiny.damage_record(data, tmp_path / "copy", split="train")
    shard = records.open_split(copy, "train").shards[0]
    with open(shard, "ab") as file:
        file.write(b"x")
    options = {"data_dir": copy, "workdir": tmp_path / "run", "runtime": runtime}
    assert f"shard {shard} has " in refusal(DataError, DehazeTrainer, tiny.config(**EVERY), **options)
    shard.unlink()
    assert f"shard {shard} is missing" in refusal(DataError, DehazeTrainer, tiny.config(**EVERY), **options)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_record_is_named(machine, data, tmp_path, monkeypatch, split):
    copy = tiny.damage_record(data, tmp_path / "copy", split=split)
    options = {"crop_size": 16, "num_replicas": 2} if split == "train" else {}
    processor = DehazeDataProcessor(copy, split=split, batch_size=4, **options)
    if split == "train":
        monkeypatch.setattr(machine.trainer._data, "train", processor)
    else:
        monkeypatch.setattr(machine.trainer._data, "val", processor)
        monkeypatch.setattr(machine.trainer._validator, "_processor", processor)
    with pytest.raises(DataError) as caught:
        machine.run(tmp_path / "run", samples__count=0)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("damaged record: ")
    assert f"record 1 (number 1 of split {split}), key " in message
    assert tiny.steps(tmp_path / "run") == ([] if split == "train" else [4, 8])
    if split == "val":
        with pytest.raises(DataError, match="damaged record"):
            machine.run(tmp_path / "samples")


def spoil(machine):
    """From now on no step is finite, until a checkpoint is restored."""

    def action():
        values = machine.trainer.state.snapshot()
        values["generator/stem/kernel"].fill(math.nan)
        machine.trainer.state.load(values, source="the test")

    return action


NOT_FINITE = {"optimizer__max_skipped": 4, "train__validate_every": "never"}


def test_non_finite_steps_roll_the_run_back_once(machine, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    result = machine.run(run, before={5: spoil(machine)}, **NOT_FINITE)
    assert result["complete"]
    message = "5 steps in a row were not finite (up to step 10): rolled back to step 4, with half the learning rate"
    assert message in log_of(run)
    # As a run whose rates were halved at step 4, and that never saw the others.
    halve = machine.trainer.state.rate_factor.assign
    machine.run(other, before={4: lambda: halve(0.5)}, **NOT_FINITE)
    same_run(run, other)
    rates = {e[2]: e[3] for e in tiny.events(run) if e[1] == "health/learning_rate"}
    assert rates[22] == pytest.approx(0.5e-3)
    with open(run / "group_00/training_log.set_aside.csv", newline="") as file:
        rows = [(row["step"], row["skipped_steps"], row["gen_l1_loss"] == "NA") for row in csv.DictReader(file)]
    assert rows == [("6", "1", False), ("9", "4", True)]


EVERY_STEP = NOT_FINITE | {"train__save_every": "1 steps", "train__keep": 3}


def test_nothing_is_saved_in_a_series_of_non_finite_steps(machine, tmp_path):
    """With as many checkpoints kept as there are steps to a rollback, they would leave none to return to."""
    result = machine.run(tmp_path, before={5: spoil(machine)}, **EVERY_STEP)
    assert result["complete"]
    assert "4 steps in a row were not finite (up to step 9): rolled back to step 5, with half" in log_of(tmp_path)
    assert not list((tmp_path / "group_00/checkpoints").glob("*.set_aside"))


def test_a_save_that_a_series_has_delayed_follows_when_it_ends(machine, tmp_path):
    values = []

    def mend():
        machine.trainer.state.load(values[0] | {"step": machine.trainer.state.snapshot()["step"]}, source="the test")

    def spoil_and_remember():
        values.append(machine.trainer.state.snapshot())
        spoil(machine)()

    saved = {"train__save_every": "6 steps", "train__keep": 9, "train__log_every": "1 steps"}
    machine.run(tmp_path, before={5: spoil_and_remember, 7: mend}, **NOT_FINITE | saved)
    assert "rolled back" not in log_of(tmp_path)
    assert tiny.steps(tmp_path) == [8, 12, 18, 22]


def test_a_checkpoint_for_a_rollback_is_kept_where_a_signal_stops_a_series(machine, tmp_path):
    fields = EVERY_STEP | {"train__keep": 1}
    machine.stopped(tmp_path, 7, before={5: spoil(machine)}, **fields)
    assert tiny.steps(tmp_path) == [5, 7]
    assert machine.run(tmp_path, resumed_at=7, **fields)["complete"]
    assert "4 steps in a row were not finite (up to step 9): rolled back to step 5, with half" in log_of(tmp_path)


def test_a_run_that_ends_in_a_series_is_saved(machine, tmp_path):
    short = {"train__steps": 7, "train__keep": 1}
    assert machine.run(tmp_path, before={5: spoil(machine)}, **EVERY_STEP | short)["complete"]
    assert tiny.steps(tmp_path) == [5, 7]


def test_non_finite_steps_after_a_rollback_end_the_run(machine, tmp_path):
    with pytest.raises(HazeHealError) as caught:
        machine.run(tmp_path, before={5: spoil(machine), 11: spoil(machine)}, **NOT_FINITE)
    assert re.match(
        r"5 steps in a row were not finite \(up to step 10\), again after a rollback with half the learning rate; "
        r"the last checkpoint is intact; lower --config.optimizer.learning_rate",
        str(caught.value),
    )
    folder = tmp_path / "group_00/checkpoints"
    assert checkpoints.read_variables(checkpoints.checkpoint_path(folder, 4))["updates"] == 4
    assert all(checkpoints.find_damage(checkpoints.checkpoint_path(folder, s)) is None for s in tiny.steps(tmp_path))


def test_non_finite_steps_from_the_start_end_the_run(machine, tmp_path):
    with pytest.raises(HazeHealError, match=r"4 steps in a row .* and no checkpoint is older than these steps; lower"):
        machine.run(tmp_path, before={0: spoil(machine)}, **NOT_FINITE)


def test_out_of_memory_is_a_one_line_error(machine, tmp_path):
    def exhausted():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\ntensor")

    with pytest.raises(HazeHealError, match=r"^out of memory on CPU:0, CPU:1; lower --config.train.batch_size.*"):
        machine.run(tmp_path, before={3: exhausted})


@pytest.mark.parametrize(("part", "method"), [("_validator", "_whole"), ("_sampler", "_read")])
def test_out_of_memory_in_validation_or_samples_names_what_helps_there(machine, tmp_path, monkeypatch, part, method):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\ntensor")

    monkeypatch.setattr(getattr(machine.trainer, part), method, exhausted)
    with pytest.raises(HazeHealError) as caught:
        machine.run(tmp_path, train__steps=10)
    assert str(caught.value).startswith("out of memory on CPU:0, CPU:1; validation and samples take at most 1536x1536")
    assert "set --config.data.val_tile_size below 1536, or lower --config.model.width" in str(caught.value)
    assert "batch_size" not in str(caught.value)


def test_other_errors_are_raised_unchanged(machine, tmp_path):
    def broken():
        raise tf.errors.InvalidArgumentError(None, None, "a bug")

    with pytest.raises(tf.errors.InvalidArgumentError, match="a bug"):
        machine.run(tmp_path, before={3: broken})


def test_a_failed_device_is_reported_with_the_step_to_resume_from(machine, whole_run, tmp_path):
    def fail():
        raise tf.errors.InternalError(None, None, "uncorrectable ECC error")

    with pytest.raises(DeviceFailedError) as caught:
        machine.run(tmp_path, before={5: fail})
    message = (
        "a device or the communication between devices failed (InternalError: uncorrectable ECC error); rerun the "
        "command to resume from step 4 (hazeheal launch does so)"
    )
    assert str(caught.value) == message
    assert f" ended by an error: {message}\n" in log_of(tmp_path)
    status = read_status(tmp_path)
    assert (status["state"], status["exit_code"], status["reason"]) == ("failed", 71, message)
    machine.run(tmp_path, resumed_at=4)
    same_run(tmp_path, whole_run[0])


def test_replicas_that_differ_are_not_saved(machine, whole_run, tmp_path):
    def spoil_one():
        ema = local(machine.trainer.state.ema, 1)
        # The average of so few steps forgets most of the difference.
        ema.assign(tf.where(tf.range(ema.shape[0])[:, tf.newaxis] == 3, ema * (1 + 2**-10), ema))

    with pytest.raises(DeviceFailedError, match=r"the replicas differ at step 8: CPU:0 and CPU:1; .* from step 4 \("):
        machine.run(tmp_path, before={5: spoil_one})
    assert tiny.steps(tmp_path) == [4]
    machine.run(tmp_path, resumed_at=4)
    same_run(tmp_path, whole_run[0])


def test_a_checkpoint_that_cannot_be_written(machine, whole_run, tmp_path, monkeypatch):
    save = tf.raw_ops.SaveV2

    def full(**options):
        if b"ckpt-00000008" in options["prefix"].encode():
            raise OSError(28, "No space left on device")
        save(**options)

    monkeypatch.setattr(tf.raw_ops, "SaveV2", full)
    machine.run(tmp_path)
    assert "checkpoint of step 8 could not be written: [Errno 28] No space left on device" in log_of(tmp_path)
    same_run(tmp_path, whole_run[0])


def test_the_end_of_a_run_that_cannot_be_saved_is_an_error(machine, tmp_path, monkeypatch):
    write = CheckpointManager._write

    def full(self, snapshot, step, *rest):
        return step < 9 and write(self, snapshot, step, *rest)

    monkeypatch.setattr(CheckpointManager, "_write", full)
    with pytest.raises(HazeHealError, match=r"step 9 could not be saved in .*; free some space and rerun"):
        machine.run(tmp_path, train__steps=9)
    assert not (tmp_path / "result.json").exists()
    assert tiny.steps(tmp_path) == [4, 8]
    monkeypatch.setattr(CheckpointManager, "_write", write)
    assert machine.run(tmp_path, resumed_at=8, train__steps=9)["complete"]


def test_a_full_disk_costs_nothing_that_was_saved(machine, whole_run, tmp_path):
    """From step 10 on no file can grow past 20 kB; after the run has failed there is space again."""
    with contextlib.ExitStack() as full:
        fill = {10: lambda: full.enter_context(full_disk(20_000))}
        with pytest.raises(HazeHealError, match=r"step 22 could not be saved in .*; free some space"):
            machine.run(tmp_path, before=fill)
    assert tiny.steps(tmp_path) == [4, 8, 10]
    assert not (tmp_path / "result.json").exists()
    text = log_of(tmp_path)
    for part in (
        "checkpoint of step 12 could",
        "TensorBoard summaries in",
        "the sample sheet",
        "training continues",
    ):
        assert part in text, part
    machine.run(tmp_path, resumed_at=10)
    assert "damaged" not in log_of(tmp_path)
    same_run(tmp_path, whole_run[0])
