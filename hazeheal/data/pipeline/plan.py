"""The plan of a training: what is read and drawn for each position, as a function of (seed, position) alone.

With global batch B, step t takes the positions p = t B + i, i = 0..B-1; replica r takes i = r b..(r + 1) b - 1 with
b = B / replicas. Position p is place p % N of epoch p // N, and each epoch is another permutation of all N pairs,
unless a mix says how often each part of them is used.
Everything is computed for many batches at once, which costs a few microseconds per image.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline import augment
from hazeheal.data.pipeline.mix import Mix
from hazeheal.data.pipeline.random_bits import random_bits
from hazeheal.data.pipeline.shuffle import mixed_numbers, shuffled_numbers

IMAGES_PER_CALL = 512  # planned at once


def plan_dataset(
    *,
    start_step: int,
    batch_size: int,
    num_replicas: int,
    local_replicas: Sequence[int],
    seed: int,
    count: int,
    num_candidates: int,
    mix: Mix | None = None,
) -> tf.data.Dataset:
    """Returns the plans of all batches from `start_step` on, without end: one for each local replica, then the next step.

    Args:
        start_step: First step.
        batch_size, num_replicas: The global batch and the number of replicas that share it.
        local_replicas: Numbers of the replicas that this process feeds.
        seed: The run's.
        count: Number of pairs of the split, N.
        num_candidates: How many records to name for each position; all but the first replace damaged ones.
        mix: How often each part of the pairs is used; None: all pairs equally often.

    Returns:
        Dataset of {`position`: int64 `[b]`; `candidates`: int64 `[b, num_candidates]`, the records at this position and
        at those that follow; `crop_bits`: uint32 `[b, WINDOW_BITS]`; `orientation_bits`: uint32 `[b, ORIENTATION_BITS]`}.
    """
    share = batch_size // num_replicas
    local = tf.constant(tuple(local_replicas), tf.int64)
    widths = {"crop_bits": augment.WINDOW_BITS, "orientation_bits": augment.ORIENTATION_BITS}

    @tf.autograph.experimental.do_not_convert
    def draw(positions):
        words = [np.stack([np.full(positions.size, seed), 2 * positions.ravel() + odd], axis=1) for odd in (0, 1)]
        bits = [random_bits(seeds, width) for seeds, width in zip(words, widths.values(), strict=True)]
        return [values.reshape(*positions.shape, -1) for values in bits]

    def plan(turns):
        steps, replicas = turns // len(local_replicas), tf.gather(local, turns % len(local_replicas))
        first = steps * batch_size + replicas * share
        positions = tf.ensure_shape(first[:, tf.newaxis] + tf.range(share, dtype=tf.int64), [None, share])
        places = positions[..., tf.newaxis] + tf.range(num_candidates, dtype=tf.int64)
        places = tf.reshape(places, [-1])
        if mix is None:
            numbers = shuffled_numbers(places, seed=seed, count=count)
        else:
            numbers = mixed_numbers(places, seed=seed, mix=mix)
        bits = tf.numpy_function(draw, [positions], [tf.uint32] * len(widths), stateful=False)
        return {
            "position": positions,
            "candidates": tf.reshape(numbers, [-1, share, num_candidates]),
            **{
                name: tf.ensure_shape(values, [None, share, width])
                for (name, width), values in zip(widths.items(), bits, strict=True)
            },
        }

    turns = tf.data.Dataset.counter(start_step * len(local_replicas))
    turns_per_call = max(1, IMAGES_PER_CALL // (share * num_candidates))
    return turns.batch(turns_per_call).map(plan, num_parallel_calls=1).unbatch()
