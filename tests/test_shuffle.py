"""The shuffle: one permutation per epoch, without the weaknesses of TensorFlow's default."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.data.pipeline.shuffle import shuffled_numbers


def test_order_does_not_change_between_versions():
    """A run that resumes with another version of this package must see the same images."""
    positions = tf.constant([0, 1, 10, 11, 500, 4 * 10**9 + 3, 2**61], tf.int64)
    expected = [
        [838, 893, 513, 58, 618, 93, 165],
        [690, 20, 760, 761, 819, 542, 973],
        [561, 353, 953, 722, 329, 187, 23],
    ]
    found = [shuffled_numbers(positions, seed=seed, count=1000).numpy().tolist() for seed in (0, 7, -3)]
    assert found == expected
    # In a graph, too, with seeds of any size.
    for seed in (0, -3, 2**62 + 1):
        graph = tf.function(lambda positions, seed=seed: shuffled_numbers(positions, seed=seed, count=1000))
        np.testing.assert_array_equal(graph(positions), shuffled_numbers(positions, seed=seed, count=1000))


def test_seeds_and_epochs_do_not_repeat():
    """Neither after 256, as with (seed, epoch) as the key, nor in the high bits of the seed."""
    places = tf.range(100, dtype=tf.int64)
    epochs = shuffled_numbers(tf.range(600 * 100, dtype=tf.int64), seed=0, count=100).numpy().reshape(600, 100)
    seeds = [shuffled_numbers(places, seed=seed, count=100).numpy() for seed in (1, 256, -1, 2**32, 2**62)]
    later = [shuffled_numbers(places + epoch * 100, seed=0, count=100).numpy() for epoch in (2**16, 2**23)]
    assert len({numbers.tobytes() for numbers in [*epochs, *seeds, *later]}) == 600 + 5 + 2


@pytest.mark.parametrize("count", [1, 2, 3, 54, 5000, 70000])
def test_shuffled_numbers_is_a_permutation(count):
    for epoch in (0, 1, 10**9):
        start = epoch * count
        found = shuffled_numbers(tf.range(start, start + count, dtype=tf.int64), seed=5, count=count).numpy()
        np.testing.assert_array_equal(np.sort(found), np.arange(count))


def test_shuffled_numbers_are_as_good_as_random():
    """Successive epochs, and neighbors within one, must not correlate (as they do with 4 rounds)."""
    count = 60000
    epochs = shuffled_numbers(tf.range(6 * count, dtype=tf.int64), seed=0, count=count).numpy()
    epochs = epochs.reshape(6, count)
    bound = 5 / np.sqrt(count)
    for one, other in itertools.pairwise(epochs):
        assert abs(np.corrcoef(one, other)[0, 1]) < bound
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < bound
