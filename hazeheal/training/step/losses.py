"""The losses, as pure functions. Every one returns one float32 number A PICTURE, [B].

Whoever calls them sums over its own images and divides by the size of the GLOBAL batch, so that the
gradient is the same however many replicas share the batch. Inputs of any float type are cast to float32.
"""

import tensorflow as tf

MASKS = ("difference", "dark_channel")


def charbonnier(restored, clear, *, mask=None, eps=1e-3, haze_share=0.3):
    """Haze-aware Charbonnier loss, logged as `gen_l1_loss`.

    c = sqrt((restored - clear)^2 + eps^2)    (Charbonnier et al. 1994), averaged over the channels;
    (1 - s) mean(c) + s sum(M c) / (sum(M) + 1e-6)    with s = haze_share, over the pixels of each image.

    Both terms are means of the same c, weighed evenly and by haze, so that s shifts attention and not scale.

    Args:
        restored, clear: [B, H, W, 3] in [-1, 1].
        mask: [B, H, W, 1] in [0, 1], see `haze_mask`; None: the plain mean of c.
        eps: Where the loss turns from squared to absolute; also its least value.
        haze_share: s.

    Returns:
        [B] float32.
    """
    difference = _float32(restored) - _float32(clear)
    c = tf.reduce_mean(tf.sqrt(tf.square(difference) + eps * eps), axis=-1, keepdims=True)
    plain = tf.reduce_mean(c, axis=[1, 2, 3])
    if mask is None:
        return plain
    mask = _float32(mask)
    hazy = tf.reduce_sum(mask * c, axis=[1, 2, 3]) / (tf.reduce_sum(mask, axis=[1, 2, 3]) + 1e-6)
    return (1.0 - haze_share) * plain + haze_share * hazy


def haze_mask(hazy, clear, *, kind="difference"):
    """Where the haze is, as weights for `charbonnier`; no gradient passes through it.

    difference    M = mean over the channels of |hazy - clear|
    dark_channel  M = min over the channels and a 15x15 window of the hazy image in [0, 1] (He et al. 2011)

    Each image's M is divided by its largest value + 1e-6: thin haze gets the weight of dense haze, and where
    the two images are equal M stays zero.

    Args:
        hazy, clear: [B, H, W, 3] in [-1, 1]. `clear` is used by `difference` only.
        kind: difference or dark_channel.

    Returns:
        [B, H, W, 1] float32 in [0, 1].

    Raises:
        ValueError: Another kind.
    """
    hazy = _float32(hazy)
    if kind == "difference":
        mask = tf.reduce_mean(tf.abs(hazy - _float32(clear)), axis=-1, keepdims=True)
    elif kind == "dark_channel":
        mask = tf.reduce_min(0.5 * (hazy + 1.0), axis=-1, keepdims=True)
        # A square minimum is the minimum of minima along one side each: 30 comparisons instead of 225.
        for window in ((15, 1), (1, 15)):
            mask = -tf.nn.max_pool2d(-mask, window, strides=1, padding="SAME")
    else:
        raise ValueError(f"haze_mask is {kind!r}: must be one of {', '.join(MASKS)}")
    return tf.stop_gradient(mask / (tf.reduce_max(mask, axis=[1, 2, 3], keepdims=True) + 1e-6))


def perceptual(features_restored, features_clear):
    """Mean absolute difference of features (Johnson et al. 2016), logged as `gen_perceptual_loss`: [B] float32."""
    return _mean(tf.abs(_float32(features_restored) - _float32(features_clear)))


def generator_adversarial(fake_logits):
    """BCE(D(hazy, restored), 1) = mean softplus(-logits), logged as `gen_gan_loss`: [B] float32."""
    return _mean(tf.nn.softplus(-_float32(fake_logits)))


def discriminator(real_logits, fake_logits):
    """BCE(real, 1) + BCE(fake, 0), a sum, logged as `disc_loss`: [B] float32, 2 ln 2 where logits are zero."""
    return _mean(tf.nn.softplus(-_float32(real_logits))) + _mean(tf.nn.softplus(_float32(fake_logits)))


def _float32(x):
    return tf.cast(x, tf.float32)


def _mean(x):
    return tf.reduce_mean(x, axis=[1, 2, 3])
