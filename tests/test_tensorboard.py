"""TensorBoard summaries: what is written is read back with TensorBoard's own readers."""

import logging
import os
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from disks import full_disk
from event_reading import (
    displayed_by_both,
    event_paths,
    folders,
    python_backend,
    read,
    rust_backend,
    steps,
    write_run,
)
from processes import PATIENCE
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import metadata

from hazeheal.data import tfrecord
from hazeheal.training.reports import tensorboard, tensorboard_plugins
from hazeheal.training.reports.tensorboard import SummaryWriters


@pytest.fixture
def warnings_of(caplog, monkeypatch):
    logger = logging.getLogger("hazeheal")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    caplog.set_level(logging.WARNING, logger="hazeheal")
    return lambda: [record.getMessage() for record in caplog.records]


def test_scalars_have_tag_step_and_value(tmp_path):
    writers = SummaryWriters(tmp_path)
    writers.scalars("train", {"gen_l1_loss": 0.125, "norm": float("inf"), "absent": None}, step=7)
    writers.scalars("train", {"gen_l1_loss": np.float32(0.5)}, step=8)
    writers.scalars("val", {"psnr": 24.5}, step=8)
    train, val = read(tmp_path / "train"), read(tmp_path / "val")  # readable at once
    assert [(step, float(value)) for step, value in train["gen_l1_loss"]] == [(7, 0.125), (8, 0.5)]
    assert np.isinf(train["norm"][0][1])
    assert set(train) == {"gen_l1_loss", "norm"}
    assert [(step, float(value)) for step, value in val["psnr"]] == [(8, 24.5)]


def test_without_values_no_file_is_created(tmp_path):
    writers = SummaryWriters(tmp_path / "new")
    writers.scalars("train", {}, step=1)
    writers.images("val", [], step=1)
    writers.flush()
    assert not (tmp_path / "new").exists()


def test_images_are_bounded_in_size(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(20, 30), (64, 48), (10, 300), (200, 100), (8, 8)]
    rows = [tuple(rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(3)) for size in sizes]
    writers = SummaryWriters(tmp_path, max_side=64)
    writers.images("val", rows, step=3)
    events = read(tmp_path / "val")
    assert len(events) == 5
    shown = []
    for tag in sorted(events):
        ((step, value),) = events[tag]
        assert step == 3
        width, height, *encoded = value
        assert len(encoded) == 1
        image = tf.io.decode_png(encoded[0]).numpy()
        assert image.shape == (int(height), int(width), 3)
        assert image.shape[0] <= 64 and image.shape[1] <= 3 * 64 + 2 * 4
        shown.append(image)
    # Images that fit are not changed; the order is hazy, restored, clear; the gaps are white.
    for panel, start in zip(rows[0], (0, 34, 68), strict=True):
        np.testing.assert_array_equal(shown[0][:, start : start + 30], panel)
    assert (shown[0][:, 30:34] == 255).all() and (shown[0][:, 64:68] == 255).all()
    assert shown[2].shape == (2, 3 * 64 + 2 * 4, 3)


def test_the_configuration_is_a_code_block_of_its_values(tmp_path):
    import html
    import re

    import markdown

    flat = {
        "data.seed": 0,
        "x.y": "a|b*c*_d_<e>",
        "lines": "one\ntwo",
        "tick": "`q`",
        "empty": "",
        "t": (1, 2),
    }
    SummaryWriters(tmp_path).config(flat)
    ((step, value),) = read(tmp_path / "train")["config"]
    page = markdown.markdown(value.item().decode())
    ((block,),) = [re.findall("<pre><code>(.*)</code></pre>", page, re.S)]
    assert step == 0
    assert html.unescape(block).splitlines() == [f"{name} = {value!r}" for name, value in flat.items()]


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("images", 1000), ("images", 200_000), ("scalars", 40)],
)
def test_a_full_disk_costs_only_the_summaries_that_did_not_fit(tmp_path, warnings_of, kind, limit):
    writers = SummaryWriters(tmp_path, max_side=256)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    writers.scalars("train", {"loss": 1.0, "other": 1.0}, step=1)
    for step in (2, 3, 4):
        with full_disk(limit):
            if kind == "images":
                writers.images("train", [(noise, noise, noise)], step=step)
            else:
                writers.scalars("train", {f"s{i}": 1.0 for i in range(200)}, step=step)
    writers.scalars("train", {"loss": 5.0}, step=5)
    writers.images("train", [(noise, noise, noise)], step=6)
    writers.flush()
    assert sum("could not be written" in line for line in warnings_of()) == 1
    assert steps(tmp_path / "train") == [1, 5]
    assert steps(tmp_path / "train", "hazy_restored_clear/00") == [6]
    assert not any(tag.startswith("s") for tag in read(tmp_path / "train"))
    # No torn record is left behind.
    (path,) = event_paths(tmp_path / "train")
    payloads = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    assert sum(len(tfrecord.frame(payload)) for payload in payloads) == path.stat().st_size


def test_a_folder_that_cannot_be_created_costs_one_warning(tmp_path, warnings_of):
    (tmp_path / "file").write_text("in the way")
    writers = SummaryWriters(tmp_path / "file")
    for step in range(3):
        writers.scalars("train", {"loss": 1.0}, step=step)
    writers.flush()
    assert len(warnings_of()) == 1 and "training continues" in warnings_of()[0]


def test_an_event_file_deleted_under_the_writer(tmp_path):
    writers = SummaryWriters(tmp_path)
    writers.scalars("train", {"loss": 1.0}, step=1)
    shutil.rmtree(tmp_path / "train")
    for step in (2, 3):
        writers.scalars("train", {"loss": 1.0}, step=step)
    assert steps(tmp_path / "train") == [2, 3]


def test_summaries_are_those_of_tensorflow(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    writers = SummaryWriters(tmp_path / "ours")
    writers.scalars("train", {"loss": 0.1}, step=3)
    writers.images("train", [(image, image, image)], step=3)
    writers.config({"seed": 1})
    row = np.concatenate([image, np.full((8, 4, 3), 255, np.uint8)] * 2 + [image], axis=1)
    with tf.summary.create_file_writer(str(tmp_path / "tensorflow")).as_default(step=3):
        tf.summary.scalar("loss", 0.1)
        tf.summary.image("hazy_restored_clear/00", row[None])
        tf.summary.text("config", "    seed = 1", step=0)

    def values(folder):
        (path,) = event_paths(folder)
        payloads = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        events = [tf.compat.v1.Event.FromString(payload) for payload in payloads]
        assert [event.step for event in events] == [0, 3, 3, 0]
        assert events[0].file_version == "brain.Event:2"
        return [event.summary.value[0] for event in events[1:]]

    for ours, expected in zip(values(tmp_path / "ours/train"), values(tmp_path / "tensorflow"), strict=True):
        assert (ours.tag, ours.metadata) == (expected.tag, expected.metadata)
        array, expected_array = tf.make_ndarray(ours.tensor), tf.make_ndarray(expected.tensor)
        assert (array.dtype, array.shape) == (expected_array.dtype, expected_array.shape)
        if array.ndim:  # an image: width, height, PNG
            assert array[:2].tolist() == expected_array[:2].tolist()
            array, expected_array = (tf.io.decode_png(a[2]).numpy() for a in (array, expected_array))
        np.testing.assert_array_equal(array, expected_array)


IMAGE = np.zeros((8, 8, 3), np.uint8)


def write_all(writers, first, last):
    for step in range(first, last + 1):
        writers.scalars("train", {"loss": step}, step=step)
        writers.scalars("val", {"psnr": step}, step=step)
        writers.images("val", [(IMAGE, IMAGE, IMAGE)], step=step)


def test_after_a_kill_and_a_restore_each_step_appears_once(tmp_path):
    write_all(SummaryWriters(tmp_path), 1, 7)  # killed
    writers = SummaryWriters(tmp_path)
    writers.rewind_to(4)
    write_all(writers, 5, 6)
    writers.rewind_to(5)  # a process that goes back itself
    write_all(writers, 6, 9)
    tags = [("train", "loss"), ("val", "psnr"), ("val", "hazy_restored_clear/00")]
    assert displayed_by_both(tmp_path) == {tag: list(range(1, 10)) for tag in tags}


def test_a_restore_shows_the_values_written_last(tmp_path):
    write_run(tmp_path, 1, 6)
    writers = SummaryWriters(tmp_path)
    writers.rewind_to(3)
    assert steps(tmp_path / "train") == [1, 2, 3]
    for step in (4, 5):
        writers.scalars("train", {"loss": 100.0 + step}, step=step)
    assert [float(value) for _, value in read(tmp_path / "train")["loss"]] == [1.5, 2.5, 3.5, 104.0, 105.0]


def shown_width(provider):
    """Returns the model's width in the table of runs."""
    end = time.monotonic() + PATIENCE
    while "." not in (
        found := provider.list_tensors(RequestContext(), experiment_id="", plugin_name=metadata.PLUGIN_NAME)
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
    content = found["."][metadata.SESSION_START_INFO_TAG].plugin_content
    return metadata.parse_session_start_info_plugin_data(content).hparams["model.width"].number_value


def test_a_new_run_hides_the_events_of_a_discarded_one(tmp_path):
    def begin(width):
        writers = SummaryWriters(tmp_path)
        writers.rewind_to(-1)
        assert folders(tmp_path) == []
        values = {"model.width": width}
        messages = [tensorboard_plugins.experiment(values), tensorboard_plugins.trial(values, run=tmp_path)]
        writers.write("", [tensorboard_plugins.layout(), *messages], step=0)
        return writers

    write_all(begin(8), 1, 9)
    before = {path.read_bytes() for folder in folders(tmp_path) for path in event_paths(folder)}
    write_all(begin(16), 1, 3)
    tags = [("train", "loss"), ("val", "psnr"), ("val", "hazy_restored_clear/00")]
    assert displayed_by_both(tmp_path) == {tag: [1, 2, 3] for tag in tags}
    with rust_backend(tmp_path) as rust:
        for provider in (python_backend(tmp_path), rust):
            assert shown_width(provider) == 16
    assert {path.read_bytes() for path in tmp_path.rglob("events.out.set_aside.*")} == before


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_torn_event_hides_no_later_ones(tmp_path, cut):
    write_run(tmp_path, 1, 4)
    (path,) = event_paths(tmp_path / "train")
    os.truncate(path, path.stat().st_size - cut)
    writers = SummaryWriters(tmp_path)
    writers.rewind_to(2)
    for step in (3, 4):
        writers.scalars("train", {"loss": step}, step=step)
    assert displayed_by_both(tmp_path) == {("train", "loss"): [1, 2, 3, 4]}


def test_the_files_of_a_restored_run_sort_last_whatever_the_clock_says(tmp_path, monkeypatch):
    write_run(tmp_path, 1, 4)
    monkeypatch.setattr(tensorboard.time, "time", lambda: 1_000_000_000.0)  # a host whose clock is behind
    writers = SummaryWriters(tmp_path)
    writers.rewind_to(2)
    writers.scalars("train", {"loss": 9.0}, step=3)
    assert steps(tmp_path / "train") == [1, 2, 3]


def test_a_failed_restart_event_costs_a_warning(tmp_path, warnings_of):
    write_run(tmp_path, 1, 4)
    writers = SummaryWriters(tmp_path)
    with full_disk(10):
        writers.rewind_to(2)
    assert len(warnings_of()) == 1 and "could not be written" in warnings_of()[0]
    assert steps(tmp_path / "train") == [1, 2, 3, 4]
