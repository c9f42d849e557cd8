"""Damaged records are named: shard, record, source, and what is wrong."""

import dataclasses

import pytest
import tensorflow as tf
from record_sets import COUNT, first_error, flip_byte, lose, make_pair, take, write_dataset, write_ten

from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.errors import DataError


@pytest.mark.parametrize("kind", ["local", "gfile"])
@pytest.mark.parametrize("evaluation", [False, True])
def test_a_flipped_bit_is_named(tmp_path, kind, evaluation):
    data = write_ten(tmp_path / "damaged")
    shard = flip_byte(data, 5)
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, reader=kind)
    error = first_error(processor, processor.evaluation_dataset() if evaluation else processor.dataset())
    assert isinstance(error, DataError)
    for part in (
        str(shard),
        "record 1 (number 5 of split train)",
        "'é005'",
        "005_hazy.png",
        "005_GT.png",
        "CRC32",
    ):
        assert part in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["local", "gfile"])
@pytest.mark.parametrize("how", ["truncated", "gone"])
def test_a_shard_that_vanishes_during_training_is_named(tmp_path, kind, how):
    data = write_ten(tmp_path / "damaged")
    processor = DehazeDataProcessor(data, batch_size=2, crop_size=16, reader=kind)
    iterator = iter(processor.dataset())
    next(iterator)
    shard = data / "tiny-train.tfrecord-00002-of-00003"
    lose(shard, how)
    with pytest.raises(tf.errors.OpError) as caught:
        for _ in range(100):  # more than are read ahead
            next(iterator)
    error = processor.translate_error(caught.value)
    assert isinstance(error, DataError) and str(shard) in str(error) and "_hazy.png" in str(error)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    # Its CRC is right: the bytes were broken before they were written.
    pairs = [make_pair(i, "JPEG") for i in range(COUNT)]
    pairs[6] = dataclasses.replace(pairs[6], clear=pairs[6].clear[:300])
    data = write_dataset(tmp_path / "broken", pairs)
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16)
    for dataset in (processor.dataset(), processor.evaluation_dataset()):
        error = first_error(processor, dataset)
        assert "cannot be decoded" in str(error) and "006_GT.png" in str(error) and "\n" not in str(error)


def test_an_image_of_another_size_than_the_index_is_named(tmp_path):
    pairs = [make_pair(i) for i in range(COUNT)]
    pairs[4] = dataclasses.replace(pairs[4], width=30)
    data = write_dataset(tmp_path / "sizes", pairs)
    processor = DehazeDataProcessor(data, batch_size=4)
    error = first_error(processor, processor.evaluation_dataset())
    assert "number 4 of split train" in str(error) and "size" in str(error)


def test_other_errors_are_not_explained(ten_pairs):
    processor = DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16)
    take(processor.dataset(), 2)
    assert processor.translate_error(ValueError("x")) is None
    assert processor.translate_error(tf.errors.ResourceExhaustedError(None, None, "out of memory")) is None
