"""The hand-written gradients of layer norm and depthwise convolution, compared with TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.models import ops
from hazeheal.models.ops import depthwise, layer_norm

EPSILON = 1e-6


def plain_norm(x, scale, offset):
    values = tf.cast(x, tf.float32)
    mean, variance = tf.nn.moments(values, axes=[3], keepdims=True)
    return tf.cast((values - mean) * tf.math.rsqrt(variance + EPSILON) * scale + offset, x.dtype)


def ops_norm(x, scale, offset):
    return layer_norm(x, scale, offset, epsilon=EPSILON)


def gradients(function, inputs, above):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
    return outputs, tape.gradient(outputs, inputs, above)


def drawn(shape, dtype=tf.float32, *, seed, mean=0.0):
    return tf.cast(tf.random.stateless_normal(shape, [seed, 1], mean=mean), dtype)


@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize("channels", [1, 2, 48])
def test_layer_norm_and_its_gradients_equal_tensorflows(channels, mean):
    shape = [2, 5, 3, channels]
    inputs = [drawn(shape, seed=1, mean=mean), drawn([channels], seed=2), drawn([channels], seed=3)]
    above = drawn(shape, seed=4)
    (found, derived), (wanted, expected) = (gradients(function, inputs, above) for function in (ops_norm, plain_norm))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    for one, other in zip(derived, expected, strict=True):
        # With one or two channels next to nothing is divided by next to nothing.
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * float(tf.reduce_max(abs(other)) + 1))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_layer_norm_in_half_precision_equals_rounded_float32(dtype):
    exact = [drawn([2, 8, 8, 32], seed=1), drawn([32], seed=2), drawn([32], seed=3)]
    above = drawn([2, 8, 8, 32], seed=4)
    inputs = [tf.cast(exact[0], dtype), *exact[1:]]
    found, derived = gradients(ops_norm, inputs, tf.cast(above, dtype))
    wanted, expected = gradients(ops_norm, [tf.cast(inputs[0], tf.float32), *exact[1:]], above)
    assert (found.dtype, derived[0].dtype, derived[1].dtype) == (dtype, dtype, tf.float32)
    np.testing.assert_allclose(tf.cast(found, tf.float32), wanted, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(tf.cast(derived[0], tf.float32), expected[0], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [8, 7])
def test_depthwise_gradients_of_bfloat16_equal_rounded_float32(stride, side):
    strides = [1, stride, stride, 1]
    inputs = [drawn([2, side, side, 5], tf.bfloat16, seed=1), drawn([3, 3, 5, 1], tf.bfloat16, seed=2)]
    exact = [tf.cast(value, tf.float32) for value in inputs]
    found = depthwise(*inputs, strides=strides)
    wanted = tf.nn.depthwise_conv2d(*exact, strides, "SAME")
    np.testing.assert_allclose(tf.cast(found, tf.float32), wanted, rtol=1e-2, atol=2e-2)
    above = drawn(found.shape, tf.bfloat16, seed=3)
    _, derived = gradients(lambda x, kernel: depthwise(x, kernel, strides=strides), inputs, above)
    _, expected = gradients(lambda x, kernel: depthwise(x, kernel, strides=strides), exact, tf.cast(above, tf.float32))
    for one, other in zip(derived, expected, strict=True):
        assert one.dtype == tf.bfloat16
        np.testing.assert_array_equal(one, tf.cast(other, tf.bfloat16))  # exact, then rounded once


def test_depthwise_gradients_for_a_gpu_use_its_own_kernels(monkeypatch):
    def kinds(target_is_cpu):
        monkeypatch.setattr(ops, "target_is_cpu", target_is_cpu)
        specs = tf.TensorSpec([1, 8, 8, 5], tf.bfloat16), tf.TensorSpec([3, 3, 5, 1], tf.bfloat16)

        @tf.function(input_signature=specs)
        def gradient(x, kernel):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = depthwise(x, kernel, strides=[1, 1, 1, 1])
            return tape.gradient(outputs, x)

        found = gradient.get_concrete_function().graph.get_operations()
        return {op.outputs[0].dtype for op in found if op.type == "DepthwiseConv2dNativeBackpropInput"}

    assert (kinds(True), kinds(False)) == ({tf.float32}, {tf.bfloat16})
    assert kinds(None) == kinds(not tf.config.list_logical_devices("GPU"))


def test_depthwise_gradients_keep_the_static_shape():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 5], tf.bfloat16)])
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = depthwise(x, tf.ones([3, 3, 5, 1], tf.bfloat16), strides=[1, 2, 2, 1])
        return tape.gradient(outputs, x)

    assert gradient(tf.ones([1, 6, 4, 5], tf.bfloat16)).shape == [1, 6, 4, 5]
    assert gradient.get_concrete_function().structured_outputs.shape.as_list()[-1] == 5
