"""A perceptual distance for networks that were trained with the perceptual loss on block 3 of VGG19.

    distance = PerceptualDistance("vgg19.npz")
    distance(restored, clear)  # uint8 [H, W, 3] each

As in LPIPS (Zhang et al. 2018), features are normalized to length 1 at each position, and the squared differences are
summed over the channels and averaged over the positions. LPIPS weights the channels by what it learned from people's
judgments, and uses AlexNet. Here all channels weigh the same: those of the last convolutions of blocks 1 and 2, which
that loss does not use.
"""

import numpy as np
import tensorflow as tf

from hazeheal.models.perceptual import build_perceptual
from hazeheal.utils.import_keras import keras

LAYERS = ("block1_conv2", "block2_conv2")


class PerceptualDistance:
    """The mean over LAYERS of the squared distance between unit-normalized features; 0 for equal images, at most 4."""

    def __init__(self, weights):
        """Reads the weights as `build_perceptual` does."""
        network = build_perceptual(weights=weights, layer=LAYERS[-1])
        outputs = [network.get_layer(f"{layer}_relu").output for layer in LAYERS]
        self._features = tf.function(keras.Model(network.input, outputs), reduce_retracing=True, autograph=False)

    def __call__(self, image: np.ndarray, other: np.ndarray) -> float:
        """Compares two images, uint8 `[H, W, 3]`."""
        a, b = (self._features(tf.cast(x, tf.float32)[tf.newaxis] / 127.5 - 1) for x in (image, other))
        distances = [tf.reduce_sum((_unit(x) - _unit(y)) ** 2, -1) for x, y in zip(a, b, strict=True)]
        return float(np.mean([tf.reduce_mean(d) for d in distances]))


def _unit(features):
    return features / (tf.norm(features, axis=-1, keepdims=True) + 1e-10)
