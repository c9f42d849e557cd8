"""Sheets of images: layout and captions."""

import errno
import logging
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from hazeheal.training.reports import sample_sheets
from hazeheal.training.reports.sample_sheets import sample_sheet, shrink, side_by_side, write_sheet


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def captions(monkeypatch):
    """The texts that are drawn, with their colors."""
    drawn = []
    real = sample_sheets.ImageDraw.ImageDraw.text

    def text(self, position, text, *args, **options):
        drawn.append((text, options.get("fill")))
        return real(self, position, text, *args, **options)

    monkeypatch.setattr(sample_sheets.ImageDraw.ImageDraw, "text", text)
    return drawn


def find(sheet, image):
    """Returns (row, column) of every exact occurrence of `image` in `sheet`."""
    height, width = image.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (height, width, 3))[:, :, 0]
    first = np.argwhere((sheet[: windows.shape[0], : windows.shape[1]] == image[0, 0]).all(-1))
    return [(int(y), int(x)) for y, x in first if np.array_equal(windows[y, x], image)]


def test_rows_are_in_order_and_images_that_fit_are_not_changed():
    hazy, restored, clear = ([noise(20, 30, seed=10 * c + r) for r in range(3)] for c in range(3))
    sheet = sample_sheet(hazy, restored, clear, max_side=30)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    places = [[find(sheet, column[row]) for column in (hazy, restored, clear)] for row in range(3)]
    assert all(len(place) == 1 for row in places for place in row)
    for row in places:
        (y0, x0), (y1, x1), (y2, x2) = (place[0] for place in row)
        assert y0 == y1 == y2
        assert x0 < x1 < x2 and x1 - x0 == x2 - x1
    assert places[0][0][0][0] < places[1][0][0][0] < places[2][0][0][0]


def test_captions_have_the_psnr_of_the_full_size_images(captions):
    clear = noise(300, 400)
    hazy, restored = (
        np.clip(clear.astype(int) + noise(300, 400, seed) % spread, 0, 255).astype(np.uint8)
        for seed, spread in ((1, 90), (2, 20))
    )
    sample_sheet(
        [hazy, restored],
        [restored, hazy],
        [clear, clear],
        labels=["a", "b"],
        ssim=[(0.5, 0.75)] * 2,
        max_side=64,
    )
    before, after = (peak_signal_noise_ratio(clear, image, data_range=255) for image in (hazy, restored))
    texts = dict(captions)
    assert [text for text, _ in captions][:3] == ["hazy", "restored", "clear"]
    assert f"PSNR {before:.2f} dB, SSIM 0.500" in texts
    assert texts[f"PSNR {after:.2f} dB (+{after - before:.2f}), SSIM 0.750"] == sample_sheets._BETTER
    assert texts[f"PSNR {before:.2f} dB ({before - after:.2f}), SSIM 0.750"] == sample_sheets._WORSE
    assert "a" in texts and "b" in texts


def test_captions_of_equal_and_unchanged_images(captions):
    clear, hazy = noise(16, 16), noise(16, 16, 1)
    sample_sheet([hazy, hazy], [clear, hazy], [clear, clear])
    texts = dict(captions)
    assert "PSNR inf dB" in texts
    assert any(text.endswith("(+0.00)") and color == sample_sheets._INK for text, color in captions)


def test_long_labels_are_cut_to_the_column(captions):
    image = noise(40, 40)
    sheet = sample_sheet([image], [image], [image], labels=["key" * 200])
    (label,) = [text for text, _ in captions if text.startswith("key")]
    assert label.endswith("...") and 10 < len(label) < 100
    paper = np.array(sample_sheets._PAPER)
    assert (sheet[:, -sample_sheets._MARGIN // 2 :] == paper).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (37, 1000), (2000, 1500)])
def test_the_size_of_a_sheet_is_bounded(size):
    image = noise(*size)
    sheet = sample_sheet([image] * 12, [image] * 12, [image] * 12, max_side=128, max_rows=5)
    assert sheet.shape[0] <= 5 * (128 + 40) + 60
    assert sheet.shape[1] <= 3 * 240 + 60


def test_small_images_are_enlarged_by_an_integer_factor():
    image = np.full((50, 100, 3), 7, np.uint8)
    sheet = sample_sheet([image], [image], [image], max_side=320)
    ys = np.nonzero((sheet == 7).all(-1))[0]
    assert ys.max() - ys.min() + 1 == 150
    assert (sheet[ys.min()] == 7).all(-1).sum() == 3 * 300


def test_shrink_keeps_the_aspect_ratio():
    assert shrink(noise(100, 50), 100).shape == (100, 50, 3)
    assert shrink(noise(101, 50), 50).shape == (50, 25, 3)
    assert shrink(noise(1, 1000), 10).shape == (1, 10, 3)
    flat = np.full((90, 60, 3), 200, np.uint8)
    assert (shrink(flat, 30) == 200).all()


def test_side_by_side_does_not_change_pixels():
    left, right = noise(10, 20), noise(12, 5, 1)
    sheet = side_by_side([left, right], max_side=64, gap=3)
    assert sheet.shape == (12, 28, 3)
    np.testing.assert_array_equal(sheet[:10, :20], left)
    np.testing.assert_array_equal(sheet[:, 23:], right)
    assert (sheet[10:, :20] == 255).all() and (sheet[:, 20:23] == 255).all()


def test_invalid_arguments_are_refused():
    image = noise(8, 8)
    with pytest.raises(ValueError, match="same number of rows"):
        sample_sheet([image], [image], [])
    with pytest.raises(ValueError, match="same number of rows"):
        sample_sheet([], [], [])
    with pytest.raises(ValueError, match="same number of rows"):
        sample_sheet([image], [image], [image], labels=["a", "b"])
    with pytest.raises(ValueError, match="float32"):
        sample_sheet([image.astype(np.float32)], [image], [image])
    with pytest.raises(ValueError, match=r"row 1.*\(9, 8, 3\)"):
        sample_sheet([image, image], [image, noise(9, 8)], [image, image])


def test_write_sheet_writes_the_sheet(tmp_path):
    batch = noise(3 * 24, 24).reshape(3, 24, 24, 3)
    path = tmp_path / "new" / "step_00000010.png"
    assert write_sheet(path, batch, batch, batch, labels=["a", "b", "c"])
    expected = sample_sheet(batch, batch, batch, labels=["a", "b", "c"])
    np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_full_disk_costs_only_the_sheet(tmp_path, monkeypatch, caplog):
    # Another test may have set up the logger: the record must reach pytest once, through the root logger.
    monkeypatch.setattr(logging.getLogger("hazeheal"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("hazeheal"), "handlers", [])

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    batch = noise(8, 8)[np.newaxis]
    assert write_sheet(tmp_path / "a.png", batch, batch, batch) is False
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["sample_sheets", "logging_setup", "training_log", "progress"])
def test_no_tensorflow_is_imported(module):
    code = f"import sys, hazeheal.training.reports.{module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
