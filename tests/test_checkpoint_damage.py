"""Damaged and incomplete checkpoints: they are renamed, and the previous one is used."""

import json
import shutil
import textwrap

import numpy as np
import processes
import pytest
from checkpoints_made import Log, equal, snapshot
from disks import flip, full_disk, truncate

from hazeheal.runs import checkpoints as checkpoint_files
from hazeheal.runs.checkpoint_manager import CheckpointManager

DAMAGES = {
    "a data file cut short": lambda c: truncate(c / "state.data-00000-of-00001"),
    "an empty data file": lambda c: (c / "state.data-00000-of-00001").write_bytes(b""),
    "a flipped bit in the data": lambda c: flip(c / "state.data-00000-of-00001", 2001, bits=8),
    "no data file": lambda c: (c / "state.data-00000-of-00001").unlink(),
    "no index": lambda c: (c / "state.index").unlink(),
    "an index cut short": lambda c: truncate(c / "state.index"),
    "a flipped bit in the index": lambda c: flip(c / "state.index", 40),
    "no manifest": lambda c: (c / "manifest.json").unlink(),
    "a manifest cut short": lambda c: truncate_text(c / "manifest.json"),
    "an empty manifest": lambda c: (c / "manifest.json").write_text(""),
    "a manifest of another kind": lambda c: (c / "manifest.json").write_text("[1, 2]"),
    "a manifest that is no text": lambda c: (c / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "a changed metric": lambda c: replace(c / "manifest.json", "21.5", "91.5"),
    "a changed sum": lambda c: replace(c / "manifest.json", '"n": 8', '"n": 9'),
    "a manifest without hashes": lambda c: replace(c / "manifest.json", "sha256", "sha257"),
    "an empty directory": lambda c: [p.unlink() for p in c.iterdir()],
}


def truncate_text(path):
    path.write_text(path.read_text()[:-20])


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_renamed_and_the_previous_one_restored(saved, log, name):
    folder = saved((4, None), (8, 21.5))
    DAMAGES[name](folder / "ckpt-00000008")
    before = {p.name: p.read_bytes() for p in (folder / "ckpt-00000008").iterdir()}
    assert checkpoint_files.find_checkpoint(folder) == folder / "ckpt-00000004"
    assert checkpoint_files.find_checkpoint(folder, which="best") == folder / "ckpt-00000004"
    assert checkpoint_files.find_checkpoint(folder, which=8) is None
    assert log.lines == []

    path, step = CheckpointManager(folder, keep=2, log=log).find_latest()
    assert (path, step) == (folder / "ckpt-00000004", 4)
    assert equal(checkpoint_files.read_variables(path), snapshot(4))
    (line,) = log.lines
    assert "ckpt-00000008 is damaged (" in line
    assert "ckpt-00000008.damaged" in line
    assert "\n" not in line
    aside = folder / "ckpt-00000008.damaged"
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == before
    assert checkpoint_files.list_steps(folder) == [4]


def test_any_flipped_bit_of_the_manifest_is_detected(saved):
    path = checkpoint_files.find_checkpoint(saved((8, 21.5))) / "manifest.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        flip(path, at, bits=1 << at % 8)
        if checkpoint_files.find_damage(path.parent) is None:  # whitespace between values may differ
            assert json.loads(path.read_bytes()) == json.loads(whole)
        path.write_bytes(whole)
    assert checkpoint_files.find_damage(path.parent) is None


def test_several_damaged_checkpoints_in_a_row(saved, log):
    folder = saved((4, None), (8, None), (12, None), (16, None))
    for step in (8, 12, 16):
        (folder / f"ckpt-{step:08d}" / "state.index").unlink()
    assert CheckpointManager(folder, keep=2, log=log).find_latest() == (folder / "ckpt-00000004", 4)
    assert len(log.lines) == 3
    # Again, when the new name is in use.
    shutil.copytree(folder / "ckpt-00000016.damaged", folder / "ckpt-00000016")
    assert CheckpointManager(folder, keep=2, log=log).find_latest()[1] == 4
    assert (folder / "ckpt-00000016.damaged.1").is_dir()


def test_without_an_intact_checkpoint_none_is_found(saved, log):
    folder = saved((4, None))
    (folder / "ckpt-00000004" / "manifest.json").unlink()
    assert CheckpointManager(folder, keep=2, log=log).find_latest() is None
    assert checkpoint_files.find_checkpoint(folder) is None


def test_incomplete_checkpoints_of_a_killed_process_are_ignored(saved, log):
    folder = saved((4, None))
    left = folder / ".writing-ckpt-00000008-123"
    shutil.copytree(folder / "ckpt-00000004", left)
    (folder / "notes").mkdir()
    assert checkpoint_files.find_checkpoint(folder) == folder / "ckpt-00000004"
    assert checkpoint_files.list_steps(folder) == [4]
    assert CheckpointManager(folder, keep=2, log=log).find_latest()[1] == 4
    assert not left.exists()
    assert (folder / "notes").exists()


MOMENTS = ("SaveV2", "json.dumps", "_fsync", "rename")


def test_a_crash_at_any_point_of_a_write(tmp_path):
    """Processes exit, as after SIGKILL, at points between the first byte and the rename."""
    code = f"""
    import logging, os, pathlib, sys
    import numpy as np
    import tensorflow as tf
    from hazeheal.runs import checkpoint_manager

    def die(*args, **options):
        os._exit(9)

    def write(moment):
        saver = checkpoint_manager.CheckpointManager(f"{{sys.argv[1]}}/{{moment}}", keep=2, log=logging.getLogger("test"))
        values = dict(a=np.arange(1000, dtype=np.float32))
        saver.save(values, step=4)
        assert saver.wait()
        if moment == "SaveV2":
            save = tf.raw_ops.SaveV2
            tf.raw_ops.SaveV2 = lambda **options: (save(**options), die())
        elif moment == "json.dumps":
            checkpoint_manager.json.dumps = die
        elif moment == "_fsync":
            checkpoint_manager._fsync = die
        else:
            pathlib.PosixPath.rename = die
        saver.save(values, step=8)
        saver.wait()

    for moment in {MOMENTS!r}:  # TensorFlow is imported once, and has not started yet
        child = os.fork()
        if not child:
            write(moment)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, moment
    """
    code, _, err = processes.run_python(textwrap.dedent(code), tmp_path)
    assert code == 0, err
    for moment in MOMENTS:
        folder, log = tmp_path / moment, Log()
        assert len(list(folder.glob(".writing-*"))) == 1
        assert checkpoint_files.list_steps(folder) == [4]
        assert CheckpointManager(folder, keep=2, log=log).find_latest()[1] == 4
        assert log.lines == []
        assert [p.name for p in folder.iterdir()] == ["ckpt-00000004"]


def test_the_second_best_is_used_if_the_best_is_damaged(saved):
    folder = saved((4, 20.0), (8, 22.5), (12, 21.0))
    (folder / "ckpt-00000008" / "state.index").unlink()
    assert checkpoint_files.find_checkpoint(folder, which="best") == folder / "ckpt-00000012"


def test_a_full_disk_causes_a_warning_and_keeps_earlier_checkpoints(tmp_path, log):
    """With no space for the data, and with no space for the manifest."""
    checkpoints = CheckpointManager(tmp_path, keep=1, log=log)
    values = {"a": np.random.default_rng(0).normal(size=100_000).astype(np.float32)}
    checkpoints.save(values, step=4)
    assert checkpoints.wait()
    for step, limit in ((8, 100_000), (12, 50), (16, 0)):
        with full_disk(limit):
            checkpoints.save(values, step=step)
            assert [checkpoints.wait(), checkpoints.wait()] == [False, False]
    small, progress = {"a": values["a"][:100]}, {"long": "x" * 5000}
    checkpoints.save(small, step=20, progress=progress)
    assert checkpoints.wait()
    with full_disk(3000):
        checkpoints.save(small, step=24, progress=progress)
        assert not checkpoints.wait()
        checkpoints.close()
    assert [line.split()[3] for line in log.lines] == ["8", "12", "16", "24"]
    assert all("could not be written" in line and "training continues" in line for line in log.lines)
    assert [p.name for p in tmp_path.iterdir()] == ["ckpt-00000020"]
    assert checkpoint_files.find_damage(tmp_path / "ckpt-00000020") is None
