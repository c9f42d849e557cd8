"""The training order: the record at each position, as a function of (seed, position).

Each epoch is one permutation of all records, or of the parts of a mix (`mix`). Any position can be computed in O(1) time and memory, so a run can start
at any step.
"""

import tensorflow as tf

from hazeheal.data.pipeline.mix import BLOCK, Mix

# The cipher of index_shuffle uses 4 rounds by default, which is too few: with 60,000 records the orders of two
# successive epochs correlate with 0.89, and with 1,000,000 the records of neighboring places with 0.41. With 12
# rounds both are as for random permutations (0.003 and 0.001), at 0.1 microseconds per record.
SHUFFLE_ROUNDS = 12


def shuffled_numbers(positions: tf.Tensor, *, seed: int, count: int) -> tf.Tensor:
    """Returns the record at each position of the endless shuffled sequence.

    Position p is place p % count of epoch p // count, and each record has one place in each epoch. The permutation is
    `tf.random.experimental.index_shuffle` (a cipher like Simon, cycle-walked to `count`) with more rounds and another
    key. For up to 65,536 records the cipher uses 8 bits of each of the three words of its key. With (seed, epoch) as
    the key, seeds 0 and 256 would be equal, and epochs would repeat after 256. So word i of the key is
    hash(seed, i) + (epoch >> 8 i).

    The positions are `[n]` int64, at least 0, and the result is `[n]` int64 in [0, count). The lowest 64 bits of `seed`
    are used.
    """
    # The cipher uses at most 32 bits of a word.
    base = tf.constant([_hash(seed + _hash(word)) % 2**32 for word in range(3)], tf.int64)
    epoch = positions // count
    key = base + tf.bitwise.right_shift(epoch[:, tf.newaxis], [[0, 8, 16]])
    # The operation requires a vector for max_index if the key is one.
    last = tf.fill(tf.shape(positions), tf.constant(count - 1, tf.int64))
    return tf.raw_ops.RandomIndexShuffle(index=positions % count, seed=key, max_index=last, rounds=SHUFFLE_ROUNDS)


def mixed_numbers(positions: tf.Tensor, *, seed: int, mix: Mix) -> tf.Tensor:
    """Returns the record at each position of the endless sequence of a mix, as `shuffled_numbers` does.

    Position p is in block p // BLOCK, whose slots are shuffled. Slots are assigned to the parts in turn, so the slot
    gives the part and the place in the shuffled sequence of the part.
    """
    block, slots = positions // BLOCK, shuffled_numbers(positions, seed=seed, count=BLOCK)
    numbers, first = tf.zeros_like(positions), 0
    for index, (part, count) in enumerate(zip(mix.parts, mix.counts, strict=True), start=1):
        rank = tf.clip_by_value(slots - first, 0, count - 1)
        place = shuffled_numbers(block * count + rank, seed=_hash(seed + _hash(index)), count=len(part))
        inside = (slots >= first) & (slots < first + count)
        numbers = tf.where(inside, tf.gather(part, place), numbers)
        first += count
    return numbers


def _hash(number: int) -> int:
    """SplitMix64 (Steele, Lea, Flood 2014): 64 bits, each of which depends on every bit of `number`."""
    number = (number + 0x9E3779B97F4A7C15) % 2**64
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) % 2**64
    return number ^ (number >> 31)
