"""The layers: initial scale, padding, norm and pooling against NumPy, and float32 statistics."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

from hazeheal.models.layers import Conv, Depthwise, MBConv, Norm, SqueezeExcite, Up, normalized, scaled_normal
from hazeheal.models.rearrange import MirrorPad, mirrored_indices

# Keras 3 reads variables through an `__array__` without numpy 2's `copy` argument.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def test_mbconv_keeps_the_scale_of_the_signal():
    """Keras's HeNormal would shrink it by the square root of the 128 channels."""
    block = MBConv(32, strides=2, norm="none", se_ratio=0, seed=0, path="mbconv")
    out = block(np.random.default_rng(0).normal(0, 1, (1, 32, 32, 32)).astype("float32")).numpy()
    assert 0.2 < out.std() < 3


def test_scaled_normal_has_the_stated_variance():
    values = scaled_normal(seed=0, path="a", fan_in=50, gain=2.0)((100, 400)).numpy()
    assert values.std() == pytest.approx(np.sqrt(2 / 50), rel=0.02)


def test_padding_equals_numpy_and_leaves_multiples_unchanged():
    for side in range(1, 17):
        x = images(1, side, 3, 2)
        wide = MirrorPad(8)(x).numpy()
        padded = -(-side // 8) * 8
        wanted = np.pad(x, ((0, 0), (0, padded - side), (0, 5), (0, 0)), mode="reflect" if side > 1 else "edge")
        if side == 1:  # numpy mirrors a single pixel only as an edge; the other axis is a true mirror
            wanted = np.pad(np.repeat(x, 8, axis=1), ((0, 0), (0, 0), (0, 5), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(wide, wanted, err_msg=str(side))
        dynamic = tf.function(MirrorPad(8), input_signature=[tf.TensorSpec([1, None, None, 2])])(x)
        np.testing.assert_array_equal(dynamic, wanted, err_msg=str(side))
    x = tf.constant(images(2, 8, 16, 3))
    np.testing.assert_array_equal(MirrorPad(8)(x), x)
    assert mirrored_indices(np.arange(8), 3).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_layer_norm_equals_numpy():
    x = (3 * images(2, 4, 5, 24) + 1).astype("float32")
    layer = Norm("layer")
    layer.build(x.shape)
    layer.scale.assign(np.linspace(0.5, 2, 24))
    layer.offset.assign(np.linspace(-1, 1, 24))
    bias = np.linspace(2, -1, 24, dtype="float32")
    y = x.astype("float64") + bias
    y = (y - y.mean(3, keepdims=True)) / np.sqrt(y.var(3, keepdims=True) + 1e-6)
    y = y * np.linspace(0.5, 2, 24) + np.linspace(-1, 1, 24)
    np.testing.assert_allclose(layer(x, bias), y, atol=2e-5)


def test_no_norm_adds_the_bias():
    x, bias = images(2, 4, 5, 3), np.array([1.0, -2.0, 0.5], "float32")
    layer = Norm("none")
    layer.build(x.shape)
    assert layer.variables == []
    np.testing.assert_array_equal(layer(x, bias), x + bias)


SAME = {"padding": "same"}
LAYERS = {
    "conv": (lambda: Conv(6, 3, **SAME), lambda: keras.layers.Conv2D(6, 3, **SAME)),
    "strided conv": (lambda: Conv(6, 3, 2, **SAME), lambda: keras.layers.Conv2D(6, 3, 2, **SAME)),
    "depthwise": (lambda: Depthwise(3, 2, **SAME), lambda: keras.layers.DepthwiseConv2D(3, 2, **SAME)),
    "up": (lambda: Up(6, 4, 2, **SAME), lambda: keras.layers.Conv2DTranspose(6, 4, 2, **SAME)),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_convolution_and_its_norm_equal_those_of_keras(kind, norm):
    """Where there is a norm, it adds the bias."""
    layer, reference = (make() for make in LAYERS[kind])
    x = images(2, 7, 6, 4)
    for one in (layer, reference):
        one.build(x.shape)
    reference.bias.assign(images(*reference.bias.shape, seed=1))
    layer.set_weights(reference.get_weights())
    assert [v.name for v in layer.variables] == [v.name for v in reference.variables]
    wanted = reference(x).numpy()
    np.testing.assert_allclose(layer(x), wanted, atol=1e-5)
    after = Norm(norm)
    after.build(wanted.shape)
    if norm == "layer":
        after.scale.assign(images(wanted.shape[-1], seed=2))
        wanted = (wanted - wanted.mean(3, keepdims=True)) / np.sqrt(wanted.var(3, keepdims=True) + 1e-6) * after.scale
    np.testing.assert_allclose(normalized(layer, after, tf.constant(x)), wanted, atol=2e-5)
    dynamic = tf.function(lambda x: normalized(layer, after, x), input_signature=[tf.TensorSpec([None, None, None, 4])])
    np.testing.assert_allclose(dynamic(x), wanted, atol=2e-5)


def test_a_removed_norm_is_refused():
    with pytest.raises(ValueError, match="norm is 'batch': must be one of none, layer"):
        Norm("batch")


def test_norm_statistics_are_float32_in_bfloat16():
    """A large common offset would swallow the variance if the mean were taken in bfloat16."""
    x = tf.cast(100 + tf.constant(images(1, 6, 6, 16)), tf.bfloat16)
    layer = Norm("layer", dtype="mixed_bfloat16")
    bias = tf.zeros([16])
    out = layer(x, bias)
    wanted = Norm("layer")(tf.cast(x, tf.float32), bias)
    assert out.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(out, tf.float32), wanted, rtol=0.01, atol=0.01)


def test_squeeze_excite_pools_in_float32():
    """The sum of 4096 pixels of 100 overflows float16; their mean does not."""
    layer = SqueezeExcite(8, seed=0, path="gate", dtype="mixed_float16")
    out = layer(tf.fill([1, 64, 64, 8], tf.cast(100.0, tf.float16)))
    assert np.isfinite(out.numpy()).all()
