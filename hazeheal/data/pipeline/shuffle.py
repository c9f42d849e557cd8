"""The order of training: which record lies at which position, as a function of (seed, position).

One permutation of all records an epoch, O(1) in time and memory wherever one begins, so that any step
of a run can be its first.
"""

import tensorflow as tf

# index_shuffle's cipher takes 4 rounds by default, too few: over 60,000 records the orders of two
# successive epochs correlate with 0.89, and over 1,000,000 the records of neighboring places with 0.41.
# With 12 both are as for random permutations (0.003 and 0.001), at 0.1 microseconds a record.
SHUFFLE_ROUNDS = 12


def shuffled_numbers(positions, *, seed, count):
    """Which record lies at each position of the endless shuffled sequence.

    Position p is place p % count of epoch p // count; in each epoch each record has one place. The
    permutation is that of `tf.random.experimental.index_shuffle` (a cipher like Simon, cycle-walked to
    `count`), with more rounds and another key. With up to 65,536 records the cipher takes 8 bits of each
    of the three words of its key; with (seed, epoch) for a key, seeds 0 and 256 would be the same, and
    the epochs would repeat after 256. So word i of the key is hash(seed, i) + (epoch >> 8 i).

    Args:
        positions: [n] int64, at least 0.
        seed: Python integer; its lowest 64 bits count.
        count: Number of records.

    Returns:
        [n] int64 in [0, count).
    """
    # 32 bits are all that the cipher can use of a word.
    base = tf.constant([_hash(seed + _hash(word)) % 2**32 for word in range(3)], tf.int64)
    epoch = positions // count
    key = base + tf.bitwise.right_shift(epoch[:, tf.newaxis], [[0, 8, 16]])
    # The operation wants max_index to be a vector where the key is one.
    last = tf.fill(tf.shape(positions), tf.constant(count - 1, tf.int64))
    return tf.raw_ops.RandomIndexShuffle(
        index=positions % count, seed=key, max_index=last, rounds=SHUFFLE_ROUNDS
    )


def _hash(number):
    """SplitMix64 (Steele, Lea, Flood 2014): 64 bits, each of which depends on every bit of `number`."""
    number = (number + 0x9E3779B97F4A7C15) % 2**64
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) % 2**64
    return number ^ (number >> 31)
