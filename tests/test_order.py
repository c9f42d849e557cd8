"""The shuffle: a permutation an epoch, without the weaknesses of TensorFlow's default."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.data.order import shuffled_numbers


def splitmix64(state):
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


@pytest.mark.parametrize("seed", [0, 7, -3])
def test_shuffled_numbers_in_plain_python(seed):
    # The key in Python's own integers, one position at a time, as an independent reference.
    count, positions = 11, [0, 1, 10, 11, 500, 4 * 10**9 + 3, 2**61]
    expected = []
    for position in positions:
        state = splitmix64((splitmix64(seed % 2**64) + position // count) % 2**64)
        key = [splitmix64((state + word) % 2**64) for word in range(3)]
        expected.append(
            int(
                tf.raw_ops.RandomIndexShuffle(
                    index=tf.constant(position % count, tf.int64),
                    seed=tf.constant(key, tf.uint64),
                    max_index=tf.constant(count - 1, tf.int64),
                    rounds=12,
                )
            )
        )
    found = shuffled_numbers(tf.constant(positions, tf.int64), seed=seed, count=count)
    assert found.numpy().tolist() == expected


@pytest.mark.parametrize("count", [1, 2, 3, 54, 5000, 70000])
def test_shuffled_numbers_is_a_permutation(count):
    for epoch in (0, 1, 10**9):
        start = epoch * count
        found = shuffled_numbers(tf.range(start, start + count, dtype=tf.int64), seed=5, count=count).numpy()
        np.testing.assert_array_equal(np.sort(found), np.arange(count))


def test_shuffled_numbers_are_as_good_as_random():
    """Successive epochs, and neighbours within one, must not correlate (as they do with 4 rounds)."""
    count = 60000
    epochs = shuffled_numbers(tf.range(6 * count, dtype=tf.int64), seed=0, count=count).numpy()
    epochs = epochs.reshape(6, count)
    bound = 5 / np.sqrt(count)
    for one, other in itertools.pairwise(epochs):
        assert abs(np.corrcoef(one, other)[0, 1]) < bound
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < bound
    # No short period in the epoch: 600 epochs of 100 records, none twice.
    many = shuffled_numbers(tf.range(600 * 100, dtype=tf.int64), seed=0, count=100).numpy().reshape(600, 100)
    assert len({epoch.tobytes() for epoch in many}) == 600
