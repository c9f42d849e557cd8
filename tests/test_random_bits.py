"""The vectorized Philox generator gives TensorFlow's numbers."""

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.data.pipeline.random_bits import random_bits

SEEDS = np.array(
    [[0, 0], [0, 1], [1, 0], [-1, 5], [5, -1], [2**40, 2**40 + 1], [2**63 - 1, -(2**63)], [123456789, 987654321]]
)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_bits_are_those_of_tensorflow(count):
    options = {"minval": None, "maxval": None, "dtype": tf.uint32, "alg": "philox"}
    expected = [tf.random.stateless_uniform([count], seed=seed, **options).numpy() for seed in SEEDS]
    found = random_bits(SEEDS, count)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, expected)


def test_every_word_of_the_seed_counts():
    rows = random_bits(SEEDS, 4)
    assert len({row.tobytes() for row in rows}) == len(SEEDS)
