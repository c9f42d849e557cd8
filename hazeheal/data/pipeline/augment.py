"""Paired augmentation: the same crop, mirror and quarter turn for a hazy image and its clear one.

Every function is pure and stateless: equal arguments give equal results, in eager mode, inside
`tf.data` and on any machine, so that a resumed run sees the images that it would have seen. The
randomness is all in `seed`, a pair of integers; the caller gives each example, and each kind of
augmentation, a seed of its own (`hazeheal.data.pipeline.processor` uses (seed, 2 p) for the crop and
(seed, 2 p + 1) for the orientation of the example at position p).

    y, x = random_crop_window(460, 620, size=256, seed=[0, 14])
    hazy, clear = flip_rot90(hazy, clear, seed=[0, 15])
"""

import tensorflow as tf

from hazeheal.errors import UsageError

WHOLE = 0.25  # of the windows


def random_crop_window(height, width, *, size, seed):
    """Draws where a square crop begins; every window inside the image is equally likely.

    It needs no image, so that a decoder can be told to decode the window alone.

    Args:
        height, width: Size of the image in pixels, at least `size`: Python or tensor integers.
        size: Side of the crop in pixels.
        seed: [2] integers.

    Returns:
        (y, x): int32 scalars, the crop's upper left corner: y in [0, height - size], x in
        [0, width - size]. The crop is `image[y : y + size, x : x + size]`.

    Raises:
        UsageError: `height` and `width` are Python integers, and the crop does not fit.
    """
    if isinstance(height, int) and isinstance(width, int) and not 1 <= size <= min(height, width):
        raise UsageError(
            f"crop_size={size} does not fit into an image of {height}x{width} pixels; "
            f"use 1 to {min(height, width)}"
        )
    room = tf.stack([height, width]) - size + 1
    corner = _draw(2, seed) % tf.cast(room, tf.int64)
    corner = tf.cast(corner, tf.int32)
    return corner[0], corner[1]


def random_window(height, width, *, least, seed):
    """Draws a window of most of an image, whose sides are drawn each for itself; one in four is the whole image.

    Resized to a square it shows a scene as a network with a `view_size` sees it, a little nearer, and stretched.

    Args:
        height, width: Size of the image in pixels: tensor integers.
        least: The least share of a side, above 0 and at most 1.
        seed: [2] integers.

    Returns:
        (y, x, rows, columns): int32 scalars, the window `image[y : y + rows, x : x + columns]`.
    """
    drawn = _draw(5, seed)
    shares = tf.cast(drawn[2:], tf.float32) / 2**32
    whole = tf.stack([height, width])
    sides = tf.cast(whole, tf.float32) * (least + (1 - least) * shares[:2])
    sides = tf.where(shares[2] < WHOLE, whole, tf.maximum(tf.cast(tf.round(sides), whole.dtype), 1))
    corner = drawn[:2] % tf.cast(whole - sides + 1, tf.int64)
    y, x = tf.unstack(tf.cast(corner, tf.int32))
    rows, columns = tf.unstack(tf.cast(sides, tf.int32))
    return y, x, rows, columns


def flip_rot90(hazy, clear, *, seed, flip=True, rot90=True):
    """Turns and mirrors both images of a pair alike.

    Both images are turned counter-clockwise by 0, 90, 180 or 270 degrees, each with probability
    1/4 (`rot90`), then mirrored left to right with probability 1/2 (`flip`): together all eight
    symmetries of the square, equally likely. Haze has no preferred side and aerial images no
    preferred direction; for photographs with the sky above, `rot90=False`.

    Args:
        hazy, clear: [S, S, C] of any dtype, two images of one shape (with `rot90=False` they
            need not be square).
        seed: [2] integers.
        flip: Whether to mirror.
        rot90: Whether to turn.

    Returns:
        (hazy, clear), of the same shapes and dtypes.

    Raises:
        UsageError: `rot90` of an image that is known not to be square.
    """
    hazy, clear = tf.convert_to_tensor(hazy), tf.convert_to_tensor(clear)
    rows, columns = hazy.shape[0], hazy.shape[1]
    if rot90 and None not in (rows, columns) and rows != columns:
        raise UsageError(
            f"rot90=True needs square images, these have {rows}x{columns} pixels; use rot90=False"
        )
    bits = _draw(2, seed)
    turns = bits[0] % 4 if rot90 else tf.constant(0, tf.int64)
    mirrored = (bits[1] % 2 == 1) if flip else tf.constant(False)

    # A quarter turn is a transposition and a reversed axis, so a turn and a mirror together are at
    # most one transposition and two reversals. This is about 4 times as fast as tf.image.rot90.
    transposed = turns % 2 == 1
    upside_down = (turns == 1) | (turns == 2)
    mirrored = ((turns == 2) | (turns == 3)) ^ mirrored

    def apply(image):
        shape = image.shape
        if rot90:
            # tf.transpose hands its input through where the permutation is the identity.
            image = tf.transpose(image, tf.where(transposed, [1, 0, 2], [0, 1, 2]))
            # Gathering whole rows costs a fifth of tf.reverse along the same axis.
            count = tf.shape(image)[0]
            row = tf.range(count)
            image = tf.gather(image, tf.where(upside_down, count - 1 - row, row))
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
        return tf.ensure_shape(image, shape)

    if not (flip or rot90):
        return hazy, clear
    return apply(hazy), apply(clear)


def _draw(count, seed):
    """[count] int64, uniform over [0, 2**32); Philox by name, as `auto` depends on the device."""
    bits = tf.random.stateless_uniform(
        [count], seed=seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    return tf.cast(bits, tf.int64)
