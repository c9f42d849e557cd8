"""Color of images: the Y of BT.601, CIE L*a*b*, and the color difference CIEDE2000.

Y is that of MATLAB's and BasicSR's `rgb2ycbcr`, without rounding. L*a*b* and CIEDE2000 are those of
`skimage.color.rgb2lab` and `deltaE_ciede2000` (sRGB, white D65, 2 degrees observer).
"""

import numpy as np
import tensorflow as tf

_BT601 = np.array([65.481, 128.553, 24.966]) / 255.0
# From linear sRGB to CIE XYZ over the white of D65; the digits are scikit-image's.
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def luma(image):
    """Y of ITU-R BT.601 with head- and footroom: black is 16, white 235.

    Args:
        image: [..., 3] RGB in [0, 255], uint8 or any float.

    Returns:
        [..., 1] float64 in [16, 235], not rounded.
    """
    return 16.0 + tf.reduce_sum(tf.cast(image, tf.float64) * _BT601, axis=-1, keepdims=True)


def lab(image):
    """CIE 1976 L*a*b* of sRGB colors.

    Args:
        image: [..., 3] RGB in [0, 255], uint8 or any float.

    Returns:
        [..., 3] float64: L* in [0, 100], a*, b*.
    """
    c = tf.cast(image, tf.float64) / 255.0
    linear = tf.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    xyz = tf.tensordot(linear, (_XYZ / _WHITE[:, None]).T, axes=1)
    f = tf.where(xyz > 0.008856, tf.maximum(xyz, 0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = tf.unstack(f, axis=-1)
    return tf.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def lab_difference(first, second):
    """CIEDE2000 of L*a*b* colors with k_L = k_C = k_H = 1 (Sharma, Wu, Dalal 2005).

    Args:
        first, second: [..., 3] float64 L*, a*, b*.

    Returns:
        [...] float64, 0 or more; about 1 can just be seen.
    """
    l1, a1, b1 = tf.unstack(first, axis=-1)
    l2, a2, b2 = tf.unstack(second, axis=-1)
    stretch = 1.5 - 0.5 * _chroma_share(0.5 * (_length(a1, b1) + _length(a2, b2)))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = _length(a1, b1), _length(a2, b2)
    # Hue angles in [0, 2 pi]; a gray has none.
    h1, h2 = (tf.math.floormod(tf.atan2(b, a), 2 * np.pi) for a, b in ((a1, b1), (a2, b2)))
    gray = c1 * c2 == 0.0
    circle, zero = tf.constant(2 * np.pi, tf.float64), tf.zeros([], tf.float64)
    turn = tf.where(h2 - h1 > np.pi, -circle, tf.where(h2 - h1 < -np.pi, circle, zero))
    hue_step = tf.where(gray, zero, h2 - h1 + turn)
    # The mean hue lies on the shorter arc between the two.
    across = tf.where(h1 + h2 < circle, circle, -circle)
    total = h1 + h2 + tf.where(turn == zero, zero, across)
    hue = tf.where(gray, h1 + h2, 0.5 * total)

    chroma, offset = 0.5 * (c1 + c2), (0.5 * (l1 + l2) - 50.0) ** 2
    t = 1.0 - 0.17 * tf.cos(hue - np.deg2rad(30)) + 0.24 * tf.cos(2 * hue)
    t += 0.32 * tf.cos(3 * hue + np.deg2rad(6)) - 0.20 * tf.cos(4 * hue - np.deg2rad(63))
    d_light = (l2 - l1) / (1.0 + 0.015 * offset / tf.sqrt(20.0 + offset))
    d_chroma = (c2 - c1) / (1.0 + 0.045 * chroma)
    d_hue = 2.0 * tf.sqrt(c1 * c2) * tf.sin(0.5 * hue_step) / (1.0 + 0.015 * chroma * t)
    angle = np.deg2rad(30) * tf.exp(-(((hue * (180 / np.pi) - 275.0) / 25.0) ** 2))
    rotation = -2.0 * tf.sin(2.0 * angle) * _chroma_share(chroma)
    return tf.sqrt(tf.maximum(d_light**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue, 0.0))


def ciede2000(a, b):
    """Mean color difference CIEDE2000 over all pixels.

    Args:
        a, b: [B, H, W, 3] sRGB of one size, uint8 or any float, in [0, 255].

    Returns:
        [B] float64; 0 where the two images are equal, about 1 can just be seen.
    """
    return tf.reduce_mean(lab_difference(lab(a), lab(b)), axis=[1, 2])


def _length(a, b):
    return tf.sqrt(a * a + b * b)


def _chroma_share(chroma):
    return tf.sqrt(chroma**7 / (chroma**7 + 25.0**7))
