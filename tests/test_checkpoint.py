"""Checkpoints: complete or absent, checked before they are read, the newest and the best kept."""

import json
import logging
import math
import shutil
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from places import ROOT

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.training import checkpoint
from hazeheal.training.checkpoint import Checkpoints


def snapshot(step, size=1000):
    values = np.random.default_rng(step).normal(size=size).astype(np.float32)
    return {"generator/a/kernel": values, "step": np.array(step, np.int64), "b": np.float32(step / 3)}


class Log(logging.Logger):
    """A logger that remembers its lines."""

    def __init__(self):
        super().__init__("test")
        self.lines = []
        self.addHandler(logging.Handler())
        self.handlers[0].emit = lambda record: self.lines.append(record.getMessage())


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def saved(tmp_path, log):
    """A function that writes checkpoints [(step, psnr or None), ...] and returns their folder."""

    def write(*entries, keep=10):
        checkpoints = Checkpoints(tmp_path / "checkpoints", keep=keep, log=log)
        for step, psnr in entries:
            metrics = {} if psnr is None else {"psnr": psnr, "ssim": 0.5}
            checkpoints.save(
                snapshot(step), step=step, metrics=metrics, progress={"fingerprint": "f", "n": step}
            )
        assert checkpoints.wait()
        checkpoints.close()
        return tmp_path / "checkpoints"

    return write


def equal(a, b):
    return a.keys() == b.keys() and all(
        np.asarray(a[k]).dtype == np.asarray(b[k]).dtype and np.array_equal(a[k], b[k]) for k in a
    )


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_round_trip(saved, log):
    folder = saved((7, 21.5))
    path = checkpoint.find(folder)
    assert path == folder / "ckpt-00000007"
    assert equal(checkpoint.read(path), snapshot(7))
    assert checkpoint.metrics(path) == {"psnr": 21.5, "ssim": 0.5}
    assert checkpoint.progress(path) == {"fingerprint": "f", "n": 7}
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json",
        "state.data-00000-of-00001",
        "state.index",
    ]
    assert Checkpoints(folder, keep=1, log=log).restore() == (path, 7)
    assert log.lines == []


def test_tensorflow_opens_it_anywhere(saved, tmp_path):
    import tensorflow as tf

    moved = tmp_path / "moved"
    shutil.move(checkpoint.find(saved((7, None))), moved)
    assert np.array_equal(
        tf.train.load_checkpoint(str(moved / "state")).get_tensor("generator/a/kernel"),
        snapshot(7)["generator/a/kernel"],
    )
    assert checkpoint.damage(moved) is None


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "a data file cut short": lambda c: truncate(c / "state.data-00000-of-00001"),
    "an empty data file": lambda c: (c / "state.data-00000-of-00001").write_bytes(b""),
    "a flipped bit in the data": lambda c: flip(c / "state.data-00000-of-00001", 2001, bit=3),
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
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_restored(saved, log, name):
    folder = saved((4, None), (8, 21.5))
    DAMAGES[name](folder / "ckpt-00000008")
    before = {p.name: p.read_bytes() for p in (folder / "ckpt-00000008").iterdir()}
    assert checkpoint.find(folder) == folder / "ckpt-00000004"
    assert checkpoint.find(folder, which="best") == folder / "ckpt-00000004"
    assert checkpoint.find(folder, which=8) is None
    assert log.lines == []

    path, step = Checkpoints(folder, keep=2, log=log).restore()
    assert (path, step) == (folder / "ckpt-00000004", 4)
    assert equal(checkpoint.read(path), snapshot(4))
    (line,) = log.lines
    assert "ckpt-00000008 is damaged (" in line
    assert "ckpt-00000008.damaged" in line
    assert "\n" not in line
    aside = folder / "ckpt-00000008.damaged"
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == before
    assert checkpoint.steps(folder) == [4]


def test_every_bit_of_the_manifest_counts(saved):
    path = checkpoint.find(saved((8, 21.5))) / "manifest.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        flip(path, at, bit=at % 8)
        if checkpoint.damage(path.parent) is None:  # a blank between two values may be any blank
            assert json.loads(path.read_bytes()) == json.loads(whole)
        path.write_bytes(whole)
    assert checkpoint.damage(path.parent) is None


def test_several_damaged_ones_in_a_row(saved, log):
    folder = saved((4, None), (8, None), (12, None), (16, None))
    for step in (8, 12, 16):
        (folder / f"ckpt-{step:08d}" / "state.index").unlink()
    assert Checkpoints(folder, keep=2, log=log).restore() == (folder / "ckpt-00000004", 4)
    assert len(log.lines) == 3
    # And again, with a name that is taken.
    shutil.copytree(folder / "ckpt-00000016.damaged", folder / "ckpt-00000016")
    assert Checkpoints(folder, keep=2, log=log).restore()[1] == 4
    assert (folder / "ckpt-00000016.damaged.1").is_dir()


def test_all_damaged_is_as_none(saved, log):
    folder = saved((4, None))
    (folder / "ckpt-00000004" / "manifest.json").unlink()
    assert Checkpoints(folder, keep=2, log=log).restore() is None
    assert checkpoint.find(folder) is None


def test_none_there(tmp_path, log):
    assert checkpoint.find(tmp_path / "nothing") is None
    assert checkpoint.steps(tmp_path / "nothing") == []
    assert Checkpoints(tmp_path / "new", keep=1, log=log).restore() is None


def test_what_a_killed_process_left_is_taken_for_nothing(saved, log):
    folder = saved((4, None))
    left = folder / ".writing-ckpt-00000008-123"
    shutil.copytree(folder / "ckpt-00000004", left)
    (folder / "notes").mkdir()
    assert checkpoint.find(folder) == folder / "ckpt-00000004"
    assert checkpoint.steps(folder) == [4]
    assert Checkpoints(folder, keep=2, log=log).restore()[1] == 4
    assert not left.exists()
    assert (folder / "notes").exists()


MOMENTS = ("SaveV2", "json.dumps", "_fsync", "rename")


def test_a_crash_at_any_moment_of_the_writing(tmp_path):
    """Processes end themselves, as SIGKILL would, between the first byte and the rename."""
    code = f"""
    import logging, os, pathlib, sys
    import numpy as np
    import tensorflow as tf
    from hazeheal.training import checkpoint

    def die(*args, **options):
        os._exit(9)

    def write(moment):
        checkpoints = checkpoint.Checkpoints(f"{{sys.argv[1]}}/{{moment}}", keep=2, log=logging.getLogger("test"))
        values = dict(a=np.arange(1000, dtype=np.float32))
        checkpoints.save(values, step=4)
        assert checkpoints.wait()
        if moment == "SaveV2":
            save = tf.raw_ops.SaveV2
            tf.raw_ops.SaveV2 = lambda **options: (save(**options), die())
        elif moment == "json.dumps":
            checkpoint.json.dumps = die
        elif moment == "_fsync":
            checkpoint._fsync = die
        else:
            pathlib.PosixPath.rename = die
        checkpoints.save(values, step=8)
        checkpoints.wait()

    for moment in {MOMENTS!r}:  # TensorFlow is imported once, and has not started yet
        child = os.fork()
        if not child:
            write(moment)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, moment
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for moment in MOMENTS:
        folder, log = tmp_path / moment, Log()
        assert len(list(folder.glob(".writing-*"))) == 1
        assert checkpoint.steps(folder) == [4]
        assert Checkpoints(folder, keep=2, log=log).restore()[1] == 4
        assert log.lines == []
        assert [p.name for p in folder.iterdir()] == ["ckpt-00000004"]


@pytest.mark.parametrize(
    ("entries", "keep", "left"),
    [
        ([(1, None), (2, None), (3, None), (4, None)], 2, [3, 4]),
        ([(1, None), (2, None), (3, None)], 1, [3]),
        ([(1, 20.0), (2, None), (3, 19.0), (4, None)], 1, [1, 4]),
        ([(1, 20.0), (2, 21.0), (3, 19.0), (4, None)], 2, [2, 3, 4]),
        ([(1, 20.0), (2, 21.0), (3, 22.0)], 2, [2, 3]),
        ([(1, 20.0), (2, 20.0), (3, 19.0)], 1, [2, 3]),  # of equals the later one
        ([(1, 20.0), (2, math.nan), (3, None)], 1, [1, 3]),
        ([(1, math.nan), (2, 3.0), (3, math.nan)], 1, [2, 3]),
    ],
)
def test_the_newest_and_the_best_stay(saved, entries, keep, left):
    folder = saved(*entries, keep=keep)
    assert checkpoint.steps(folder) == left
    assert all(checkpoint.damage(checkpoint.path_of(folder, step)) is None for step in left)


def test_the_best_is_found_when_a_later_validation_is_worse(saved, log):
    folder = saved((4, 20.0), (8, 22.5), (12, 21.0), (16, None), keep=1)
    assert checkpoint.find(folder, which="best") == folder / "ckpt-00000008"
    assert checkpoint.find(folder, which="newest") == folder / "ckpt-00000016"
    assert checkpoint.find(folder, which=8) == checkpoint.find(folder, which="8") == folder / "ckpt-00000008"
    assert checkpoint.find(folder, which=12) is None
    checkpoints = Checkpoints(folder, keep=1, log=log)
    assert checkpoints.best() == 22.5
    assert equal(checkpoint.read(checkpoint.find(folder, which="best")), snapshot(8))


def test_the_best_where_none_was_validated_is_the_newest(saved, log):
    folder = saved((4, None), (8, None))
    assert checkpoint.find(folder, which="best") == folder / "ckpt-00000008"
    assert Checkpoints(folder, keep=1, log=log).best() == -math.inf


def test_the_next_best_where_the_best_is_damaged(saved):
    folder = saved((4, 20.0), (8, 22.5), (12, 21.0))
    (folder / "ckpt-00000008" / "state.index").unlink()
    assert checkpoint.find(folder, which="best") == folder / "ckpt-00000012"


def test_best_waits_for_the_one_that_is_being_written(tmp_path, log, slow_writes):
    checkpoints = Checkpoints(tmp_path, keep=1, log=log)
    checkpoints.save(snapshot(1), step=1, metrics={"psnr": 30.0})
    slow_writes.set()
    assert checkpoints.best() == 30.0


@pytest.mark.parametrize("which", ["bset", "-1", "1.5", None])
def test_a_name_for_no_checkpoint_is_refused(saved, which):
    with pytest.raises(UsageError, match="names no checkpoint"):
        checkpoint.find(saved((4, None)), which=which)


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


def test_saving_does_not_wait_for_the_disk(tmp_path, log, slow_writes):
    checkpoints = Checkpoints(tmp_path, keep=3, log=log)
    begin = time.monotonic()
    checkpoints.save(snapshot(1), step=1)
    assert time.monotonic() - begin < 2
    assert checkpoint.steps(tmp_path) == []
    slow_writes.set()
    assert checkpoints.wait()
    assert checkpoint.steps(tmp_path) == [1]


def test_a_second_save_waits_for_the_first_and_close_for_the_last(tmp_path, log, slow_writes):
    checkpoints = Checkpoints(tmp_path, keep=3, log=log)
    checkpoints.save(snapshot(1), step=1)
    threading.Timer(0.2, slow_writes.set).start()
    checkpoints.save(snapshot(2), step=2)
    assert 1 in checkpoint.steps(tmp_path)
    checkpoints.close()
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_a_step_that_is_there_is_not_written_twice(saved, log):
    folder = saved((4, 20.0))
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "ckpt-00000004").iterdir()}
    checkpoints = Checkpoints(folder, keep=2, log=log)
    checkpoints.save(snapshot(5), step=4)
    assert checkpoints.wait()
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "ckpt-00000004").iterdir()} == before
    assert checkpoint.metrics(folder / "ckpt-00000004")["psnr"] == 20.0


def test_a_full_disk_costs_a_warning_and_nothing_that_was_there(tmp_path):
    """With a limit on the size of files in another process, once for the data and once for the manifest."""
    code = """
    import logging, resource, sys
    import numpy as np
    from hazeheal.training import checkpoint
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    checkpoints = checkpoint.Checkpoints(sys.argv[1], keep=1, log=logging.getLogger("test"))
    values = dict(a=np.random.default_rng(0).normal(size=100_000).astype(np.float32))
    checkpoints.save(values, step=4)
    print(checkpoints.wait())
    for step, limit in ((8, 100_000), (12, 50), (16, 0)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        checkpoints.save(values, step=step)
        print(checkpoints.wait(), checkpoints.wait())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    checkpoints.save(dict(a=values["a"][:100]), step=20, progress={"long": "x" * 5000})
    print(checkpoints.wait())
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
    checkpoints.save(dict(a=values["a"][:100]), step=24, progress={"long": "x" * 5000})
    print(checkpoints.wait())
    checkpoints.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "True"
    warnings = [line for line in lines if "could not be written" in line]
    assert [line.split()[3] for line in warnings] == ["8", "12", "16", "24"]
    assert all("training goes on" in line for line in warnings)
    others = [line for line in lines if line not in warnings]
    assert others == ["True", "False False", "False False", "False False", "True", "False"]
    assert [p.name for p in tmp_path.iterdir()] == ["ckpt-00000020"]
    assert checkpoint.damage(tmp_path / "ckpt-00000020") is None


def test_an_error_that_is_a_bug_is_not_swallowed(tmp_path, log):
    checkpoints = Checkpoints(tmp_path, keep=1, log=log)
    checkpoints.save(snapshot(1), step=1, progress={"not JSON": object()})
    with pytest.raises(TypeError):
        checkpoints.wait()


def test_resolve(saved, tmp_path):
    folder = saved((4, 22.0), (8, 21.0))
    run = tmp_path / "run"
    (run / "group_00").mkdir(parents=True)
    shutil.copytree(folder, run / "group_00" / "checkpoints")
    best = run / "group_00" / "checkpoints" / "ckpt-00000004"
    assert checkpoint.resolve(run) == best
    assert checkpoint.resolve(run / "group_00") == best
    assert checkpoint.resolve(str(run / "group_00" / "checkpoints")) == best
    assert checkpoint.resolve(best.with_name("ckpt-00000008")) == best.with_name("ckpt-00000008")
    assert checkpoint.resolve(run, which="newest") == best.with_name("ckpt-00000008")


def test_resolve_refuses(saved, tmp_path):
    with pytest.raises(HazeHealError, match=r"--restore_from=.*nowhere: no whole checkpoint there"):
        checkpoint.resolve(tmp_path / "nowhere")
    path = checkpoint.find(saved((4, None)))
    flip(path / "state.data-00000-of-00001", 99)
    with pytest.raises(HazeHealError, match=r"the checkpoint is damaged \(state.data.*SHA-256\)"):
        checkpoint.resolve(path)


def test_another_data_set_is_refused(saved):
    path = checkpoint.find(saved((4, None)))
    checkpoint.check_data_set(checkpoint.progress(path), "f", data_dir="d", workdir="w")
    with pytest.raises(
        UsageError, match=r"--data_dir=d is not the data set that the run in w was trained on"
    ):
        checkpoint.check_data_set(checkpoint.progress(path), "g", data_dir="d", workdir="w")
