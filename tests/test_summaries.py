"""TensorBoard summaries: what is written is read back with TensorBoard's own reader."""

import logging
import shutil

import numpy as np
import pytest
import tensorflow as tf
from disks import full_disk
from event_reading import event_paths, read, steps, write_run

from hazeheal.training.reports import event_files
from hazeheal.training.reports.tensorboard import SummaryWriters, config_markdown


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
    writers.images("val", [], [], [], step=1)
    writers.flush()
    writers.close()
    assert not (tmp_path / "new").exists()


def test_images_are_bounded_in_number_and_size(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(20, 30), (64, 48), (10, 300), (200, 100), (8, 8)]
    hazy, restored, clear = ([rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes] for _ in "abc")
    writers = SummaryWriters(tmp_path, max_images=4, max_side=64)
    writers.images("val", hazy, restored, clear, step=3)
    writers.close()
    events = read(tmp_path / "val")
    assert len(events) == 4
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
    # What fits is untouched, in the order hazy, restored, clear.
    for panel, start in zip((hazy, restored, clear), (0, 34, 68), strict=True):
        np.testing.assert_array_equal(shown[0][:, start : start + 30], panel[0])
    assert shown[2].shape == (2, 3 * 64 + 2 * 4, 3)


def test_images_as_one_array(tmp_path):
    batch = np.zeros((2, 16, 16, 3), np.uint8)
    writers = SummaryWriters(tmp_path)
    writers.images("train", batch, batch, batch, step=1)
    writers.close()
    assert len(read(tmp_path / "train")) == 2


def test_images_of_another_type_are_a_mistake_of_the_caller(tmp_path):
    batch = np.zeros((1, 16, 16, 3), np.float32)
    with pytest.raises(ValueError, match="float32"):
        SummaryWriters(tmp_path).images("train", batch, batch, batch, step=1)
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


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("images", 1000), ("images", 200_000), ("scalars", 40)],
)
def test_full_disk_costs_only_what_did_not_fit(tmp_path, warnings_of, kind, limit):
    writers = SummaryWriters(tmp_path, max_side=256)
    noise = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)
    writers.scalars("train", {"loss": 1.0, "other": 1.0}, step=1)
    for step in (2, 3, 4):
        with full_disk(limit):
            if kind == "images":
                writers.images("train", noise, noise, noise, step=step)
            else:
                writers.scalars("train", {f"s{i}": 1.0 for i in range(200)}, step=step)
    writers.scalars("train", {"loss": 5.0}, step=5)
    writers.images("train", noise, noise, noise, step=6)
    writers.flush()
    writers.close()
    assert sum("could not be written" in line for line in warnings_of()) == 1
    assert writers.failures == 3
    # Sorted, as files that one process begins within a second have no order in their names.
    assert sorted(steps(tmp_path / "train")) == [1, 5]
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


def test_a_failing_set_aside_warns_and_goes_on(tmp_path, monkeypatch, warnings_of):
    write_run(tmp_path, 1, 4)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(event_files, "_copy_ranges", full)
    writers = SummaryWriters(tmp_path)
    assert writers.rewind_to(2) == 0
    assert writers.failures == 1 and "No space left" in warnings_of()[0]
    assert steps(tmp_path / "train") == [1, 2, 3, 4]
