"""Sheets of images: layout and captions."""

import subprocess
import sys

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from hazeheal.training.reports import sample_sheets
from hazeheal.training.reports.sample_sheets import sample_sheet, shrink


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def captions(monkeypatch):
    """The texts that are drawn."""
    drawn = []
    real = sample_sheets.ImageDraw.ImageDraw.text

    def text(self, position, text, *args, **options):
        drawn.append(text)
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
    sheet = sample_sheet(list(zip(hazy, restored, clear, strict=True)), max_side=30)
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
    sample_sheet([(hazy, restored, clear), (restored, hazy, clear)], labels=["a", "b"], max_side=64)
    before, after = (peak_signal_noise_ratio(clear, image, data_range=255) for image in (hazy, restored))
    assert captions[:3] == ["hazy", "restored", "clear"]
    assert captions[3:6] == [f"PSNR {before:.2f} dB", f"PSNR {after:.2f} dB (+{after - before:.2f})", "a"]
    assert captions[6:] == [f"PSNR {after:.2f} dB", f"PSNR {before:.2f} dB ({before - after:.2f})", "b"]


def test_captions_of_equal_and_unchanged_images(captions):
    clear, hazy = noise(16, 16), noise(16, 16, 1)
    sample_sheet([(hazy, clear, clear), (hazy, hazy, clear)])
    assert "PSNR inf dB" in captions
    assert captions[-1].endswith(" dB (+0.00)")


def test_long_labels_are_cut_to_the_column():
    image = noise(40, 40)
    short, long = (sample_sheet([(image, image, image)], labels=[text]) for text in ("", "key" * 200))
    assert short.shape == long.shape
    margin = sample_sheets._MARGIN
    assert (short != long).any() and (short[:, -margin:] == long[:, -margin:]).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (37, 1000), (2000, 1500)])
def test_the_size_of_a_sheet_is_bounded(size):
    image = noise(*size)
    sheet = sample_sheet([(image, image, image)] * 5, max_side=128)
    assert sheet.shape[0] <= 5 * (128 + 40) + 60
    assert sheet.shape[1] <= 3 * 240 + 60


def test_small_images_are_enlarged_by_an_integer_factor():
    image = np.full((50, 100, 3), 7, np.uint8)
    sheet = sample_sheet([(image, image, image)], max_side=320)
    ys = np.nonzero((sheet == 7).all(-1))[0]
    assert ys.max() - ys.min() + 1 == 150
    assert (sheet[ys.min()] == 7).all(-1).sum() == 3 * 300


def test_shrink_keeps_the_aspect_ratio():
    assert shrink(noise(100, 50), 100).shape == (100, 50, 3)
    assert shrink(noise(101, 50), 50).shape == (50, 25, 3)
    assert shrink(noise(1, 1000), 10).shape == (1, 10, 3)
    flat = np.full((90, 60, 3), 200, np.uint8)
    assert (shrink(flat, 30) == 200).all()


@pytest.mark.parametrize("module", ["sample_sheets", "logging_setup", "training_log", "progress"])
def test_no_tensorflow_is_imported(module):
    code = f"import sys, hazeheal.training.reports.{module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
