"""Schedules, clipping, Adam, the moving average and the loss scale, against numpy in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.training.step import optimizer

# --- learning rate ------------------------------------------------------------------------------------


def rate(step, *, warmup_steps=0, total_steps=100, decay="constant"):
    value = optimizer.learning_rate(
        tf.constant(step, tf.int64),
        base=0.5,
        warmup_steps=warmup_steps,
        total_steps=total_steps,
        decay=decay,
    )
    assert value.dtype == tf.float32
    return float(value)


@pytest.mark.parametrize(
    ("decay", "wanted"),
    [
        ("constant", {0: 0.5, 50: 0.5, 99: 0.5, 10**7: 0.5}),
        ("linear", {0: 0.5, 25: 0.375, 50: 0.25, 99: 0.005, 100: 0.0, 150: 0.0}),
        ("cosine", {0: 0.5, 25: 0.25 * (1 + math.sqrt(0.5)), 50: 0.25, 100: 0.0, 150: 0.0}),
    ],
)
def test_decay(decay, wanted):
    for step, value in wanted.items():
        assert rate(step, decay=decay) == pytest.approx(value, abs=1e-7), step


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
def test_warmup_climbs_to_the_base_rate_and_the_decay_begins_there(decay):
    rates = [rate(step, warmup_steps=10, total_steps=110, decay=decay) for step in range(10)]
    np.testing.assert_allclose(rates, 0.5 * np.arange(1, 11) / 10, rtol=1e-6)
    assert rate(10, warmup_steps=10, total_steps=110, decay=decay) == pytest.approx(0.5)
    after = {"constant": 0.5, "linear": 0.25, "cosine": 0.25}[decay]
    assert rate(60, warmup_steps=10, total_steps=110, decay=decay) == pytest.approx(after, abs=1e-7)


def test_a_run_that_is_all_warmup_has_finite_rates():
    for decay in ("constant", "linear", "cosine"):
        values = [rate(step, warmup_steps=10, total_steps=10, decay=decay) for step in range(12)]
        assert np.isfinite(values).all()
        assert values[0] == pytest.approx(0.05)


# --- clipping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(11,), (5, 64)])
def test_global_norm_is_numpys_and_not_finite_if_any_entry_is_not(shape):
    gradient = np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)
    norm = optimizer.global_norm(tf.constant(gradient))
    assert norm.shape == () and norm.dtype == tf.float32
    assert float(norm) == pytest.approx(np.linalg.norm(gradient.astype(np.float64)), rel=1e-6)
    for bad in (np.nan, np.inf, -np.inf):
        gradient.flat[-2] = bad
        assert not np.isfinite(float(optimizer.global_norm(tf.constant(gradient))))


@pytest.mark.parametrize(
    ("norm", "clip_norm", "factor"), [(10.0, 2.5, 0.25), (2.0, 2.5, 1.0), (0.0, 2.5, 1.0), (10.0, 0.0, 1.0)]
)
def test_clip_factor(norm, clip_norm, factor):
    assert float(optimizer.clip_factor(tf.constant(norm), clip_norm=clip_norm)) == pytest.approx(factor)


# --- Adam ---------------------------------------------------------------------------------------------


def numpy_adam(weights, gradients, *, rate, beta1, beta2, epsilon):
    """Kingma and Ba 2015, section 2, last paragraph, in float64; epsilon is the paper's epsilon hat."""
    w, m, v = weights.astype(np.float64), 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        g = g.astype(np.float64)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w = w - rate[t - 1] * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon)
    return w, m, v


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("beta1", "beta2", "epsilon"), [(0.5, 0.999, 1e-7), (0.9, 0.99, 1e-3), (0.0, 0.9, 1e-7)])
def test_adam_is_the_papers(jit_compile, beta1, beta2, epsilon):
    generator = np.random.default_rng(0)
    shape = (5, 4)
    weight = generator.normal(size=shape).astype(np.float32)
    # Over ten orders of magnitude, so that epsilon counts in some and not in others.
    scale = 10.0 ** generator.uniform(-9, 1, shape)
    steps = [(scale * generator.normal(size=shape)).astype(np.float32) for _ in range(6)]
    rates = [1e-2, 2e-2, 2e-2, 1e-3, 5e-3, 1e-2]

    @tf.function(jit_compile=jit_compile, autograph=False)
    def update(w, m, v, gradient, rate, updates):
        return optimizer.adam(w, m, v, gradient, rate=rate, updates=updates, beta1=beta1, beta2=beta2, epsilon=epsilon)

    state = tf.constant(weight), tf.zeros(shape), tf.zeros(shape)
    for t, gradient in enumerate(steps):
        state = update(*state, tf.constant(gradient), tf.constant(rates[t]), tf.constant(t, tf.int64))
    w, m, v = (tensor.numpy() for tensor in state)
    wanted = numpy_adam(weight, steps, rate=rates, beta1=beta1, beta2=beta2, epsilon=epsilon)
    np.testing.assert_allclose(w - weight, wanted[0] - weight, rtol=2e-4, atol=5e-7)
    np.testing.assert_allclose(m, wanted[1], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(v, wanted[2], rtol=1e-4, atol=1e-20)
    assert np.abs(wanted[0] - weight).max() > 5e-3


def test_adam_leaves_padding_at_zero():
    """The parameters lie in vectors with gaps, whose gradient is zero."""
    zeros, gradient = tf.zeros([4]), tf.constant([0.0, 1.0, 0.0, -2.0])
    options = {"rate": tf.constant(0.1), "updates": tf.constant(3, tf.int64)}
    state = optimizer.adam(zeros, zeros, zeros, gradient, beta1=0.5, beta2=0.999, epsilon=1e-7, **options)
    for value in state:
        assert (value.numpy() != 0).tolist() == [False, True, False, True]


# --- moving average -----------------------------------------------------------------------------------


def test_ema_decay_halves_in_a_half_life_and_ramps_up():
    half_life, batch = 2000.0, 4

    def decay(updates):
        return float(optimizer.ema_decay(tf.constant(updates, tf.int64), half_life=half_life, batch_size=batch))

    for updates in (0, 1, 10, 1000, 9_998, 9_999, 10_000, 10**6):
        seen = (updates + 1) * batch
        wanted = 0.5 ** (batch / min(half_life, 0.05 * seen))
        assert decay(updates) == pytest.approx(wanted, rel=1e-6), updates
    # 500 steps of 4 images are one half-life.
    assert decay(10**6) ** 500 == pytest.approx(0.5, rel=1e-4)
    assert decay(0) < 1e-5, "a young average must let go of the initial weights"


# --- loss scale ---------------------------------------------------------------------------------------


def next_scale(scale, good, finite):
    scale, good = optimizer.next_loss_scale(tf.constant(scale), tf.constant(good, tf.int64), finite=tf.constant(finite))
    assert good.dtype == tf.int64
    return float(scale), int(good)


def test_loss_scale_halves_doubles_and_is_bounded():
    period, most = optimizer.LOSS_SCALE_PERIOD, optimizer.LOSS_SCALE_MAX
    assert next_scale(1024.0, 5, True) == (1024.0, 6)
    assert next_scale(1024.0, 5, False) == (512.0, 0)
    assert next_scale(1024.0, period - 2, True) == (1024.0, period - 1)
    assert next_scale(1024.0, period - 1, True) == (2048.0, 0)
    assert next_scale(1024.0, period - 1, False) == (512.0, 0)
    assert next_scale(most, period - 1, True) == (most, 0)
    assert next_scale(1.0, 3, False) == (1.0, 0)
