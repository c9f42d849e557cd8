"""Event files after a restore: each step is shown once and none is lost, wherever a process was killed."""

import itertools
import os
import shutil

import pytest
import tensorflow as tf
from event_reading import event_paths, read, steps, visible, write_run

from hazeheal.training.reports import event_files
from hazeheal.training.reports.tensorboard import SummaryWriters


def test_restore_shows_each_step_once_and_loses_none(tmp_path):
    write_run(tmp_path, 1, 10)
    writers = SummaryWriters(tmp_path)
    assert writers.rewind_to(6) == 4
    for step in range(7, 13):
        writers.scalars("train", {"loss": 100.0 + step}, step=step)
    writers.close()
    assert steps(tmp_path / "train") == list(range(1, 13))
    assert [float(value) for _, value in read(tmp_path / "train")["loss"]][5:8] == [6.5, 107.0, 108.0]
    # Restored at 8 after a second process had gone further, and at -1: from the beginning.
    assert SummaryWriters(tmp_path).rewind_to(8) == 4
    assert steps(tmp_path / "train") == list(range(1, 9))
    assert sorted(path.name for path in (tmp_path / "set_aside").iterdir()) == ["1", "2"]
    assert SummaryWriters(tmp_path).rewind_to(-1) == 8
    assert visible(tmp_path) == []
    # Every event that was ever written is still there.
    written = set()
    for path in tmp_path.glob("set_aside/*/train/*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            written |= {(event.step, float(tf.make_ndarray(v.tensor))) for v in event.summary.value}
    assert written == {(s, s + 0.5) for s in range(1, 11)} | {(s, 100.0 + s) for s in range(7, 13)}


def test_files_without_later_steps_are_left_as_they_are(tmp_path):
    write_run(tmp_path, 1, 3)
    (tmp_path / "train" / "events.out.tfevents.1.empty").touch()
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in event_paths(tmp_path / "train")}
    assert SummaryWriters(tmp_path).rewind_to(3) == 0
    assert {p: (p.stat().st_ino, p.read_bytes()) for p in event_paths(tmp_path / "train")} == before
    assert not (tmp_path / "set_aside").exists()
    assert SummaryWriters(tmp_path / "absent").rewind_to(3) == 0


def test_steps_out_of_order_and_several_splits(tmp_path):
    writers = SummaryWriters(tmp_path)
    for step in (1, 5, 2, 6, 3):
        writers.scalars("train", {"loss": step}, step=step)
        writers.scalars("val", {"loss": step}, step=step)
    assert writers.rewind_to(3) == 4
    for split in ("train", "val"):
        assert steps(tmp_path / split) == [1, 2, 3]


def test_files_above_the_splits(tmp_path):
    writers = SummaryWriters(tmp_path)
    assert not writers.holds("")
    for split, step in (("", 0), ("train", 3), ("", 5)):
        writers.scalars(split, {"loss": step + 0.5}, step=step)
    assert writers.holds("") and writers.holds("train") and not writers.holds("val")
    (source,) = event_paths(tmp_path)
    before = source.read_bytes()
    leftover = tmp_path / "set_aside/1/events.out.set_aside.1.tmp"  # of a process that was killed
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    assert writers.rewind_to(4) == 1
    assert visible(tmp_path) == [(str(tmp_path), "loss", 0), (str(tmp_path / "train"), "loss", 3)]
    assert not leftover.exists()
    (old,) = (tmp_path / "set_aside/2").iterdir()
    assert old.read_bytes() == before
    assert writers.rewind_to(-1) == 2
    assert visible(tmp_path) == [] and not writers.holds("")
    assert len([p for p in (tmp_path / "set_aside/3").rglob("*") if p.is_file()]) == 2


def test_torn_anywhere(tmp_path):
    write_run(tmp_path / "whole", 1, 4)
    (source,) = event_paths(tmp_path / "whole" / "train")
    data = source.read_bytes()
    # Where each event ends; the first is the version.
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 16 + int.from_bytes(data[ends[-1] : ends[-1] + 8], "little"))
    near = {end + offset for end in ends for offset in (-1, 0, 1)} | set(range(0, len(data), 5))
    for cut in sorted(near & set(range(len(data) + 1))):
        run = tmp_path / f"cut{cut}"
        (run / "train").mkdir(parents=True)
        path = run / "train" / source.name
        path.write_bytes(data[:cut])
        event_files.rewind_to(run, step=2)
        kept = max(0, min(2, sum(end <= cut for end in ends[2:])))
        old = list(run.glob("set_aside/1/train/*"))
        rest = path.read_bytes() if path.exists() else b""
        assert rest == (data[: ends[kept + 1]] if kept else data[:cut] if cut in ends[:2] else b"")
        if rest != data[:cut]:
            assert [other.read_bytes() for other in old] == [data[:cut]]
        else:
            assert old == []
        shutil.rmtree(run)


def test_damage_in_the_middle_ends_the_file_there(tmp_path):
    write_run(tmp_path, 1, 6)
    (path,) = event_paths(tmp_path / "train")
    data = bytearray(path.read_bytes())
    data[-3 * 60] ^= 255
    path.write_bytes(data)
    readable = steps(tmp_path / "train")
    assert 0 < len(readable) < 6
    event_files.rewind_to(tmp_path, step=6)
    assert steps(tmp_path / "train") == readable
    (old,) = tmp_path.glob("set_aside/1/train/*")
    assert old.read_bytes() == bytes(data)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("links", [True, False], ids=["links", "no_links"])
def test_killed_between_any_two_actions(tmp_path, monkeypatch, links):
    """Stops before the n-th change of the file system, for every n; then the next process goes on."""
    ledger = tmp_path / "ledger"
    original = {}  # by path, in the order of writing: the names of one process have none (9 comes after 10)
    for first, last in ((1, 3), (4, 6), (7, 8)):
        write_run(ledger, first, last)
        original |= {p: p.read_bytes() for p in event_paths(ledger / "train") if p not in original}
    original = list(original.values())
    count = itertools.count()
    names = [(os, "link"), (os, "replace"), (os, "rename"), (shutil, "copy2"), (event_files, "_copy_ranges")]
    real = {name: getattr(module, name) for module, name in names}
    state = {}

    def wrap(name):
        def stand_in(*args, **options):
            if state["left"] == 0:
                raise Killed
            state["left"] -= 1
            if name == "link" and not links:
                raise OSError("no links here")
            return real[name](*args, **options)

        return stand_in

    for module, name in names:
        monkeypatch.setattr(module, name, wrap(name))
    for stop in count:
        run = tmp_path / f"run{stop}"
        shutil.copytree(ledger, run, copy_function=shutil.copy)
        state["left"] = stop
        try:
            event_files.rewind_to(run, step=5)
            finished = True
        except Killed:
            finished = False
        # No step twice, none up to the restored one missing, whatever the moment.
        seen = steps(run / "train")
        assert len(seen) == len(set(seen)) and set(seen) >= {1, 2, 3, 4, 5}
        state["left"] = 10**6
        event_files.rewind_to(run, step=5)
        assert sorted(visible(run)) == [(str(run / "train"), "loss", step) for step in range(1, 6)]
        aside = [path.read_bytes() for path in run.glob("set_aside/*/train/*")]
        assert original[1] in aside and original[2] in aside
        assert not list(run.rglob("*.tmp"))
        if finished:
            break
    assert stop >= 4
