"""The losses, as pure functions that return one float32 value per image, `[B]`.

The caller sums over its own images and divides by the size of the global batch, so that the gradient does not depend
on the number of replicas. Inputs of any float dtype are cast to float32.
"""

import tensorflow as tf
from ml_collections import ConfigDict

MASKS = ("difference", "dark_channel")


def charbonnier(
    restored: tf.Tensor,
    clear: tf.Tensor,
    *,
    mask: tf.Tensor,
    eps: float = 1e-3,
    haze_share: float = 0.3,
) -> tf.Tensor:
    """Haze-aware Charbonnier loss, logged as `gen_l1_loss`.

    c = sqrt((restored - clear)^2 + eps^2)    (Charbonnier et al. 1994), averaged over the channels;
    (1 - s) mean(c) + s sum(M c) / (sum(M) + 1e-6)    with s = haze_share, over the pixels of each image.

    Both terms are means of the same c, one uniform and one weighted by haze, so that s moves the focus and not the
    scale of the loss.

    Args:
        restored, clear: `[B, H, W, 3]` in [-1, 1].
        mask: M, `[B, H, W, 1]` in [0, 1], see `haze_mask`.
        eps: The difference at which the loss changes from squared to absolute; also its minimum.
        haze_share: s, in [0, 1].

    Returns:
        `[B]` float32.
    """
    squares = tf.square(_float32(restored) - _float32(clear))
    return _haze_weighted(tf.sqrt(squares + eps * eps), mask, haze_share)


def squared_error(restored: tf.Tensor, clear: tf.Tensor, *, mask: tf.Tensor, haze_share: float = 0.3) -> tf.Tensor:
    """Haze-aware squared error: `charbonnier` with c = (restored - clear)^2, `[B]` float32.

    Where haze leaves several scenes possible, its best guess is their mean, as PSNR wants it, and not their median.
    """
    return _haze_weighted(tf.square(_float32(restored) - _float32(clear)), mask, haze_share)


def logarithmic(loss: tf.Tensor, *, scale: float) -> tf.Tensor:
    """Returns s log(1 + L / s) of the loss L of each image, `[B]` float32, with s = `scale`.

    An image weighs 1 / (1 + L / s) as much as in L: those whose scene is hidden by dense haze, which no network can
    restore, do not dominate the gradient. Of `squared_error` with a small s, this is the PSNR up to a factor and a
    constant.
    """
    return scale * tf.math.log1p(loss / scale)


def haze_mask(hazy: tf.Tensor, clear: tf.Tensor, *, kind: str = "difference") -> tf.Tensor:
    """Per-pixel weights for `charbonnier` that are high where haze is dense; no gradient passes through them.

    difference    M = mean over the channels of |hazy - clear|
    dark_channel  M = min over the channels and a 15x15 window of the hazy image in [0, 1] (He et al. 2011)

    Each image's M is divided by its maximum + 1e-6, so that an image with thin haze has the same weight as one with
    dense haze. Where both images are equal M is zero.

    Args:
        hazy: `[B, H, W, 3]` in [-1, 1].
        clear: `[B, H, W, 3]` in [-1, 1]; used by `difference` only.
        kind: `difference` or `dark_channel`.

    Returns:
        `[B, H, W, 1]` float32 in [0, 1].

    Raises:
        ValueError: `kind` is not one of these.
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


def perceptual(features_restored: tf.Tensor, features_clear: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of features (Johnson et al. 2016), logged as `gen_perceptual_loss`: `[B]` float32."""
    return _mean(tf.abs(_float32(features_restored) - _float32(features_clear)))


def generator_adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """BCE(D(hazy, restored), 1) = mean softplus(-logits), logged as `gen_gan_loss`: `[B]` float32."""
    return _mean(tf.nn.softplus(-_float32(fake_logits)))


def discriminator(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """BCE(real, 1) + BCE(fake, 0), logged as `disc_loss`: `[B]` float32, 2 ln 2 where all logits are zero."""
    return _mean(tf.nn.softplus(-_float32(real_logits))) + _mean(tf.nn.softplus(_float32(fake_logits)))


def generator_total(weights: ConfigDict, *, l1: tf.Tensor, gan: tf.Tensor, perceptual: tf.Tensor) -> tf.Tensor:
    """Returns the weighted sum of the generator's losses, logged as `gen_total_loss`.

    Args:
        weights: The part `loss` of a configuration: `l1_weight`, `gan_weight` and `perceptual_weight`.
        l1: The Charbonnier loss.
        gan: The adversarial loss.
        perceptual: The perceptual loss; all three of one shape.
    """
    return weights.l1_weight * l1 + weights.gan_weight * gan + weights.perceptual_weight * perceptual


def _haze_weighted(pixels, mask, haze_share):
    """The mean of `pixels`, `[B, H, W, 3]`, of each image: `haze_share` of it weighted by `mask`, the rest uniform."""
    pixels, mask = tf.reduce_mean(pixels, axis=-1, keepdims=True), _float32(mask)
    plain = tf.reduce_mean(pixels, axis=[1, 2, 3])
    hazy = tf.reduce_sum(mask * pixels, axis=[1, 2, 3]) / (tf.reduce_sum(mask, axis=[1, 2, 3]) + 1e-6)
    return (1.0 - haze_share) * plain + haze_share * hazy


def _float32(x):
    return tf.cast(x, tf.float32)


def _mean(x):
    return tf.reduce_mean(x, axis=[1, 2, 3])
