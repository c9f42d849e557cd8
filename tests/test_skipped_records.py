"""Damaged records are skipped with on_bad_record=skip: the next intact record is used, and each is logged once."""

import dataclasses
import json
import logging

import numpy as np
import processes
import pytest
import tensorflow as tf
from record_sets import (
    COUNT,
    SIZES,
    assert_equal,
    clear_of,
    first_error,
    flip_byte,
    joined,
    lose,
    make_pair,
    number_image,
    take,
    write_dataset,
)

from hazeheal.data.pipeline import augment
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.data.pipeline.random_bits import random_bits
from hazeheal.data.pipeline.shuffle import shuffled_numbers
from hazeheal.errors import DataError

# -------------------------------------------------------------------------- damaged records are skipped
SKIP = {"on_bad_record": "skip"}


@pytest.fixture
def warnings(tmp_path):
    """A function that lets a processor log its bad records, and returns all lines about this test's files so far."""
    lines, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())

    def so_far(processor):
        processor.log_bad_records()
        return [line for line in lines if str(tmp_path) in line]

    logging.getLogger("hazeheal").addHandler(handler)
    yield so_far
    logging.getLogger("hazeheal").removeHandler(handler)


@pytest.fixture
def damage(tmp_path):
    """damage([5, 7]) writes the ten pairs and flips a byte in records 5 and 7."""

    def make(numbers, count=COUNT):
        data = write_dataset(tmp_path / "damaged", [make_pair(i) for i in range(count)])
        for number in numbers:
            flip_byte(data, number)
        return data

    return make


def in_order(positions, seed=0):
    return shuffled_numbers(tf.constant(positions, tf.int64), seed=seed, count=COUNT).numpy().tolist()


def oracle(bad, steps, *, seed=0, batch_size=4, size=16):
    """The batches of these steps where the records `bad` are damaged, one example after the other."""
    batches = []
    for step in steps:
        batch = {"hazy": [], "clear": [], "number": []}
        for position in range(step * batch_size, (step + 1) * batch_size):
            number = next(n for n in in_order(range(position, position + 17), seed) if n not in bad)
            height, width = SIZES[number % len(SIZES)]
            bits = [random_bits(np.array([[seed, 2 * position + odd]]), 2) for odd in (0, 1)]
            y, x = augment.random_crops(bits[0], np.int32([[height, width]]), crop_size=size).numpy()[0, :2]
            image = number_image(number, height=height, width=width)
            hazy = image[y : y + size, x : x + size]
            orientation = augment.random_orientations(bits[1])
            hazy, clear = augment.orient(np.stack([hazy, clear_of(hazy)]), tf.repeat(orientation, 2))
            for name, value in (("hazy", hazy), ("clear", clear), ("number", number)):
                batch[name].append(np.asarray(value))
        batches.append({name: np.stack(values) for name, values in batch.items()})
    return batches


def test_the_oracle_gives_the_batches_of_intact_records(ten_pairs):
    for options in ({}, SKIP):
        processor = DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16, seed=3, **options)
        assert_equal(take(processor.dataset(1), 6), oracle((), range(1, 7), seed=3))
        assert processor.bad_records == ()


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("start", [0, 7])
def test_the_next_intact_record_replaces_a_damaged_one(damage, replicas, start):
    # Positions 8 to 10, across the end of an epoch and in one batch; the record of 9 is that of 10, too.
    bad = set(in_order([8, 9, 10]))
    assert len(bad) == 2
    options = dict(batch_size=4, crop_size=16, num_replicas=replicas, **SKIP)
    processor = DehazeDataProcessor(damage(bad), **options)
    parts = take(processor.dataset(start), 8 * replicas)
    batches = [joined(parts[i : i + replicas]) for i in range(0, len(parts), replicas)]
    assert_equal(batches, oracle(bad, range(start, start + 8)))
    assert not bad & set(joined(batches)["number"])
    assert processor.bad_records == tuple(sorted(bad))


def test_local_replicas_find_the_same_substitutes(damage):
    data = damage([2, 3, 4])
    options = dict(batch_size=8, crop_size=16, num_replicas=4, **SKIP)
    everything = take(DehazeDataProcessor(data, **options).dataset(3), 12)
    for replica in range(4):
        part = take(DehazeDataProcessor(data, local_replicas=[replica], **options).dataset(3), 3)
        assert_equal(part, everything[replica::4])


@pytest.mark.parametrize("kind", ["local", "gfile"])
@pytest.mark.parametrize("how", ["truncated", "gone"])
def test_a_shard_that_vanishes_during_training_is_skipped(damage, kind, how):
    data = damage([])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, reader=kind, **SKIP)
    iterator = iter(processor.dataset())
    assert_equal([{name: value.numpy() for name, value in next(iterator).items()}], oracle((), [0]))
    lose(data / "tiny-train.tfrecord-00001-of-00003", how)
    lost = {4, 5, 6}
    seen = [set(next(iterator)["number"].numpy()) for _ in range(60)]
    assert not lost & set.union(*seen[40:])  # those before may have been read already
    assert processor.bad_records == tuple(sorted(lost))
    assert_equal(take(processor.dataset(2), 6), oracle(lost, range(2, 8)))


@pytest.mark.parametrize(
    ("bad", "numbers"),
    [
        ([5], [0, 1, 2, 3, 4, 6, 6, 7, 8, 9]),
        ([3, 4, 9], [0, 1, 2, 5, 5, 5, 6, 7, 8, 0]),
        (range(1, 10), [0] * 10),
    ],
)
def test_evaluation_uses_the_next_intact_record(damage, bad, numbers):
    processor = DehazeDataProcessor(damage(bad), batch_size=1, **SKIP)
    elements = list(processor.evaluation_dataset().as_numpy_iterator())
    assert [element["number"] for element in elements] == numbers
    for number, element in zip(numbers, elements, strict=True):
        height, width = SIZES[number % 3]
        hazy = number_image(number, height=height, width=width)
        np.testing.assert_array_equal(element["hazy"], hazy)
        np.testing.assert_array_equal(element["clear"], clear_of(hazy))
    assert processor.bad_records == tuple(bad)
    shared = [
        [int(element["number"]) for element in processor.evaluation_dataset(replica=r, replicas=4)] for r in range(4)
    ]
    assert shared == [numbers[r::4] for r in range(4)]


@pytest.mark.parametrize("kind", ["local", "gfile"])
def test_without_any_intact_record_the_first_is_named(damage, kind, warnings):
    processor = DehazeDataProcessor(damage(range(COUNT)), batch_size=4, crop_size=16, reader=kind, **SKIP)
    for dataset, first in ((processor.dataset(), in_order([0])[0]), (processor.evaluation_dataset(), 0)):
        error = first_error(processor, dataset)
        assert isinstance(error, DataError)
        message = str(error)
        assert message.startswith("damaged record: ")
        assert f"(number {first} of split train), key 'é{first:03d}', made of {first:03d}_hazy.png" in message
        assert message.endswith("; 9 other records were tried instead, and none is intact")
        assert "\n" not in message
    assert processor.bad_records == tuple(range(COUNT))
    lines = warnings(processor)
    assert len(lines) == COUNT
    assert all(line.startswith("not skipped, as no intact record follows: ") for line in lines)


def test_sixteen_other_records_are_tried(damage):
    data = damage(range(3, 19), count=22)
    dataset = DehazeDataProcessor(data, batch_size=1, **SKIP).evaluation_dataset()
    numbers = [int(element["number"]) for element in dataset]
    assert numbers == [0, 1, 2] + [19] * 17 + [20, 21]
    flip_byte(data, 19)
    processor = DehazeDataProcessor(data, batch_size=1, **SKIP)
    error = first_error(processor, processor.evaluation_dataset())
    assert "(number 3 of split train)" in str(error) and "; 16 other records were tried instead" in str(error)


def test_each_damaged_record_is_logged_once(damage, warnings):
    data = damage([1, 5])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, num_replicas=2, **SKIP)
    take(processor.dataset(), 40)  # eight epochs
    take(processor.dataset(3), 4)
    list(processor.evaluation_dataset())
    first, second = warnings(processor)
    assert first.startswith(f"skipped: damaged record: {data / 'tiny-train.tfrecord-00000-of-00003'}, record 1 ")
    assert "key 'é001', made of 001_hazy.png and 001_GT.png: CRC32 is " in first
    assert first.endswith("; the next intact record is used instead")
    assert "record 1 (number 5 of split train), key 'é005'" in second
    lines = warnings(processor)
    assert len(lines) == 2 and all("\n" not in line for line in lines)


def test_a_restored_count_is_not_logged_again(damage, warnings):
    data = damage([1, 5])
    before = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    take(before.dataset(), 5)
    assert before.bad_records == (1, 5) and len(warnings(before)) == 2
    flip_byte(data, 7)
    resumed = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    resumed.note_bad_records(json.loads(json.dumps(before.bad_records)))
    assert resumed.bad_records == (1, 5)
    assert_equal(take(resumed.dataset(5), 6), oracle({1, 5, 7}, range(5, 11)))
    assert resumed.bad_records == (1, 5, 7)
    (line,) = warnings(resumed)[2:]
    assert "'é007'" in line


def test_a_record_that_is_intact_again_is_used_again(damage):
    data = damage([1, 5])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    assert_equal(take(processor.dataset(), 5), oracle({1, 5}, range(5)))
    flip_byte(data, 5)
    assert_equal(take(processor.dataset(), 5), oracle({1}, range(5)))
    assert processor.bad_records == (1, 5)


def test_one_damaged_pair_alone_has_no_substitute(tmp_path):
    data = write_dataset(tmp_path / "one", [make_pair(0)], shards=1)
    flip_byte(data, 0)
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    assert "; 0 other records were tried instead" in str(first_error(processor, processor.dataset()))


def test_an_image_that_cannot_be_decoded_is_still_named(tmp_path):
    pairs = [make_pair(i, "JPEG") for i in range(COUNT)]
    pairs[6] = dataclasses.replace(pairs[6], clear=pairs[6].clear[:300])  # of the right CRC
    data = write_dataset(tmp_path / "broken", pairs)
    flip_byte(data, 5)
    for make in (
        DehazeDataProcessor.dataset,
        DehazeDataProcessor.evaluation_dataset,
        # Only record 5, which record 6 replaces.
        lambda processor: processor.evaluation_dataset(replica=5, replicas=6),
    ):
        processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
        error = first_error(processor, make(processor))
        assert "cannot be decoded" in str(error) and "006_GT.png" in str(error) and "\n" not in str(error)


def test_other_errors_are_not_explained_by_damaged_records(damage):
    data = damage([1, 5])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    take(processor.dataset(), 5)
    (data / "tiny-train.tfrecord-00001-of-00003").unlink()
    assert processor.translate_error(tf.errors.ResourceExhaustedError(None, None, "out of memory")) is None


def test_garbage_collection_during_a_warning_does_not_block(ten_pairs):
    """Python collects an abandoned iterator, whose own reads find damage, in a handler."""
    code = f"""
import gc, logging, time
from hazeheal.data.pipeline import record_reader
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.errors import DataError
gc.disable()
read = record_reader.RecordReader.read
def slow(self, number):
    if self is abandoned._records._reader:
        time.sleep(0.02)
    if number % 2:
        raise DataError(f"record {{number}}")
    return read(self, number)
record_reader.RecordReader.read = slow
class Collecting(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
        if todo:
            todo.pop()
            gc.collect()
lines, todo = [], []
logging.getLogger("hazeheal").addHandler(Collecting())
make = lambda: DehazeDataProcessor({str(ten_pairs)!r}, batch_size=2, crop_size=16, on_bad_record="skip")
abandoned, collecting = make(), make()
cycle = [iter(abandoned.dataset())]
next(cycle[0])
cycle.append(cycle)
del cycle
todo.append("collect")
count = 0
for batch in collecting.dataset().take(20):
    collecting.log_bad_records()
    count += 1
print(count, len(lines), todo, len(collecting.bad_records))
"""
    code, out, err = processes.run_python(code)
    assert code == 0, err
    assert out.splitlines()[-1] == "20 5 [] 5"
