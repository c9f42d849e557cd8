"""The discriminator and its spectral convolution: sigma, gradient, state, precision, XLA."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.models.discriminator import SpectralConv2D, build_discriminator


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def spectral(filters=5, channels=3, *, strides=1, dtype="float32", seed=0):
    layer = SpectralConv2D(filters, 4, strides=strides, seed=seed, path="conv", name="conv", dtype=dtype)
    layer.build((None, None, None, channels))
    return layer


def stateless(model, inputs, training=True):
    return model.stateless_call(model.trainable_variables, model.non_trainable_variables, inputs, training=training)


@pytest.mark.parametrize(("width", "wanted"), [(64, 6_962_625), (16, 438_129)])
def test_parameter_count(width, wanted):
    model = build_discriminator(width=width)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == wanted
    assert [v.path for v in model.non_trainable_variables] == [
        *(f"conv_{i}/u" for i in range(5)),
        "logits/u",
    ]


@pytest.mark.parametrize(("side", "patches"), [((256, 256), (16, 16)), ((17, 1), (2, 1)), ((1, 16), (1, 1))])
def test_one_logit_per_patch(side, patches):
    model = build_discriminator(width=2)
    x = images(1, *side, 3)
    assert model([x, x]).shape == (1, *patches, 1)


def test_initial_values_are_a_function_of_the_seed():
    first, second, other = (build_discriminator(width=2, seed=seed).variables for seed in (3, 3, 4))
    for a, b, c in zip(first, second, other, strict=True):
        assert a.path == b.path
        np.testing.assert_array_equal(a, b)
        if not a.path.endswith("bias") and a.path != "logits/u":  # a unit vector of one number is 1 or -1
            assert not np.array_equal(a, c), a.path
        if a.path.endswith("/u"):
            assert np.linalg.norm(a.numpy()) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="width is 0"):
        build_discriminator(width=0)


def test_sigma_converges_to_the_largest_singular_value():
    layer = spectral(filters=6, channels=4)
    layer.kernel.assign(np.random.default_rng(1).normal(0, 0.3, layer.kernel.shape))
    largest = np.linalg.svd(layer.kernel.numpy().reshape(-1, 6), compute_uv=False)[0]
    x = images(1, 8, 8, 4)
    errors = []
    for _ in range(300):
        out = layer(x, training=True)
        wanted = tf.nn.conv2d(x, layer.kernel.numpy() / largest, strides=1, padding="SAME")
        errors.append(np.abs(out - wanted).max())
    assert errors[0] > 1e-3, "sigma was right before the first iteration: this test shows nothing"
    assert errors[-1] < 1e-5
    # and inference, with the stored u, agrees
    np.testing.assert_allclose(layer(x), wanted, atol=1e-5)


def test_one_power_iteration_per_training_call():
    layer = spectral()
    w, u = layer.kernel.numpy().reshape(-1, 5).astype("float64"), layer.u.numpy().astype("float64")
    v = w @ u / np.linalg.norm(w @ u)
    new = w.T @ v / np.linalg.norm(w.T @ v)
    layer.bias.assign(np.arange(5.0))
    x = images(2, 7, 6, 3)
    out = layer(x, training=True)
    kernel = (layer.kernel.numpy() / (v @ w @ new)).astype("float32")
    wanted = tf.nn.conv2d(x, kernel, strides=1, padding="SAME") + np.arange(5.0, dtype="float32")
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    np.testing.assert_allclose(layer.u, new, atol=1e-6)


def test_stateless_call_writes_nothing_and_returns_the_new_u():
    model = build_discriminator(width=2)
    before = {v.path: v.numpy() for v in model.variables}
    x = images(2, 32, 32, 3)
    logits, state = stateless(model, [x, x])
    assert logits.dtype == tf.float32
    for v in model.variables:
        np.testing.assert_array_equal(v.numpy(), before[v.path], err_msg=v.path)
    for variable, new in zip(model.non_trainable_variables, state, strict=True):
        assert np.linalg.norm(new) == pytest.approx(1, abs=1e-6)
        assert variable.path == "logits/u" or not np.array_equal(new, before[variable.path])
    _, idle = stateless(model, [x, x], training=False)
    for variable, same in zip(model.non_trainable_variables, idle, strict=True):
        np.testing.assert_array_equal(same, before[variable.path])
    model([x, x], training=True)  # outside of a stateless scope the same call moves u, and u alone
    for variable, new in zip(model.non_trainable_variables, state, strict=True):
        np.testing.assert_allclose(variable, new, atol=1e-6)
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])


@pytest.mark.parametrize("training", [True, False])
def test_gradient_through_the_normalized_kernel(training):
    """Against central differences in float64 of the loss with u and v held constant."""
    layer = spectral(filters=3, channels=2)
    x, weights = images(1, 5, 5, 2), images(1, 5, 5, 3, seed=1)
    w0, u0 = layer.kernel.numpy().astype("float64"), layer.u.numpy().astype("float64")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=training) * weights)
    gradient = tape.gradient(loss, layer.kernel.value).numpy()
    m = w0.reshape(-1, 3)
    v = m @ u0 / np.linalg.norm(m @ u0)
    u = m.T @ v / np.linalg.norm(m.T @ v) if training else u0

    def value(kernel):
        sigma = v @ kernel.reshape(-1, 3) @ u
        out = tf.nn.conv2d(x.astype("float64"), kernel / sigma, strides=1, padding="SAME")
        return float(tf.reduce_sum(out * weights))

    for index in [(0, 0, 0, 0), (3, 1, 1, 2), (2, 2, 0, 1), (1, 3, 1, 0)]:
        step = np.zeros_like(w0)
        step[index] = 1e-6
        numeric = (value(w0 + step) - value(w0 - step)) / 2e-6
        assert gradient[index] == pytest.approx(numeric, rel=1e-3, abs=1e-4)
    # W / sigma does not change with the scale of W, so the gradient has no part along W.
    assert abs((gradient * w0).sum()) < 1e-4 * np.linalg.norm(gradient) * np.linalg.norm(w0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_kernel_u_and_sigma_in_float32(policy):
    model, reference = build_discriminator(width=4, dtype=policy), build_discriminator(width=4)
    assert {v.dtype for v in model.variables} == {"float32"}
    assert model.get_layer("conv_2").compute_dtype == policy.split("_")[1]
    x, y = images(2, 32, 32, 3), images(2, 32, 32, 3, seed=1)
    logits, state = stateless(model, [x, y])
    wanted, wanted_state = stateless(reference, [x, y])
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, wanted, atol=0.02)
    for a, b in zip(state, wanted_state, strict=True):
        np.testing.assert_array_equal(a, b)  # the very same bits: nothing was rounded on the way


def test_xla_gives_the_same():
    model = build_discriminator(width=2)
    x, y = tf.constant(images(2, 32, 32, 3)), tf.constant(images(2, 32, 32, 3, seed=1))
    variables = [v.value for v in model.trainable_variables]

    def step(x, y):
        with tf.GradientTape() as tape:
            logits, state = stateless(model, [x, y])
            loss = tf.reduce_mean(tf.nn.softplus(logits))
        return logits, state, tape.gradient(loss, variables)

    plain, compiled = tf.function(step)(x, y), tf.function(step, jit_compile=True)(x, y)
    for a, b in zip(tf.nest.flatten(plain), tf.nest.flatten(compiled), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)
    assert all(np.abs(g).max() > 0 for g in plain[2])


@pytest.mark.parametrize("training", [True, False])
def test_a_zero_kernel_gives_zero_and_not_nan(training):
    layer = spectral()
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    with tf.GradientTape() as tape:
        outputs = layer(images(1, 4, 4, 3), training=training)
    assert np.abs(outputs).max() == 0
    assert np.isfinite(layer.u.numpy()).all()
    assert np.isfinite(tape.gradient(outputs, layer.kernel.value)).all()


def test_both_images_count_and_a_nan_does_not_spread_to_other_images():
    model = build_discriminator(width=2)
    x, y = images(3, 16, 16, 3), images(3, 16, 16, 3, seed=1)
    base = model([x, y]).numpy()
    assert np.abs(model([y, y]).numpy() - base).max() > 1e-4
    assert np.abs(model([x, x]).numpy() - base).max() > 1e-4
    y[2, 3, 3, 1] = np.nan
    assert np.isnan(model([x, y])).any(axis=(1, 2, 3)).tolist() == [False, False, True]
