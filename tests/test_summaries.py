"""TensorBoard summaries: what is written is read back with TensorBoard's own reader."""

import itertools
import logging
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.io_wrapper import IsTensorFlowEventsFile

from hazeheal.training import event_files
from hazeheal.training.summaries import SummaryWriters, config_markdown


def read(directory):
    """Returns {tag: [(step, tensor), ...]} of a folder, as TensorBoard sees it."""
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def steps(directory, tag="loss"):
    return [step for step, _ in read(directory).get(tag, [])] if directory.exists() else []


def visible(directory):
    """Returns all (folder, tag, step) that TensorBoard shows for a log directory."""
    found = []
    for folder, _, names in sorted(os.walk(directory)):
        if any(IsTensorFlowEventsFile(name) for name in names):
            found += [(folder, tag, step) for tag, events in read(folder).items() for step, _ in events]
    return found


def event_paths(directory):
    return sorted(directory.glob("events.out.tfevents.*"))


def write_run(directory, first, last):
    """A process that writes steps `first` to `last` and goes."""
    writers = SummaryWriters(directory)
    for step in range(first, last + 1):
        writers.scalars("train", {"loss": step + 0.5}, step=step)
    writers.close()


@pytest.fixture
def warnings_of(caplog, monkeypatch):
    logger = logging.getLogger("hazeheal")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    caplog.set_level(logging.WARNING, logger="hazeheal")
    return lambda: [record.getMessage() for record in caplog.records]


def test_scalars_come_back_with_tag_step_and_value(tmp_path):
    writers = SummaryWriters(tmp_path)
    writers.scalars("train", {"gen_l1_loss": 0.125, "norm": float("inf"), "absent": None}, step=7)
    writers.scalars("train", {"gen_l1_loss": np.float32(0.5)}, step=np.int64(8))
    writers.scalars("val", {"psnr": 24.5}, step=8)
    train, val = read(tmp_path / "train"), read(tmp_path / "val")  # readable before close: all is flushed
    assert [(step, float(value)) for step, value in train["gen_l1_loss"]] == [(7, 0.125), (8, 0.5)]
    assert np.isinf(train["norm"][0][1])
    assert set(train) == {"gen_l1_loss", "norm"}
    assert [(step, float(value)) for step, value in val["psnr"]] == [(8, 24.5)]
    assert writers.failures == 0
    writers.close()


def test_nothing_to_write_makes_no_file(tmp_path):
    writers = SummaryWriters(tmp_path / "new")
    writers.scalars("train", {}, step=1)
    writers.pictures("val", [], [], [], step=1)
    writers.flush()
    writers.close()
    assert not (tmp_path / "new").exists()


def test_pictures_are_bounded_in_number_and_size(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(20, 30), (64, 48), (10, 300), (200, 100), (8, 8)]
    hazy, restored, clear = ([rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes] for _ in "abc")
    writers = SummaryWriters(tmp_path, max_pictures=4, max_side=64)
    writers.pictures("val", hazy, restored, clear, step=3)
    writers.close()
    events = read(tmp_path / "val")
    assert len(events) == 4
    shown = []
    for tag in sorted(events):
        ((step, value),) = events[tag]
        assert step == 3
        width, height, *encoded = value
        assert len(encoded) == 1
        picture = tf.io.decode_png(encoded[0]).numpy()
        assert picture.shape == (int(height), int(width), 3)
        assert picture.shape[0] <= 64 and picture.shape[1] <= 3 * 64 + 2 * 4
        shown.append(picture)
    # What fits is untouched, in the order hazy, restored, clear.
    for panel, start in zip((hazy, restored, clear), (0, 34, 68), strict=True):
        np.testing.assert_array_equal(shown[0][:, start : start + 30], panel[0])
    assert shown[2].shape == (2, 3 * 64 + 2 * 4, 3)


def test_pictures_as_one_array(tmp_path):
    batch = np.zeros((2, 16, 16, 3), np.uint8)
    writers = SummaryWriters(tmp_path)
    writers.pictures("train", batch, batch, batch, step=1)
    writers.close()
    assert len(read(tmp_path / "train")) == 2


def test_pictures_of_another_type_are_a_mistake_of_the_caller(tmp_path):
    batch = np.zeros((1, 16, 16, 3), np.float32)
    with pytest.raises(ValueError, match="float32"):
        SummaryWriters(tmp_path).pictures("train", batch, batch, batch, step=1)
    with pytest.raises(ValueError, match="max_side"):
        SummaryWriters(tmp_path, max_side=0)


def test_config_as_text_renders_to_the_values(tmp_path):
    import html
    import re

    import markdown

    flat = {"data.seed": 0, "x.y": "a|b*c*_d_", "lines": "one\ntwo", "tick": "`q`", "empty": "", "t": (1, 2)}
    writers = SummaryWriters(tmp_path)
    writers.text("config", config_markdown(flat), step=0)
    writers.close()
    ((step, value),) = read(tmp_path / "train")["config"]
    page = markdown.markdown(value.item().decode(), extensions=["markdown.extensions.tables"])
    cells = [html.unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td>(.*?)</td>", page, re.S)]
    assert step == 0
    assert len(cells) == 2 * len(flat)
    assert cells[::2] == list(flat)
    assert [cell.replace("\\|", "|") for cell in cells[1::2]] == [
        str(v).replace("\n", " ") for v in flat.values()
    ]


FULL_DISK = """
    import logging, resource, sys
    import numpy as np
    from hazeheal.training.summaries import SummaryWriters

    logging.basicConfig(format="LOG %(message)s", level=logging.WARNING, stream=sys.stdout)
    writers = SummaryWriters(sys.argv[1], max_side=256)
    noise = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    writers.scalars("train", {"loss": 1.0, "other": 1.0}, step=1)
    for step in (2, 3, 4):
        limit(int(sys.argv[2]))
        if sys.argv[3] == "pictures":
            writers.pictures("train", noise, noise, noise, step=step)
        else:
            writers.scalars("train", {f"s{i}": 1.0 for i in range(200)}, step=step)
    limit(resource.RLIM_INFINITY)
    writers.scalars("train", {"loss": 5.0}, step=5)
    writers.pictures("train", noise, noise, noise, step=6)
    writers.flush()
    writers.close()
    print("FAILURES", writers.failures)
"""


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("pictures", 1000), ("pictures", 200_000), ("scalars", 40)],
)
def test_full_disk_costs_only_what_did_not_fit(tmp_path, kind, limit):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path), str(limit), kind],
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("could not be written") == 1
    assert "FAILURES 3" in done.stdout
    assert steps(tmp_path / "train") == [1, 5]
    assert steps(tmp_path / "train", "hazy_restored_clear/00") == [6]
    assert not any(tag.startswith("s") for tag in read(tmp_path / "train"))
    # No torn record is left behind, and no heap of empty files.
    paths = event_paths(tmp_path / "train")
    assert len(paths) == 2
    for path in paths:
        assert event_files.whole_frames(path)[1] == path.stat().st_size


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path, warnings_of):
    (tmp_path / "file").write_text("in the way")
    writers = SummaryWriters(tmp_path / "file")
    for step in range(3):
        writers.scalars("train", {"loss": 1.0}, step=step)
    writers.flush()
    writers.close()
    assert writers.failures == 3
    assert len(warnings_of()) == 1 and "training goes on" in warnings_of()[0]


def test_an_event_file_deleted_under_the_writer(tmp_path, warnings_of):
    writers = SummaryWriters(tmp_path)
    writers.scalars("train", {"loss": 1.0}, step=1)
    shutil.rmtree(tmp_path / "train")
    for step in (2, 3, 4):
        writers.scalars("train", {"loss": 1.0}, step=step)
    writers.close()
    assert len(warnings_of()) == 1
    assert steps(tmp_path / "train") == [3, 4]


def test_restore_shows_each_step_once_and_loses_none(tmp_path):
    write_run(tmp_path, 1, 10)
    writers = SummaryWriters(tmp_path)
    assert writers.set_aside_after(6) == 4
    for step in range(7, 13):
        writers.scalars("train", {"loss": 100.0 + step}, step=step)
    writers.close()
    assert steps(tmp_path / "train") == list(range(1, 13))
    assert [float(value) for _, value in read(tmp_path / "train")["loss"]][5:8] == [6.5, 107.0, 108.0]
    # Restored at 8 after a second process had gone further, and at -1: from the beginning.
    assert SummaryWriters(tmp_path).set_aside_after(8) == 4
    assert steps(tmp_path / "train") == list(range(1, 9))
    assert sorted(path.name for path in (tmp_path / "set_aside").iterdir()) == ["1", "2"]
    assert SummaryWriters(tmp_path).set_aside_after(-1) == 8
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
    assert SummaryWriters(tmp_path).set_aside_after(3) == 0
    assert {p: (p.stat().st_ino, p.read_bytes()) for p in event_paths(tmp_path / "train")} == before
    assert not (tmp_path / "set_aside").exists()
    assert SummaryWriters(tmp_path / "absent").set_aside_after(3) == 0


def test_steps_out_of_order_and_several_splits(tmp_path):
    writers = SummaryWriters(tmp_path)
    for step in (1, 5, 2, 6, 3):
        writers.scalars("train", {"loss": step}, step=step)
        writers.scalars("val", {"loss": step}, step=step)
    assert writers.set_aside_after(3) == 4
    for split in ("train", "val"):
        assert steps(tmp_path / split) == [1, 2, 3]


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
        event_files.set_aside_after(run, step=2)
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
    event_files.set_aside_after(tmp_path, step=6)
    assert steps(tmp_path / "train") == readable
    (old,) = tmp_path.glob("set_aside/1/train/*")
    assert old.read_bytes() == bytes(data)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("links", [True, False], ids=["links", "no_links"])
def test_killed_between_any_two_actions(tmp_path, monkeypatch, links):
    """Stops before the n-th change of the file system, for every n; then the next process goes on."""
    ledger = tmp_path / "ledger"
    write_run(ledger, 1, 3)
    write_run(ledger, 4, 6)
    write_run(ledger, 7, 8)
    original = [path.read_bytes() for path in event_paths(ledger / "train")]
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
            event_files.set_aside_after(run, step=5)
            finished = True
        except Killed:
            finished = False
        # No step twice, none up to the restored one missing, whatever the moment.
        seen = steps(run / "train")
        assert len(seen) == len(set(seen)) and set(seen) >= {1, 2, 3, 4, 5}
        state["left"] = 10**6
        event_files.set_aside_after(run, step=5)
        assert visible(run) == [(str(run / "train"), "loss", step) for step in range(1, 6)]
        aside = [path.read_bytes() for path in run.glob("set_aside/*/train/*")]
        assert original[1] in aside and original[2] in aside
        assert not list(run.rglob("*.tmp"))
        if finished:
            break
    assert stop >= 4


def test_a_failing_set_aside_warns_and_goes_on(tmp_path, monkeypatch, warnings_of):
    write_run(tmp_path, 1, 4)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(event_files, "_copy_ranges", full)
    writers = SummaryWriters(tmp_path)
    assert writers.set_aside_after(2) == 0
    assert writers.failures == 1 and "No space left" in warnings_of()[0]
    assert steps(tmp_path / "train") == [1, 2, 3, 4]
