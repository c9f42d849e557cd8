"""Paired augmentation: the same crop, mirroring and quarter turn for the hazy and the clear image of a pair.

All functions are pure: equal arguments give equal results, in eager mode, inside `tf.data` and on any machine, so a
resumed run sees the images that it would have seen. All randomness comes from `seed`, a pair of integers:
`hazeheal.data.pipeline.processor` uses (seed, 2 p) for the crop and (seed, 2 p + 1) for the orientation of the example
at position p.
"""

from collections.abc import Sequence

import tensorflow as tf

Seed = Sequence[int | tf.Tensor] | tf.Tensor  # two integers

WHOLE_IMAGE_SHARE = 0.25  # of the windows of `random_window`


def random_crop_window(
    height: int | tf.Tensor, width: int | tf.Tensor, *, size: int, seed: Seed
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the corner (y, x), int32 scalars, of the square crop `image[y : y + size, x : x + size]`.

    Every window inside the image is equally likely. `height` and `width` are at least `size`.
    """
    room = tf.stack([height, width]) - size + 1
    corner = tf.cast(_draw(2, seed) % tf.cast(room, tf.int64), tf.int32)
    return corner[0], corner[1]


def random_window(
    height: tf.Tensor, width: tf.Tensor, *, least: float, seed: Seed
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws a window of most of an image, with independent sides; one window in four is the whole image.

    Resized to a square it shows a scene as a network with a `view_size` sees it, slightly closer and stretched.

    Args:
        height, width: Size of the image in pixels.
        least: Smallest share of a side, above 0 and at most 1.
        seed: Two integers.

    Returns:
        (y, x, rows, columns), int32 scalars: the window `image[y : y + rows, x : x + columns]`.
    """
    drawn = _draw(5, seed)
    shares = tf.cast(drawn[2:], tf.float32) / 2**32
    size = tf.stack([height, width])
    sides = tf.cast(size, tf.float32) * (least + (1 - least) * shares[:2])
    sides = tf.where(shares[2] < WHOLE_IMAGE_SHARE, size, tf.maximum(tf.cast(tf.round(sides), size.dtype), 1))
    corner = drawn[:2] % tf.cast(size - sides + 1, tf.int64)
    y, x = tf.unstack(tf.cast(corner, tf.int32))
    rows, columns = tf.unstack(tf.cast(sides, tf.int32))
    return y, x, rows, columns


def flip_rot90(
    hazy: tf.Tensor, clear: tf.Tensor, *, seed: Seed, flip: bool = True, rot90: bool = True
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rotates and mirrors both images of a pair identically.

    Both images are rotated counter-clockwise by 0, 90, 180 or 270 degrees, each with probability 1/4 (`rot90`), then
    mirrored left to right with probability 1/2 (`flip`). Together all eight symmetries of the square are equally
    likely. Haze has no preferred side and aerial images have no preferred direction. Use `rot90=False` for
    photographs with the sky at the top.

    The images are `[S, S, C]` of any dtype. With `rot90=False` they need not be square.
    """
    hazy, clear = tf.convert_to_tensor(hazy), tf.convert_to_tensor(clear)
    bits = _draw(2, seed)
    turns = bits[0] % 4 if rot90 else tf.constant(0, tf.int64)
    mirrored = (bits[1] % 2 == 1) if flip else tf.constant(False)

    # A quarter turn is a transposition and a reversed axis, so a rotation and a mirroring together are at most one
    # transposition and two reversals. This is about 4 times as fast as tf.image.rot90.
    transposed = turns % 2 == 1
    upside_down = (turns == 1) | (turns == 2)
    mirrored = ((turns == 2) | (turns == 3)) ^ mirrored

    def apply(image):
        shape = image.shape
        if rot90:
            # tf.transpose does not copy its input if the permutation is the identity.
            image = tf.transpose(image, tf.where(transposed, [1, 0, 2], [0, 1, 2]))
            # Gathering rows takes a fifth of the time of tf.reverse along the same axis.
            count = tf.shape(image)[0]
            row = tf.range(count)
            image = tf.gather(image, tf.where(upside_down, count - 1 - row, row))
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
        return tf.ensure_shape(image, shape)

    if not (flip or rot90):
        return hazy, clear
    return apply(hazy), apply(clear)


def _draw(count, seed):
    """`[count]` int64, uniform over [0, 2**32). Philox is explicit, because `auto` depends on the device."""
    bits = tf.random.stateless_uniform([count], seed=seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    return tf.cast(bits, tf.int64)
