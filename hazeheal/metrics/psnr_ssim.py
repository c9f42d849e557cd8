"""PSNR and SSIM of images in float64, batched, on any device.

The values equal `skimage.metrics.peak_signal_noise_ratio(a, b, data_range=255)` and
`structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
channel_axis=-1)`, the settings of Wang et al. 2004.
"""

import numpy as np
import tensorflow as tf

PSNR_LIMIT = 100.0  # dB; replaces the infinite PSNR of identical images in a mean
SSIM_WINDOW = 11
_RADIUS = SSIM_WINDOW // 2
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def psnr(a: tf.Tensor | np.ndarray, b: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Peak signal-to-noise ratio, 20 log10(255) - 10 log10(mean squared error over pixels and channels).

    Args:
        a, b: `[B, H, W, C]`, uint8 or float, in [0, 255].

    Returns:
        `[B]` float64 in dB; infinite for identical images.
    """
    difference = tf.cast(a, tf.float64) - tf.cast(b, tf.float64)
    error = tf.reduce_mean(tf.square(difference), axis=[1, 2, 3])
    return 20.0 * np.log10(255.0) - 10.0 * tf.math.log(error) / np.log(10.0)


def ssim(a: tf.Tensor | np.ndarray, b: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Structural similarity (Wang et al. 2004), the mean over channels and over all positions where the window fits.

    The window is a Gaussian of sigma 1.5, 11 pixels wide. It does not fit along a side shorter than 11 pixels, and
    scikit-image refuses such images. Here such a side is extended by 5 mirrored pixels at each end, including the edge
    pixel, and every pixel counts.

    Args:
        a, b: `[B, H, W, C]` with H and W of at least 1, uint8 or float, in [0, 255].

    Returns:
        `[B]` float64 in [-1, 1]; 1 for identical images.
    """
    a = _extend_small(tf.cast(a, tf.float64))
    b = _extend_small(tf.cast(b, tf.float64))
    mean_a, mean_b = _blur(a), _blur(b)
    # Only the sum of the two variances is needed, which saves one of five blurs.
    variances = _blur(a * a + b * b) - mean_a * mean_a - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    numerator = (2.0 * mean_a * mean_b + _C1) * (2.0 * covariance + _C2)
    denominator = (mean_a * mean_a + mean_b * mean_b + _C1) * (variances + _C2)
    return tf.reduce_mean(numerator / denominator, axis=[1, 2, 3])


def _blur(x):
    """Applies the Gaussian window where it fits: [B, H, W, C] to [B, H - 10, W - 10, C].

    A sum of shifted images is exact in float64 on every device, and works with open sizes and under XLA.
    """
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    height = tf.shape(x)[1] - 2 * _RADIUS
    x = tf.add_n([weight * x[:, i : i + height] for i, weight in enumerate(weights)])
    width = tf.shape(x)[2] - 2 * _RADIUS
    return tf.add_n([weight * x[:, :, i : i + width] for i, weight in enumerate(weights)])


def _extend_small(x):
    """Mirrors the sides shorter than the window outwards by its radius."""
    for axis in (1, 2):
        side = tf.shape(x)[axis]
        margin = tf.where(side < SSIM_WINDOW, _RADIUS, 0)
        positions = tf.range(-margin, side + margin) % (2 * side)
        x = tf.gather(x, tf.minimum(positions, 2 * side - 1 - positions), axis=axis)
    return x
