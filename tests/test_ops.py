"""The operations in both forms, for CPUs and GPUs, compared with TensorFlow's own and with each other.

The form for GPUs is plain TensorFlow as well, so that it runs here. `test_step_gradients.py` compares whole steps.
"""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.models import ops

EPSILON = 1e-6
LIBRARY, FUSED = False, True  # the two forms
BOTH = pytest.mark.parametrize("target", [LIBRARY, FUSED], ids=["library", "fused"])


@pytest.fixture
def form():
    """Sets the form in which the operations are computed."""
    with contextlib.ExitStack() as stack:
        yield lambda target: stack.enter_context(ops.fused_forms(target))


def gradients(function, inputs, above):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
    return outputs, tape.gradient(outputs, inputs, above)


def drawn(shape, dtype=tf.float32, *, seed, mean=0.0):
    return tf.cast(tf.random.stateless_normal(shape, [seed, 1], mean=mean), dtype)


def assert_close(found, wanted, *, rtol=1e-5):
    """Compares tensors; errors may be `rtol` of the largest value."""
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * np.abs(wanted).max())


def assert_forms_equal(form, function, inputs, *, rtol=1e-5):
    """Asserts that both forms have the same value and gradients, run eagerly and with XLA.

    Returns:
        (value, gradients) in the form of the libraries.
    """
    form(LIBRARY)
    above = drawn(function(*inputs).shape, inputs[0].dtype, seed=99)
    wanted, expected = gradients(function, inputs, above)
    form(FUSED)
    compute = tf.function(lambda inputs, above: gradients(function, inputs, above), jit_compile=True, autograph=False)
    for found, derived in (gradients(function, inputs, above), compute(inputs, above)):
        assert_close(found, wanted, rtol=rtol)
        for one, other in zip(derived, expected, strict=True):
            assert_close(one, other, rtol=rtol)
    return wanted, expected


def test_the_form_is_that_of_the_libraries_unless_it_is_set():
    assert not ops.is_fused()
    with ops.fused_forms():
        assert ops.is_fused()
        with ops.fused_forms(False):
            assert not ops.is_fused()
        assert ops.is_fused()
    assert not ops.is_fused()


# --- layer normalization ------------------------------------------------------------------------------


def plain_norm(x, bias, scale, offset):
    values = tf.cast(x + bias, tf.float32)
    mean, variance = tf.nn.moments(values, axes=[3], keepdims=True)
    return tf.cast((values - mean) * tf.math.rsqrt(variance + EPSILON) * scale + offset, x.dtype)


def ops_norm(x, bias, scale, offset):
    return ops.layer_norm(x, bias, scale, offset, epsilon=EPSILON)


def norm_inputs(channels, mean):
    return [drawn([2, 5, 3, channels], seed=1, mean=mean), *(drawn([channels], seed=seed) for seed in (5, 2, 3))]


@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize("channels", [1, 2, 48])
def test_layer_norm_and_its_gradients_equal_tensorflows(form, channels, mean):
    form(LIBRARY)
    inputs, above = norm_inputs(channels, mean), drawn([2, 5, 3, channels], seed=4)
    (found, derived), (wanted, expected) = (gradients(function, inputs, above) for function in (ops_norm, plain_norm))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    for one, other in zip(derived, expected, strict=True):
        # With one or two channels next to nothing is divided by next to nothing.
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * float(tf.reduce_max(abs(other)) + 1))


@pytest.mark.parametrize(("channels", "mean"), [(1, 0.0), (2, 0.0), (48, 0.0), (48, 30.0)])
def test_layer_norm_for_gpus_has_the_rounding_errors_of_a_difference_of_squares(form, channels, mean):
    """Its variance is the mean of squares less the square of the mean: where both are large, digits are lost."""
    form(FUSED)
    inputs, above = norm_inputs(channels, mean), drawn([2, 5, 3, channels], seed=4)
    (found, derived), (wanted, expected) = (gradients(function, inputs, above) for function in (ops_norm, plain_norm))
    x = np.float64(inputs[0] + inputs[1])
    amplified = np.mean(x * x, axis=3, keepdims=True) / (np.var(x, axis=3, keepdims=True) + EPSILON)
    tolerance = 1e-6 + 1e-6 * np.abs(wanted) + 2.0**-22 * amplified * np.abs(wanted - inputs[3])
    assert (np.abs(found - wanted) <= tolerance).all()
    if channels > 1:  # the variance of one channel is zero, and so is the gradient but for rounding
        relative = 1e-3 + 2.0**-21 * amplified.max()
        for one, other in zip(derived, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=relative, atol=relative * float(tf.reduce_max(abs(other)) + 1))


@BOTH
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_layer_norm_in_half_precision_equals_rounded_float32(form, dtype, target):
    form(target)
    exact = [drawn([2, 8, 8, 32], seed=1), *(drawn([32], seed=seed) for seed in (5, 2, 3))]
    above = drawn([2, 8, 8, 32], seed=4)
    inputs = [*(tf.cast(value, dtype) for value in exact[:2]), *exact[2:]]
    found, derived = gradients(ops_norm, inputs, tf.cast(above, dtype))
    wanted, expected = gradients(ops_norm, [tf.cast(value, tf.float32) for value in inputs], above)
    assert found.dtype == dtype
    assert [one.dtype for one in derived] == [dtype, dtype, tf.float32, tf.float32]
    np.testing.assert_allclose(tf.cast(found, tf.float32), wanted, rtol=1e-2, atol=2e-2)
    np.testing.assert_allclose(tf.cast(derived[0], tf.float32), expected[0], rtol=2e-2, atol=2e-2)


# More than 2048 pixels are summed in blocks; 2601 cannot be divided into equal ones.
@pytest.mark.parametrize("shape", [[2, 5, 3, 24], [2, 64, 64, 8], [1, 51, 51, 8]])
def test_layer_norm_has_the_same_gradients_in_fused_form(form, shape):
    inputs = [drawn(shape, seed=1, mean=0.5), *(drawn(shape[3:], seed=seed) for seed in (5, 2, 3))]
    assert_forms_equal(form, ops_norm, inputs, rtol=1e-4)


# --- units and pooling --------------------------------------------------------------------------------


def test_relu_has_the_same_gradient_for_gpus_at_zero_too(form):
    x = drawn([2, 5, 4, 3], seed=1)
    x = tf.where(tf.abs(x) < 0.5, tf.zeros_like(x), x)
    x = tf.concat([x, -tf.zeros_like(x), tf.zeros_like(x)], 0)
    value, (gradient,) = assert_forms_equal(form, ops.relu, [x])
    np.testing.assert_array_equal(value, np.maximum(x, 0))
    assert not np.any(gradient.numpy()[x.numpy() <= 0])


def test_relu_keeps_nan_in_fused_form(form):
    """A step is skipped if a loss is not finite, so nothing may hide a NaN."""
    for target in (LIBRARY, FUSED):
        form(target)
        assert np.isnan(ops.relu(tf.constant([np.nan, 1.0]))).tolist() == [True, False]


@pytest.mark.parametrize("shape", [[2, 6, 4, 3], [1, 7, 4, 2], [2, 4, 9, 1], [1, 5, 3, 2], [3, 2, 2, 1]])
@pytest.mark.parametrize("levels", [None, 2, 1])
def test_max_pool_has_the_same_gradient_for_gpus_with_ties_too(form, shape, levels):
    """With few levels most windows have several maxima: the first one, row by row, gets the gradient."""
    x = drawn(shape, seed=1)
    if levels:
        x = tf.floor(tf.random.stateless_uniform(shape, [3, 1]) * levels)
    value, (gradient,) = assert_forms_equal(form, ops.max_pool, [x])
    assert value.shape == (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
    # Each window passes on its gradient once.
    assert (gradient.numpy() != 0).sum() == value.numpy().size


def test_max_pool_takes_open_shapes(form):
    x, above = drawn([2, 7, 6, 3], seed=1), drawn([2, 3, 3, 3], seed=2)
    found = {}
    for target in (LIBRARY, FUSED):
        form(target)
        spec = tf.TensorSpec([None, None, None, 3])
        compute = tf.function(lambda x, above: gradients(ops.max_pool, [x], above), input_signature=[spec, spec])
        found[target] = tf.nest.flatten(compute(x, above))
    for one, other in zip(found[FUSED], found[LIBRARY], strict=True):
        np.testing.assert_array_equal(one, other)


# --- convolutions -------------------------------------------------------------------------------------


# Without 1x1 taps and strides 2, which no network has: on CPUs without AVX-512, oneDNN in TensorFlow 2.21 computes a wrong
# kernel gradient for them, or reads beyond the tensor and ends the process.
@pytest.mark.parametrize(("size", "strides"), [(1, 1), (3, 1), (3, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("sides", [(8, 8), (7, 7), (8, 5), (2, 3), (1, 1)])
@pytest.mark.parametrize("biased", [True, False])
def test_conv_same_is_tensorflows_in_both_forms(form, strides, size, sides, biased):
    inputs = [drawn([2, *sides, 3], seed=1), drawn([size, size, 3, 4], seed=2), drawn([4], seed=3)]
    if not biased:
        inputs.pop()

    def convolve(x, kernel, bias=None):
        return ops.conv_same(x, kernel, bias, strides=strides)

    value, _ = assert_forms_equal(form, convolve, inputs)
    wanted = tf.nn.conv2d(*inputs[:2], strides, "SAME")
    assert_close(value, wanted + inputs[2] if biased else wanted)


def test_conv_same_takes_open_shapes(form):
    form(FUSED)
    x, kernel, bias = drawn([1, 7, 8, 3], seed=1), drawn([4, 4, 3, 2], seed=2), drawn([2], seed=3)
    compute = tf.function(
        lambda x: ops.conv_same(x, kernel, bias, strides=2), input_signature=[tf.TensorSpec([None, None, None, 3])]
    )
    assert_close(compute(x), tf.nn.conv2d(x, kernel, 2, "SAME") + bias)


@BOTH
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("sides", [(8, 8), (7, 5)])
def test_conv_input_gradient_is_that_of_the_convolution(form, target, strides, sides):
    form(target)
    x, kernel = drawn([2, *sides, 3], seed=1), drawn([4, 4, 3, 5], seed=2)
    wanted = gradients(lambda x: tf.nn.conv2d(x, kernel, strides, "SAME"), [x], None)
    above = drawn(wanted[0].shape, seed=3)
    _, (wanted,) = gradients(lambda x: tf.nn.conv2d(x, kernel, strides, "SAME"), [x], above)
    assert_close(ops.conv_input_gradient(above, tf.zeros_like(x), kernel, strides=strides), wanted)


def test_dense_is_a_convolution_in_both_forms(form):
    inputs = [drawn([5, 1, 1, 7], seed=1), drawn([1, 1, 7, 4], seed=2), drawn([4], seed=3)]
    value, _ = assert_forms_equal(form, ops.dense, inputs)
    assert_close(value, tf.nn.conv2d(*inputs[:2], 1, "VALID") + inputs[2])


def test_channels_are_scaled_alike(form):
    inputs = [drawn([2, 5, 4, 3], seed=1), drawn([2, 1, 1, 3], seed=2)]
    value, _ = assert_forms_equal(form, ops.scale_channels, inputs)
    assert_close(value, inputs[0] * inputs[1])
    form(FUSED)  # a product in float32, rounded once
    x = tf.cast(inputs[0], tf.bfloat16)
    wanted = tf.cast(tf.cast(x, tf.float32) * inputs[1], tf.bfloat16)
    np.testing.assert_array_equal(ops.scale_channels(x, inputs[1]), wanted)


# --- depthwise ----------------------------------------------------------------------------------------


def depthwise(strides):
    return lambda x, kernel: ops.depthwise(x, kernel, strides=strides)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("sides", [(8, 8), (7, 7), (8, 5), (2, 3), (1, 1)])
def test_depthwise_is_tensorflows_in_both_forms(form, strides, size, sides):
    inputs = [drawn([2, *sides, 5], seed=1), drawn([size, size, 5, 1], seed=2)]
    value, _ = assert_forms_equal(form, depthwise(strides), inputs)
    assert_close(value, tf.nn.depthwise_conv2d(*inputs, [1, strides, strides, 1], "SAME"))


@BOTH
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("side", [8, 7])
def test_depthwise_gradients_of_bfloat16_equal_rounded_float32(form, strides, side, target):
    form(target)
    inputs = [drawn([2, side, side, 5], tf.bfloat16, seed=1), drawn([3, 3, 5, 1], tf.bfloat16, seed=2)]
    exact = [tf.cast(value, tf.float32) for value in inputs]
    found = depthwise(strides)(*inputs)
    wanted = tf.nn.depthwise_conv2d(*exact, [1, strides, strides, 1], "SAME")
    # On CPUs without bfloat16 the library rounds once for each tap.
    rtol, atol = (2e-2, 5e-2) if target == LIBRARY else (1e-2, 2e-2)
    np.testing.assert_allclose(tf.cast(found, tf.float32), wanted, rtol=rtol, atol=atol)
    above = drawn(found.shape, tf.bfloat16, seed=3)
    _, derived = gradients(depthwise(strides), inputs, above)
    _, expected = gradients(depthwise(strides), exact, tf.cast(above, tf.float32))
    for one, other in zip(derived, expected, strict=True):
        assert one.dtype == tf.bfloat16
        if target == LIBRARY:
            np.testing.assert_array_equal(one, tf.cast(other, tf.bfloat16))  # exact, then rounded once
        else:  # rounded once for each tap
            np.testing.assert_allclose(tf.cast(one, tf.float32), other, rtol=2e-2, atol=5e-2)


def test_depthwise_for_a_gpu_is_no_kernel_of_its_own(form):
    def kinds(target):
        form(target)
        specs = tf.TensorSpec([1, 8, 8, 5], tf.bfloat16), tf.TensorSpec([3, 3, 5, 1], tf.bfloat16)

        @tf.function(input_signature=specs)
        def gradient(x, kernel):
            return gradients(depthwise(1), [x, kernel], None)

        found = gradient.get_concrete_function().graph.get_operations()
        return {(op.type, op.outputs[0].dtype.name) for op in found if op.type.startswith("Depthwise")}

    # On a CPU the gradients are computed in float32.
    name = "DepthwiseConv2dNative"
    in_float32 = {(f"{name}BackpropInput", "float32"), (f"{name}BackpropFilter", "float32")}
    assert kinds(LIBRARY) == {(name, "bfloat16")} | in_float32
    assert kinds(FUSED) == set()


@BOTH
@pytest.mark.parametrize("strides", [1, 2])
def test_depthwise_gradients_take_open_shapes_and_keep_the_static_one(form, target, strides):
    form(target)
    dtype = tf.bfloat16 if target == LIBRARY else tf.float32
    kernel = drawn([3, 3, 5, 1], dtype, seed=1)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 5], dtype)])
    def gradient(x):
        outputs, (derived,) = gradients(lambda x: depthwise(strides)(x, kernel), [x], None)
        return outputs, derived

    for sides in ((6, 4), (5, 7)):
        x = drawn([1, *sides, 5], dtype, seed=2)
        outputs, derived = gradient(x)
        wanted, (expected,) = gradients(lambda x: depthwise(strides)(x, kernel), [x], None)
        assert derived.shape == x.shape
        np.testing.assert_allclose(tf.cast(outputs, tf.float32), tf.cast(wanted, tf.float32), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(tf.cast(derived, tf.float32), tf.cast(expected, tf.float32), rtol=1e-5, atol=1e-5)
    assert gradient.get_concrete_function().structured_outputs[1].shape.as_list()[-1] == 5
