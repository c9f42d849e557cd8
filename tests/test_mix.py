"""The mix: each part of a data set gets its share of the training images, in an order that any step can start from."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from configuring import load
from record_sets import make_pair, write_dataset
from refusals import refusal

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.data.pipeline.mix import BLOCK, Mix
from hazeheal.data.pipeline.mix_weights import parse_mix
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.data.pipeline.shuffle import mixed_numbers
from hazeheal.errors import DataError, UsageError

PARTS = ("rice1",) * 5 + ("sots",) * 20 + ("sots/night",) * 3


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """28 pairs of three parts, whose prefixes overlap."""
    directory = tmp_path_factory.mktemp("mix") / "set"
    pairs = [make_pair(number) for number in range(len(PARTS))]
    for number, part in enumerate(PARTS):
        object.__setattr__(pairs[number], "hazy_source", f"{part}/{number:03d}.png")
    write_dataset(directory, pairs)
    return directory


def part_of(numbers):
    return collections.Counter(PARTS[number] for number in numbers)


def test_each_part_gets_its_share_and_each_pair_its_turn(data_dir):
    mix = Mix("rice1/=3, sots/=6, sots/night/=1", records.open_split(data_dir, "train"))
    assert mix.counts == [300, 600, 100]
    assert "rice1/ 30.0% (5 pairs), sots/ 60.0% (20 pairs)" in mix.describe()
    numbers = mixed_numbers(tf.range(3 * BLOCK, dtype=tf.int64), seed=4, mix=mix).numpy()
    for block in numbers.reshape(3, BLOCK):
        assert part_of(block) == {"rice1": 300, "sots": 600, "sots/night": 100}
    uses = collections.Counter(numbers.tolist())
    for part, each in (("rice1", 180), ("sots", 90), ("sots/night", 100)):
        assert {uses[number] for number, name in enumerate(PARTS) if name == part} == {each}, part


def test_the_order_is_mixed_and_depends_on_the_seed(data_dir):
    mix = Mix("rice1/=1,=1", records.open_split(data_dir, "train"))
    orders = [mixed_numbers(tf.range(2 * BLOCK, dtype=tf.int64), seed=seed, mix=mix).numpy() for seed in (0, 1)]
    assert (orders[0] != orders[1]).mean() > 0.8
    first = np.array([PARTS[number] == "rice1" for number in orders[0]]).reshape(2, BLOCK)
    assert (first[0] != first[1]).mean() > 0.3  # blocks differ
    assert 0.4 < (first[0, 1:] != first[0, :-1]).mean() < 0.6  # neighbors come from either part


def test_any_position_can_be_computed_alone(data_dir):
    mix = Mix("rice1/=1,sots=2", records.open_split(data_dir, "train"))
    far = 4 * 10**9 + 3
    together = mixed_numbers(tf.range(far, far + 50, dtype=tf.int64), seed=-3, mix=mix).numpy()
    alone = [int(mixed_numbers(tf.constant([far + i], tf.int64), seed=-3, mix=mix)[0]) for i in range(50)]
    assert together.tolist() == alone


def test_batches_follow_the_mix_and_resume_at_any_step(data_dir):
    processor = DehazeDataProcessor(data_dir, batch_size=4, crop_size=16, mix="rice1/=1,sots/=1,sots/night/=0", seed=2)
    batches = [batch["number"].numpy() for batch in processor.dataset().take(BLOCK // 4)]
    assert part_of(np.concatenate(batches)) == {"rice1": 500, "sots": 500}
    later = [batch["number"].numpy() for batch in processor.dataset(start_step=100).take(20)]
    np.testing.assert_array_equal(later, batches[100:120])


def test_small_shares_are_not_lost(data_dir):
    mix = Mix("rice1/=0.00001,sots/=1,sots/night/=1", records.open_split(data_dir, "train"))
    assert mix.counts[0] == 1
    assert sum(mix.counts) == BLOCK


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rice1/", "mix=rice1/: 'rice1/' is not PREFIX=WEIGHT"),
        ("rice1/=1,sots/=many", "'sots/=many' is not PREFIX=WEIGHT"),
        ("rice1/=-1", "is not PREFIX=WEIGHT with a weight of 0 or more"),
        ("rice1/=nan", "is not PREFIX=WEIGHT"),
        ("rice1/=inf", "is not PREFIX=WEIGHT"),
        ("rice1/=1,", "'' is not PREFIX=WEIGHT"),
        ("a=1,b=2,a=3", "has the prefix 'a' twice"),
        ("a=0", "leaves all pairs out"),
    ],
)
def test_an_invalid_mix_is_refused(text, reason):
    assert reason in refusal(UsageError, parse_mix, text)
    assert reason in refusal(UsageError, load, f"data.mix={text}")


def test_a_mix_that_does_not_fit_the_files_is_refused(data_dir):
    split = records.open_split(data_dir, "train")
    config = load("data.mix=rice1/=1")
    message = refusal(UsageError, configs.check_mix, config, split)
    assert message.startswith("--config.data.mix=rice1/=1 has no part for sots/005.png")
    message = refusal(UsageError, configs.check_mix, load("data.mix=rice1/=1,sots=1,dense/=1"), split)
    assert "no hazy file of split train begins with 'dense/'" in message
    assert "they begin with rice1/, sots/" in message
    configs.check_mix(load("data.mix="), split)


def test_a_damaged_list_of_sources_is_named(data_dir, tmp_path):
    split = records.open_split(data_dir, "train")
    lines = split.sources.read_text(encoding="utf-8").splitlines(keepends=True)
    damaged = tmp_path / "sources.jsonl"
    damaged.write_text("".join(lines[:-1]), encoding="utf-8")
    object.__setattr__(split, "sources", damaged)
    assert "lists 27 records, not 28" in refusal(DataError, Mix, "=1", split)
