"""DehazeDataProcessor: order, replicas, resume, evaluation and invalid arguments."""

import time

import numpy as np
import pytest
import tensorflow as tf
from configuring import load
from record_sets import (
    COUNT,
    SIZES,
    assert_equal,
    clear_of,
    joined,
    make_pair,
    number_image,
    take,
    write_dataset,
)

from hazeheal.data.pipeline import augment, sources
from hazeheal.data.pipeline import processor as processor_module
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.data.pipeline.shuffle import shuffled_numbers
from hazeheal.errors import DataError, UsageError


def test_every_pair_appears_once_per_epoch_with_batches_across_epochs(ten_pairs):
    processor = DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16)
    assert processor.num_images == COUNT
    seen = np.concatenate([batch["number"] for batch in take(processor.dataset(), 15)])  # 6 epochs, 60 pairs
    epochs = seen.reshape(6, COUNT)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(COUNT), (6, 1)))
    assert len({epoch.tobytes() for epoch in epochs}) == 6


def test_order_differs_by_seed_and_is_the_documented_function(ten_pairs):
    first = {}
    for seed in (0, 1, 256, -1, 2**62):
        processor = DehazeDataProcessor(ten_pairs, batch_size=5, crop_size=16, seed=seed)
        numbers = np.concatenate([batch["number"] for batch in take(processor.dataset(7), 4)])
        expected = shuffled_numbers(tf.range(35, 55, dtype=tf.int64), seed=seed, count=COUNT)
        np.testing.assert_array_equal(numbers, expected)
        first[seed] = numbers.tobytes()
    assert len(set(first.values())) == 5


def test_equal_arguments_give_equal_batches_with_any_number_of_workers(ten_pairs):
    batches = [
        take(DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16, seed=9, workers=workers).dataset(2), 12)
        for workers in (1, 4, 4)
    ]
    assert_equal(batches[0], batches[1])
    assert_equal(batches[1], batches[2])


# ------------------------------------------------------------------------------------------- replicas
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_share_the_same_global_batches(ten_pairs, replicas):
    whole = take(DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16).dataset(), 6)
    parts = take(
        DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16, num_replicas=replicas).dataset(),
        6 * replicas,
    )
    assert all(len(part["number"]) == 4 // replicas for part in parts)
    assert_equal(whole, [joined(parts[i : i + replicas]) for i in range(0, len(parts), replicas)])


@pytest.mark.parametrize("local", [range(0, 1), range(2, 4), [1, 3]])
def test_local_replicas_get_their_batches(ten_pairs, local):
    options = dict(batch_size=8, crop_size=16, num_replicas=4)
    everything = take(DehazeDataProcessor(ten_pairs, **options).dataset(3), 12)
    part = take(DehazeDataProcessor(ten_pairs, local_replicas=local, **options).dataset(3), 3 * len(local))
    assert_equal(part, [everything[4 * step + replica] for step in range(3) for replica in local])


def test_resume_is_a_skip(ten_pairs):
    processor = DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16, num_replicas=2)
    assert_equal(take(processor.dataset(7), 6), take(processor.dataset().skip(7 * 2), 6))


def test_far_steps_start_at_once_and_do_not_overflow(ten_pairs):
    processor = DehazeDataProcessor(ten_pairs, batch_size=6, crop_size=16, seed=2**63 - 1, num_replicas=2)
    step = 10**15
    numbers = np.concatenate([batch["number"] for batch in take(processor.dataset(step), 2)])
    positions = tf.range(step * 6, step * 6 + 6, dtype=tf.int64)
    np.testing.assert_array_equal(numbers, shuffled_numbers(positions, seed=2**63 - 1, count=COUNT))


def test_one_pair_serves_a_larger_batch(tmp_path):
    data = write_dataset(tmp_path / "one", [make_pair(0)], shards=1)
    batches = take(DehazeDataProcessor(data, batch_size=8, crop_size=16).dataset(), 4)
    assert all((batch["number"] == 0).all() for batch in batches)
    assert len({image.tobytes() for batch in batches for image in batch["hazy"]}) > 16


def test_feeds_a_mirrored_strategy(ten_pairs):
    def make(replicas):
        options = {"batch_size": 4, "crop_size": 16, "num_replicas": replicas}
        return DehazeDataProcessor(ten_pairs, **options).dataset(5)

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    iterator = iter(strategy.distribute_datasets_from_function(lambda context: make(2)))
    for whole in take(make(1), 3):
        parts = strategy.experimental_local_results(next(iterator))
        for name in ("hazy", "clear", "number"):
            found = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(found, whole[name])


def test_relit_pairs_are_the_same_scenes_in_the_light_of_their_position(ten_pairs):
    options = {"batch_size": 4, "crop_size": 16, "seed": 5}
    light = {"relight_share": 0.5, "relight_darkest": 0.3, "relight_tint": 0.2}
    plain, relit = (
        take(DehazeDataProcessor(ten_pairs, **options, **more).dataset(start_step=2), 4) for more in ({}, light)
    )
    changed = 0
    for step, (before, after) in enumerate(zip(plain, relit, strict=True), start=2):
        for place in range(4):
            position = tf.constant(4 * step + place, tf.int64)
            light = augment.draw_light(seed=5, position=position, share=0.5, darkest=0.3, tint=0.2)
            changed += bool((light < 1).numpy().any())
            for name in ("hazy", "clear"):
                expected = augment.relight(tf.constant(before[name][place]), light).numpy()
                np.testing.assert_array_equal(after[name][place], expected)
    assert 0 < changed < 16


def test_only_training_pairs_are_relit(data):
    def of(split, share):
        config = load("data.crop_size=16", "model.depth=1", f"data.relight_share={share}", "train.batch_size=4")
        return DehazeDataProcessor.from_config(config, data, split=split)

    for split in ("train", "val"):
        assert_equal(*(list(of(split, share).evaluation_dataset().as_numpy_iterator()) for share in (0.0, 1.0)))
    plain, relit = (joined(take(of("train", share).dataset(), 2))["clear"] for share in (0.0, 1.0))
    assert (relit.mean((1, 2, 3)) < plain.mean((1, 2, 3))).all()


def test_evaluation_gives_whole_images_in_order(ten_pairs):
    dataset = DehazeDataProcessor(ten_pairs, batch_size=1).evaluation_dataset()
    assert dataset.element_spec["hazy"] == tf.TensorSpec([None, None, 3], tf.uint8)
    elements = list(dataset.as_numpy_iterator())
    assert [element["number"] for element in elements] == list(range(COUNT))
    for number, element in enumerate(elements):
        height, width = SIZES[number % 3]
        expected = number_image(number, height=height, width=width)
        np.testing.assert_array_equal(element["hazy"], expected)
        np.testing.assert_array_equal(element["clear"], clear_of(expected))


def test_evaluation_is_shared_between_replicas(ten_pairs):
    processor = DehazeDataProcessor(ten_pairs, batch_size=1)
    found = [
        [int(element["number"]) for element in processor.evaluation_dataset(replica=r, replicas=4)] for r in range(4)
    ]
    assert found == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]


@pytest.mark.parametrize(("pairs", "ahead"), [(100, 4), (2.5, 2), (0.1, 1)])
def test_few_large_pairs_are_decoded_ahead(ten_pairs, monkeypatch, pairs, ahead):
    """`pairs` of the largest size may be decoded ahead; there are 4 workers."""
    decode, decoded = sources.decode_image, []

    def counted(*args):
        tf.py_function(lambda: decoded.append(None), [], [])
        return decode(*args)

    monkeypatch.setattr(sources, "decode_image", counted)
    monkeypatch.setattr(processor_module, "DECODED_PIXELS", int(pairs * max(h * w for h, w in SIZES)))
    images = iter(DehazeDataProcessor(ten_pairs, batch_size=1, workers=4).evaluation_dataset())
    next(images)
    deadline = time.monotonic() + 30
    while len(decoded) < 2 * (1 + ahead) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(decoded) == 2 * (1 + ahead), "two images of each pair, and of the one that was taken"


# --------------------------------------------------------------------------------------------- refusal
def test_a_batch_that_does_not_divide_is_refused(ten_pairs):
    with pytest.raises(UsageError) as caught:
        DehazeDataProcessor(ten_pairs, batch_size=5, crop_size=16, num_replicas=2)
    assert str(caught.value) == "batch_size=5 does not divide over 2 replicas; use 4 or 6"
    with pytest.raises(UsageError, match=r"batch_size=1 does not divide over 2 replicas; use 2$"):
        DehazeDataProcessor(ten_pairs, batch_size=1, crop_size=16, num_replicas=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 must be a positive integer"),
        ({"crop_size": 0}, "crop_size=0 must be a positive integer"),
        ({"reader": "mmap"}, "reader='mmap' is not valid; use one of auto, local, gfile"),
        ({"on_bad_record": "drop"}, "on_bad_record='drop' is not valid; use one of fail, skip"),
    ],
)
def test_invalid_values_are_refused(ten_pairs, options, message):
    with pytest.raises(UsageError, match=message):
        DehazeDataProcessor(ten_pairs, **{"batch_size": 4, "crop_size": 16} | options)


def test_a_crop_larger_than_an_image_is_refused(ten_pairs):
    DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=32)
    with pytest.raises(UsageError) as caught:
        DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=33)
    message = str(caught.value)
    assert message.startswith("crop_size=33 is larger than the smallest image, 32x32 pixels: ")
    assert "'é001'" in message and message.endswith("use 32 or less")


def test_a_seed_of_more_than_64_bits_is_refused(ten_pairs):
    with pytest.raises(UsageError, match="seed=9223372036854775808"):
        DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16, seed=2**63)


def test_refusals_of_the_datasets(ten_pairs, tmp_path):
    with pytest.raises(UsageError, match="crop_size=None is for evaluation only"):
        DehazeDataProcessor(ten_pairs, batch_size=4).dataset()
    with pytest.raises(DataError, match="no split 'val'"):
        DehazeDataProcessor(ten_pairs, split="val", batch_size=4)
    with pytest.raises(DataError, match="hazeheal-tfrecords convert"):
        DehazeDataProcessor(tmp_path / "nothing", batch_size=4)
    empty = write_dataset(tmp_path / "empty", [], shards=1)
    with pytest.raises(DataError, match="has no records"):
        DehazeDataProcessor(empty, batch_size=4)
