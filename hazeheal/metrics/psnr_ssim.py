"""PSNR and SSIM of images in float64, batched, on any device, in memory that does not grow with the images.

The values equal `skimage.metrics.peak_signal_noise_ratio(a, b, data_range=255)` and
`structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
channel_axis=-1)`, the settings of Wang et al. 2004.

Both are sums over strips of rows, one strip at a time. The strips of SSIM overlap by the window, so that the sum is that
of the whole image.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

PSNR_LIMIT = 100.0  # dB; replaces the infinite PSNR of identical images in a mean
SSIM_WINDOW = 11
STRIP = 1 << 17  # pixels of a batch that are converted to float64 at once
_BLOCK = 32  # windows along each side of a block that is blurred by two matrix products
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
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    batch, height, width, _ = tf.unstack(tf.shape(a))
    rows = tf.clip_by_value(STRIP // (batch * width), 1, height)

    def errors(strip):
        positions = strip * rows + tf.range(rows)
        first = tf.minimum(positions[0], height - rows)  # the last strip begins earlier and counts its new rows alone
        is_new = tf.cast(first + tf.range(rows) >= positions[0], tf.float64)
        one, other = (tf.cast(_strip(x, first, rows), tf.float64) for x in (a, b))
        return tf.reduce_sum(tf.square(one - other), axis=[2, 3]) @ is_new[:, tf.newaxis]

    total = _sum(errors, -(-height // rows), batch)
    error = total / tf.cast(tf.reduce_prod(tf.shape(a)[1:]), tf.float64)
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
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    batch, height, width, channels = tf.unstack(tf.shape(a))
    rows, columns = _Windows(height), _Windows(width)
    across, counted_across = columns.blocks(tf.range(columns.num_blocks))
    per_strip = tf.clip_by_value(STRIP // (batch * rows.block * width), 1, rows.num_blocks)
    length = tf.minimum(height, per_strip * rows.block + 2 * _RADIUS)

    def similarities(strip):
        down, counted_down = rows.blocks(strip * per_strip + tf.range(per_strip))
        first = tf.minimum(down[0, 0], height - length)

        def blocks(x):
            # [B, rows of blocks, rows, columns of blocks, columns, C], then the pixels of a block last
            x = tf.gather(tf.gather(_strip(x, first, length), down - first, axis=1), across, axis=3)
            return tf.cast(tf.transpose(x, [0, 1, 3, 5, 2, 4]), tf.float64)

        def blur(x):
            return tf.matmul(rows.weights @ x, columns.weights, transpose_b=True)

        values = _similarity(blocks(a), blocks(b), blur)
        return tf.einsum("bkncij,ki,nj->b", values, counted_down, counted_across)[:, tf.newaxis]

    total = _sum(similarities, -(-rows.num_blocks // per_strip), batch)
    return total / tf.cast(rows.count * columns.count * channels, tf.float64)


def _similarity(a, b, blur: Callable[[tf.Tensor], tf.Tensor]):
    """Returns the SSIM at each position of the window."""
    mean_a, mean_b = blur(a), blur(b)
    # Only the sum of the two variances is needed, which saves one of five blurs.
    variances = blur(a * a + b * b) - mean_a * mean_a - mean_b * mean_b
    covariance = blur(a * b) - mean_a * mean_b
    numerator = (2.0 * mean_a * mean_b + _C1) * (2.0 * covariance + _C2)
    denominator = (mean_a * mean_a + mean_b * mean_b + _C1) * (variances + _C2)
    return numerator / denominator


class _Windows:
    """The positions of the window along one side, in blocks of equal length.

    Attributes:
        count: Number of positions.
        block: Number of positions in a block.
        num_blocks: Number of blocks that cover all positions.
        weights: `[block, block + 10]` float64: the window at each position of a block, zero elsewhere. As a matrix it
            applies the window to a block: a sum of products is exact enough in float64 on every device, and several
            times as fast as a sum of shifted images.
    """

    def __init__(self, side):
        self._side = side
        # By how much a side shorter than the window is extended. Minima of integers are computed on the host, where they
        # decide shapes; a GPU would have to send the result of a selection.
        self._margin = _RADIUS * tf.clip_by_value(SSIM_WINDOW - side, 0, 1)
        self.count = side + 2 * self._margin - 2 * _RADIUS
        self.block = tf.minimum(_BLOCK, self.count)
        self.num_blocks = -(-self.count // self.block)
        window = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
        window = tf.constant([0.0, *(window / window.sum()), 0.0], tf.float64)
        tap = tf.range(self.block + 2 * _RADIUS) - tf.range(self.block)[:, tf.newaxis]
        self.weights = tf.gather(window, tf.clip_by_value(tap + 1, 0, SSIM_WINDOW + 1))

    def blocks(self, numbers):
        """Returns the pixels of some blocks and which of their positions count.

        The last block begins earlier than its number says, so that it is as long as the others: positions that the one
        before it has do not count. No position of a block beyond the last one counts.

        Args:
            numbers: `[n]` int32, the numbers of the blocks.

        Returns:
            (`[n, block + 10]` int32 positions in the image, mirrored beyond its border; `[n, block]` float64, 1 or 0).
        """
        first = numbers[:, tf.newaxis] * self.block
        begin = tf.minimum(first, self.count - self.block)
        counted = tf.cast(begin + tf.range(self.block) >= first, tf.float64)
        positions = (begin - self._margin + tf.range(self.block + 2 * _RADIUS)) % (2 * self._side)
        return tf.minimum(positions, 2 * self._side - 1 - positions), counted


def _strip(x, first, rows):
    # GPUs have few operations on uint8. float32 holds the same values.
    return tf.cast(x[:, first : first + rows], tf.float32 if x.dtype == tf.uint8 else tf.float64)


def _sum(value: Callable[[tf.Tensor], tf.Tensor], count, batch):
    """Returns the sum of value(0) .. value(count - 1), `[B, 1]` float64 each, as `[B]`; one at a time."""
    _, total = tf.while_loop(
        lambda number, _: number < count,
        lambda number, total: (number + 1, total + value(number)),
        [0, tf.zeros([batch, 1], tf.float64)],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 1])],
        parallel_iterations=1,
    )
    return total[:, 0]
