"""The crops of DehazeDataProcessor: all windows and orientations, with the pixels of the file."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from record_sets import COUNT, SIZES, clear_of, encode, joined, number_image, take, write_dataset

from hazeheal.data import records
from hazeheal.data.pipeline.processor import DehazeDataProcessor


# ---------------------------------------------------------------------------------------------- order
def test_batches_are_crops_of_the_pairs_they_name(ten_pairs):
    dataset = DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=24, seed=3).dataset()
    assert dataset.element_spec["hazy"] == tf.TensorSpec([4, 24, 24, 3], tf.uint8)
    assert dataset.element_spec["number"] == tf.TensorSpec([4], tf.int64)
    for batch in take(dataset, 10):
        for hazy, clear, number in zip(batch["hazy"], batch["clear"], batch["number"], strict=True):
            assert (hazy[..., 0] == number).all()
            np.testing.assert_array_equal(clear, clear_of(hazy))
            # All pixels of one 24x24 window, each once, in any orientation.
            rows, columns = np.unique(hazy[..., 1]) // 2, np.unique(hazy[..., 2]) // 2
            assert len(rows) == len(columns) == 24 == np.ptp(rows) + 1 == np.ptp(columns) + 1
            height, width = SIZES[number % len(SIZES)]
            assert rows[-1] < height and columns[-1] < width


# --------------------------------------------------------------------------------------- augmentation
def test_windows_and_orientations_cover_everything(ten_pairs):
    processor = DehazeDataProcessor(ten_pairs, batch_size=50, crop_size=32, seed=1)
    batch = joined(take(processor.dataset(), 24))  # 1200 pairs
    corners, orientations = set(), np.zeros((2, 2, 2), int)
    for hazy, number in zip(batch["hazy"], batch["number"], strict=True):
        plane = hazy[..., 1:].astype(int) // 2  # (row, column) in the image, at each place
        transposed = int(plane[0, 0, 0] == plane[0, 1, 0])  # 1: a row of the image is still a row
        orientations[transposed, int(plane[0, 0, 0] < plane[-1, -1, 0]), int(plane[0, 0, 1] < plane[-1, -1, 1])] += 1
        if number % 3 == 0:  # 40 x 56: 9 x 25 windows
            corners.add((plane[..., 0].min(), plane[..., 1].min()))
    assert corners <= {(y, x) for y in range(9) for x in range(25)}
    assert {y for y, _ in corners} == set(range(9)) and {x for _, x in corners} == set(range(25))
    # Eight symmetries, 150 expected of each; five standard deviations are 57.
    assert orientations.min() > 90 and orientations.max() < 210, orientations


def test_crop_of_the_whole_image_and_without_augmentation(ten_pairs):
    plain = DehazeDataProcessor(ten_pairs, batch_size=5, crop_size=32, flip=False, rot90=False)
    for batch in take(plain.dataset(), 6):
        for hazy, number in zip(batch["hazy"], batch["number"], strict=True):
            y, x = hazy[0, 0, 1] // 2, hazy[0, 0, 2] // 2
            height, width = SIZES[number % 3]
            expected = number_image(number, height=height, width=width)[y : y + 32, x : x + 32]
            np.testing.assert_array_equal(hazy, expected)


def test_an_epoch_sees_new_crops(ten_pairs):
    processor = DehazeDataProcessor(ten_pairs, batch_size=COUNT, crop_size=16)
    first, second = take(processor.dataset(), 2)
    crops = [{n: p.tobytes() for n, p in zip(b["number"], b["hazy"], strict=True)} for b in (first, second)]
    assert sum(crops[0][number] == crops[1][number] for number in range(COUNT)) <= 1


@pytest.mark.parametrize("form", ["color", "gray", "full_chroma"])
def test_jpeg_crops_equal_pillow_pixel_by_pixel(tmp_path, form):
    """At any position of the window, also where it cuts the decoder's blocks of 16x16."""
    rng = np.random.default_rng(0)
    pairs, pixels = [], []
    for number in range(4):
        smooth = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).resize((75, 53), Image.BICUBIC)
        options = {"subsampling": 0} if form == "full_chroma" else {}
        encoded = encode(np.asarray(smooth.convert("L") if form == "gray" else smooth), "JPEG", **options)
        pixels.append(np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))
        name = f"{number}.jpg"
        pairs.append(records.Pair(str(number), encoded, encoded, 53, 75, name, name))
    data = write_dataset(tmp_path / "jpeg", pairs, shards=2)
    processor = DehazeDataProcessor(data, batch_size=20, crop_size=21, flip=False, rot90=False)
    for batch in take(processor.dataset(), 10):
        for hazy, clear, number in zip(batch["hazy"], batch["clear"], batch["number"], strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(pixels[number], (21, 21, 3))
            equal = (windows[:, :, 0] == hazy).all(axis=(2, 3, 4))
            assert equal.sum() == 1
            np.testing.assert_array_equal(hazy, clear)
    for element in processor.evaluation_dataset().as_numpy_iterator():
        np.testing.assert_array_equal(element["hazy"], pixels[element["number"]])
