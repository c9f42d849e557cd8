"""Checkpoints: complete or absent, verified before they are read; the newest and the best are kept."""

import math
import shutil
import threading
import time

import numpy as np
import pytest
from checkpoints_made import equal, snapshot
from disks import flip

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.runs import checkpoint_manager
from hazeheal.runs import checkpoints as checkpoint_files
from hazeheal.runs.checkpoint_manager import CheckpointManager


@pytest.fixture
def slow_writes(monkeypatch):
    """Holds every write until the event is set, or for 5 seconds."""
    import tensorflow as tf

    event, save = threading.Event(), tf.raw_ops.SaveV2

    def slow(**options):
        event.wait(5)
        return save(**options)

    monkeypatch.setattr(tf.raw_ops, "SaveV2", slow)
    yield event
    event.set()


def test_round_trip(saved, log):
    folder = saved((7, 21.5))
    path = checkpoint_files.find_checkpoint(folder)
    assert path == folder / "ckpt-00000007"
    assert equal(checkpoint_files.read_variables(path), snapshot(7))
    assert checkpoint_files.read_metrics(path) == {"psnr": 21.5, "ssim": 0.5}
    assert checkpoint_files.read_progress(path) == {"fingerprint": "f", "n": 7}
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json",
        "state.data-00000-of-00001",
        "state.index",
    ]
    assert CheckpointManager(folder, keep=1, log=log).find_latest() == (path, 7)
    assert log.lines == []


def test_tensorflow_reads_a_moved_checkpoint(saved, tmp_path):
    import tensorflow as tf

    moved = tmp_path / "moved"
    shutil.move(checkpoint_files.find_checkpoint(saved((7, None))), moved)
    assert np.array_equal(
        tf.train.load_checkpoint(str(moved / "state")).get_tensor("generator/a/kernel"),
        snapshot(7)["generator/a/kernel"],
    )
    assert checkpoint_files.find_damage(moved) is None


def test_an_empty_directory(tmp_path, log):
    assert checkpoint_files.find_checkpoint(tmp_path / "nothing") is None
    assert checkpoint_files.list_steps(tmp_path / "nothing") == []
    assert CheckpointManager(tmp_path / "new", keep=1, log=log).find_latest() is None


@pytest.mark.parametrize(
    ("entries", "keep", "left"),
    [
        ([(1, None), (2, None), (3, None), (4, None)], 2, [3, 4]),
        ([(1, None), (2, None), (3, None)], 1, [3]),
        ([(1, 20.0), (2, None), (3, 19.0), (4, None)], 1, [1, 4]),
        ([(1, 20.0), (2, 21.0), (3, 19.0), (4, None)], 2, [2, 3, 4]),
        ([(1, 20.0), (2, 21.0), (3, 22.0)], 2, [2, 3]),
        ([(1, 20.0), (2, 20.0), (3, 19.0)], 1, [2, 3]),  # the later one of equal ones
        ([(1, 20.0), (2, math.nan), (3, None)], 1, [1, 3]),
        ([(1, math.nan), (2, 3.0), (3, math.nan)], 1, [2, 3]),
    ],
)
def test_the_newest_and_the_best_are_kept(saved, entries, keep, left):
    folder = saved(*entries, keep=keep)
    assert checkpoint_files.list_steps(folder) == left
    assert all(checkpoint_files.find_damage(checkpoint_files.checkpoint_path(folder, step)) is None for step in left)


def test_the_best_is_found_when_a_later_validation_is_worse(saved, log):
    folder = saved((4, 20.0), (8, 22.5), (12, 21.0), (16, None), keep=1)
    assert checkpoint_files.find_checkpoint(folder, which="best") == folder / "ckpt-00000008"
    assert checkpoint_files.find_checkpoint(folder, which="newest") == folder / "ckpt-00000016"
    assert (
        checkpoint_files.find_checkpoint(folder, which=8)
        == checkpoint_files.find_checkpoint(folder, which="8")
        == folder / "ckpt-00000008"
    )
    assert checkpoint_files.find_checkpoint(folder, which=12) is None
    checkpoints = CheckpointManager(folder, keep=1, log=log)
    assert checkpoints.best_psnr() == 22.5
    assert equal(checkpoint_files.read_variables(checkpoint_files.find_checkpoint(folder, which="best")), snapshot(8))


def test_the_newest_after_a_finite_step_is_kept(tmp_path, log):
    manager = CheckpointManager(tmp_path, keep=2, log=log)
    tallies = {2: {"skipped_in_a_row": 0}, 4: {"last_finite": True}}  # the first as 0.1.0 saved it
    for step in range(1, 8):
        unfinished = {"last_finite": False, "skipped_in_a_row": 0}
        manager.save(snapshot(step), step=step, progress={"tally": tallies.get(step, unfinished)})
    manager.close()
    assert checkpoint_files.list_steps(tmp_path) == [4, 6, 7]


def test_best_is_the_newest_if_none_was_validated(saved, log):
    folder = saved((4, None), (8, None))
    assert checkpoint_files.find_checkpoint(folder, which="best") == folder / "ckpt-00000008"
    assert CheckpointManager(folder, keep=1, log=log).best_psnr() == -math.inf


def test_best_psnr_waits_for_the_pending_write(tmp_path, log, slow_writes):
    checkpoints = CheckpointManager(tmp_path, keep=1, log=log)
    checkpoints.save(snapshot(1), step=1, metrics={"psnr": 30.0})
    slow_writes.set()
    assert checkpoints.best_psnr() == 30.0


@pytest.mark.parametrize("which", ["bset", "-1", "1.5", None])
def test_an_invalid_which_is_refused(saved, which):
    with pytest.raises(UsageError, match="is not a checkpoint"):
        checkpoint_files.find_checkpoint(saved((4, None)), which=which)


def test_save_does_not_wait_for_the_disk(tmp_path, log, slow_writes):
    checkpoints = CheckpointManager(tmp_path, keep=3, log=log)
    begin = time.monotonic()
    checkpoints.save(snapshot(1), step=1)
    assert time.monotonic() - begin < 2
    assert checkpoint_files.list_steps(tmp_path) == []
    slow_writes.set()
    assert checkpoints.wait()
    assert checkpoint_files.list_steps(tmp_path) == [1]


def test_a_second_save_queues_behind_the_first_and_close_waits_for_both(tmp_path, log, slow_writes):
    checkpoints = CheckpointManager(tmp_path, keep=3, log=log)
    assert checkpoints.pending() == 0
    checkpoints.save(snapshot(1), step=1)
    checkpoints.save(snapshot(2), step=2)
    assert checkpoints.pending() == 2
    assert checkpoint_files.list_steps(tmp_path) == []
    threading.Timer(0.2, slow_writes.set).start()
    checkpoints.close()
    assert checkpoint_files.list_steps(tmp_path) == [1, 2]
    assert checkpoints.pending() == 0


def test_wait_returns_whether_the_last_of_several_saves_succeeded(tmp_path, log, monkeypatch):
    succeeds = iter([True, False, False, True])
    monkeypatch.setattr(CheckpointManager, "_write", lambda *_: next(succeeds))
    checkpoints = CheckpointManager(tmp_path, keep=3, log=log)
    assert checkpoints.wait()
    for expected in (False, True):
        checkpoints.save({}, step=1)
        checkpoints.save({}, step=2)
        assert checkpoints.wait() == checkpoints.wait() == expected


def test_an_existing_step_is_not_written_again(saved, log):
    folder = saved((4, 20.0))
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "ckpt-00000004").iterdir()}
    checkpoints = CheckpointManager(folder, keep=2, log=log)
    checkpoints.save(snapshot(5), step=4)
    assert checkpoints.wait()
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "ckpt-00000004").iterdir()} == before
    assert checkpoint_files.read_metrics(folder / "ckpt-00000004")["psnr"] == 20.0


def test_metrics_are_added_to_a_checkpoint_without_them_and_its_variables_stay(saved, log, monkeypatch):
    folder = saved((7, None))
    path = checkpoint_files.checkpoint_path(folder, 7)
    state = {file.name: file.read_bytes() for file in path.glob("state.*")}

    def save(psnr):
        manager = CheckpointManager(folder, keep=3, log=log)
        manager.save(snapshot(8), step=7, metrics={"psnr": psnr}, progress={"fingerprint": "f", "n": psnr})
        manager.close()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(checkpoint_manager, "_write_manifest", full)
        save(20.0)
    assert "the metrics could not be added" in log.lines[0] and "No space left" in log.lines[0]
    assert checkpoint_files.find_damage(path) is None and checkpoint_files.read_metrics(path) == {}
    for psnr in (21.0, 22.0):  # the second one finds metrics
        save(psnr)
        assert checkpoint_files.find_damage(path) is None
        assert checkpoint_files.read_metrics(path) == {"psnr": 21.0}
        assert checkpoint_files.read_progress(path)["n"] == 21.0
    assert {file.name: file.read_bytes() for file in path.glob("state.*")} == state
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", *sorted(state)]


def test_an_unexpected_error_is_raised(tmp_path, log):
    checkpoints = CheckpointManager(tmp_path, keep=1, log=log)
    checkpoints.save(snapshot(1), step=1, progress={"not JSON": object()})
    with pytest.raises(TypeError):
        checkpoints.wait()


def test_resolve(saved, tmp_path):
    folder = saved((4, 22.0), (8, 21.0))
    run = tmp_path / "run"
    (run / "group_00").mkdir(parents=True)
    shutil.copytree(folder, run / "group_00" / "checkpoints")
    best = run / "group_00" / "checkpoints" / "ckpt-00000004"
    assert checkpoint_files.resolve_checkpoint(run) == best
    assert checkpoint_files.resolve_checkpoint(run / "group_00") == best
    assert checkpoint_files.resolve_checkpoint(str(run / "group_00" / "checkpoints")) == best
    assert checkpoint_files.resolve_checkpoint(best.with_name("ckpt-00000008")) == best.with_name("ckpt-00000008")
    assert checkpoint_files.resolve_checkpoint(run, which="newest") == best.with_name("ckpt-00000008")


def test_resolve_without_an_intact_checkpoint(saved, tmp_path):
    with pytest.raises(HazeHealError, match=r"--restore_from=.*nowhere has no intact checkpoint"):
        checkpoint_files.resolve_checkpoint(tmp_path / "nowhere")
    path = checkpoint_files.find_checkpoint(saved((4, None)))
    flip(path / "state.data-00000-of-00001", 99)
    with pytest.raises(HazeHealError, match=r"the checkpoint is damaged \(state.data.*SHA-256\)"):
        checkpoint_files.resolve_checkpoint(path)


def test_another_data_set_is_refused(saved):
    path = checkpoint_files.find_checkpoint(saved((4, None)))
    checkpoint_files.check_data_set(checkpoint_files.read_progress(path), "f", data_dir="d", workdir="w")
    with pytest.raises(UsageError, match=r"--data_dir=d is not the data set that the run in w was trained on"):
        checkpoint_files.check_data_set(checkpoint_files.read_progress(path), "g", data_dir="d", workdir="w")
