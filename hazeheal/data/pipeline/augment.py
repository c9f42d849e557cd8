"""Paired augmentation: the same crop, mirroring, quarter turn and light for the hazy and the clear image of a pair.

All functions are pure, and all but those of the light work on a whole batch: equal arguments give equal results, in eager mode, inside `tf.data`, in
the compiled step and on any machine, so a resumed run sees the images that it would have seen. All randomness comes from
the generator of `random_bits` with one seed per image: `hazeheal.data.pipeline.processor` uses (seed, 2 p) for the crop
and (seed, 2 p + 1) for the orientation of the example at position p, and (~seed, p) for its light.
"""

import math

import tensorflow as tf

WINDOW_BITS, ORIENTATION_BITS = 5, 2  # numbers drawn for one image
WHOLE_IMAGE_SHARE = 0.25  # of the windows of `random_windows`
TRANSPOSED, UPSIDE_DOWN, MIRRORED = 1, 2, 4  # the bits of an orientation


def random_crops(bits: tf.Tensor, sizes: tf.Tensor, *, crop_size: int) -> tf.Tensor:
    """Chooses a square crop of each image. Every window inside the image is equally likely.

    Args:
        bits: uint32 `[B, 2]` or wider, uniform.
        sizes: int32 `[B, 2]`: height and width of each image, at least `crop_size`.
        crop_size: Side of the crops in pixels, S.

    Returns:
        int32 `[B, 4]`: (y, x, rows, columns) of each window `image[y : y + rows, x : x + columns]`, all S x S.
    """
    corners = _corners(bits[:, :2], sizes - crop_size + 1)
    return tf.concat([corners, tf.fill(tf.shape(corners), crop_size)], axis=1)


def random_windows(bits: tf.Tensor, sizes: tf.Tensor, *, least: float) -> tf.Tensor:
    """Chooses a window of most of each image, with independent sides; one window in four is the whole image.

    Resized to a square it shows a scene as a network with a `view_size` sees it, slightly closer and stretched.

    Args:
        bits: uint32 `[B, WINDOW_BITS]`, uniform.
        sizes: int32 `[B, 2]`: height and width of each image.
        least: Smallest share of a side, above 0 and at most 1.

    Returns:
        int32 `[B, 4]`: (y, x, rows, columns) of each window `image[y : y + rows, x : x + columns]`.
    """
    shares = tf.cast(tf.cast(bits[:, 2:], tf.int64), tf.float32) / 2**32
    sides = tf.cast(sizes, tf.float32) * (least + (1 - least) * shares[:, :2])
    sides = tf.maximum(tf.cast(tf.round(sides), sizes.dtype), 1)
    sides = tf.where(shares[:, 2:] < WHOLE_IMAGE_SHARE, sizes, sides)
    return tf.concat([_corners(bits[:, :2], sizes - sides + 1), sides], axis=1)


def _corners(bits, room):
    """A corner (y, x), int32 `[B, 2]`, below `room`, int32 `[B, 2]`."""
    return tf.cast(tf.cast(bits, tf.int64) % tf.cast(room, tf.int64), tf.int32)


def random_orientations(bits: tf.Tensor, *, flip: bool = True, rot90: bool = True) -> tf.Tensor:
    """Chooses a quarter turn and a mirroring of each image, for `orient`.

    An image is rotated counter-clockwise by 0, 90, 180 or 270 degrees, each with probability 1/4 (`rot90`), then
    mirrored left to right with probability 1/2 (`flip`). Together all eight symmetries of the square are equally
    likely. Haze has no preferred side and aerial images have no preferred direction. Use `rot90=False` for
    photographs with the sky at the top.

    `bits` is uint32 `[B, ORIENTATION_BITS]`, uniform. The result is int32 `[B]`: a sum of `TRANSPOSED`, `UPSIDE_DOWN`
    and `MIRRORED`. A quarter turn is a transposition and a reversed axis, so a rotation and a mirroring together are at
    most one transposition and two reversals.
    """
    bits = tf.cast(bits, tf.int64)
    turns = bits[:, 0] % 4 if rot90 else tf.zeros_like(bits[:, 0])
    mirrored = (bits[:, 1] % 2 == 1) & flip
    flags = {
        TRANSPOSED: turns % 2 == 1,
        UPSIDE_DOWN: (turns == 1) | (turns == 2),
        MIRRORED: ((turns == 2) | (turns == 3)) ^ mirrored,
    }
    return tf.add_n([value * tf.cast(flag, tf.int32) for value, flag in flags.items()])


def draw_light(*, seed: int, position: tf.Tensor, share: float, darkest: float, tint: float) -> tf.Tensor:
    """Draws the light of the pair at one position: a factor for each color channel of both images, for `relight`.

    The scattering model I = J t + A (1 - t) holds in any light, since a factor on the scene J and on the airlight A is
    one on I. So a pair shows what haze looks like in the evening and under a warm or cold sky too.

    Args:
        seed: The run's.
        position: int64 scalar of 0 or more.
        share: Share of the pairs that get another light than their own.
        darkest: Smallest brightness, in (0, 1]. It is drawn log-uniformly up to 1.
        tint: Largest loss of a channel compared to the others, in [0, 1). Strong tints are rare.

    Returns:
        float32 `[3]` in (0, 1]; 1 for a pair that keeps its light.
    """
    drawn = tf.random.stateless_uniform([6], seed=[~seed, position], alg="philox")
    light = tf.exp(math.log(darkest) * drawn[1]) * (1 - tint * drawn[2] * drawn[3:])
    return tf.where(drawn[0] < share, light, 1.0)


def relight(image: tf.Tensor, light: tf.Tensor) -> tf.Tensor:
    """Multiplies the channels of an image, uint8 `[H, W, 3]`, by the result of `draw_light`, and rounds."""
    return tf.cast(tf.cast(image, tf.float32) * light + 0.5, tf.uint8)


def orient(images: tf.Tensor, orientations: tf.Tensor, *, fused: bool = True) -> tf.Tensor:
    """Turns and mirrors each image of a batch by the result of `random_orientations`, in the compiled step.

    Args:
        images: `[B, S, S, C]` of any dtype.
        orientations: int32 `[B]`.
        fused: Whether the operations are those that XLA fuses on GPUs, rather than those with a fast kernel on CPUs.

    Returns:
        The images, each transposed, then turned upside down, then mirrored left to right, as its orientation says.
    """

    def choose(bit, changed, unchanged):
        chosen = tf.bitwise.bitwise_and(orientations, bit) > 0
        if fused:
            return tf.where(chosen[:, None, None, None], changed, unchanged)
        count = tf.shape(orientations)[0]  # copies whole images: tf.where takes ten times as long
        return tf.gather(tf.concat([unchanged, changed], 0), tf.range(count) + count * tf.cast(chosen, tf.int32))

    images = choose(TRANSPOSED, tf.transpose(images, [0, 2, 1, 3]), images)
    images = choose(UPSIDE_DOWN, tf.reverse(images, [1]), images)
    return choose(MIRRORED, tf.reverse(images, [2]), images)


def orient_image(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """`orient` for one image, `[S, S, C]`, on a CPU: three times as fast, since only what is needed is computed."""
    shape = image.shape
    transposed, upside_down, mirrored = (
        tf.bitwise.bitwise_and(orientation, bit) > 0 for bit in (TRANSPOSED, UPSIDE_DOWN, MIRRORED)
    )
    # tf.transpose does not copy its input if the permutation is the identity.
    image = tf.transpose(image, tf.where(transposed, [1, 0, 2], [0, 1, 2]))
    # Gathering rows takes a fifth of the time of tf.reverse along the same axis.
    row = tf.range(shape[0])
    image = tf.gather(image, tf.where(upside_down, shape[0] - 1 - row, row))
    image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    return tf.ensure_shape(image, shape)
