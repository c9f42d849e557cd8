"""Random bits of many positions at once: `tf.random.stateless_uniform` with one seed per row, in NumPy.

TensorFlow's function takes a single seed and costs tens of microseconds per call. An image needs two seeds, so calling
it for each image would take as long as decoding a small crop. The bits are the same, so a batch is a function of (seed,
position) whichever of the two computes it.

The generator is Philox4x32 with 10 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011).
"""

import numpy as np

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_SCRAMBLE_KEY = np.uint64(0x3EC8F720), np.uint64(0x02461E29)  # TensorFlow scrambles seeds with this key
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def random_bits(seeds: np.ndarray, count: int) -> np.ndarray:
    """Draws `count` 32-bit integers for each seed.

    Args:
        seeds: int64 `[n, 2]`.
        count: Number of integers per seed.

    Returns:
        uint32 `[n, count]`. Row i equals `tf.random.stateless_uniform([count], seeds[i], minval=None, maxval=None,
        dtype=tf.uint32, alg="philox")`.
    """
    words = seeds.astype(np.int64).view(np.uint64)
    counter = [part for word in (words[:, 0], words[:, 1]) for part in (word & _LOW, word >> _HALF)]
    mixed = _philox(counter, _SCRAMBLE_KEY)
    blocks = []
    for block in range(-(-count // 4)):
        start = np.full(len(seeds), block, np.uint64)
        blocks += _philox([start, np.zeros_like(start), mixed[2], mixed[3]], (mixed[0], mixed[1]))
    return np.stack(blocks[:count], axis=1).astype(np.uint32)


def _philox(counter, key):
    """Ten rounds on four 32-bit words, each held in the low half of a uint64 `[n]`."""
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        product, other = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (other >> _HALF) ^ b ^ first, other & _LOW, (product >> _HALF) ^ d ^ second, product & _LOW
        first, second = (first + _KEY_STEPS[0]) & _LOW, (second + _KEY_STEPS[1]) & _LOW
    return [a, b, c, d]
