"""The gradients and losses of one step, from the pure function that replicas compile, called eagerly.

Against one tape over Keras calls of the networks, in parts against the whole batch, and in low precision.
"""

import numpy as np
import pytest
import tensorflow as tf
from step_states import EVERYTHING, NORMS

from hazeheal.models.pixels import normalize
from hazeheal.training.step import losses
from hazeheal.training.step.forward_backward import accumulate, make_forward_backward
from hazeheal.training.step.train_state import LocalVariables


def forward_backward(trial, hazy, clear):
    """Runs the pure function eagerly on the first replica's variables; hazy, clear [B, H, W, 3]."""
    function = make_forward_backward(
        trial.networks, config=trial.config, scaled=trial.runtime.precision == "mixed_float16"
    )
    mine = LocalVariables(trial.state, 0)
    return function(
        mine.generator,
        mine.discriminator,
        mine.vectors,
        mine.frozen,
        mine.loss_scale,
        hazy,
        clear,
        1 / len(hazy),
    )


def awaken(trial, seed=0):
    """Moves every weight: the head starts at zero, and lets no gradient through to the rest of the generator."""
    generator = np.random.default_rng(seed)
    values = trial.state.snapshot()
    for name in values:
        if name.startswith(("generator/", "discriminator/", "ema/")) and not name.endswith("/u"):
            noise = generator.normal(0, 0.05, values[name].shape)
            values[name] = (values[name] + noise).astype(np.float32)
    trial.state.load(values, source="noise")
    return trial


def test_gradients_are_those_of_the_whole_objective(training, batches, vgg):
    """Against one tape over Keras calls of the networks, with the means written as means."""
    fields = {k: EVERYTHING[k] for k in ("loss__perceptual_weight", "loss__perceptual_layer")}
    trial = awaken(training(loss__perceptual_weights=vgg, **fields))
    hazy, clear = (x[0] for x in batches(1))
    outputs = forward_backward(trial, hazy, clear)

    gan, (x, y) = trial.networks, (normalize(hazy), normalize(clear))
    vectors = [v for v in gan.discriminator.variables if v.path.endswith("/u")]
    before = [v.numpy() for v in vectors]
    with tf.GradientTape(persistent=True) as tape:
        restored = gan.generator(x, training=True)
        logits = gan.discriminator([tf.concat([x, x], 0), tf.concat([y, restored], 0)], training=True)
        moved = [v.numpy() for v in vectors]
        real, fake = tf.split(logits, 2)
        bce = tf.nn.sigmoid_cross_entropy_with_logits
        disc_loss = tf.reduce_mean(bce(tf.ones_like(real), real)) + tf.reduce_mean(bce(tf.zeros_like(fake), fake))
        gan_loss = tf.reduce_mean(bce(tf.ones_like(fake), fake))
        difference = tf.abs(x - y)
        mask = tf.reduce_mean(difference, -1, keepdims=True)
        mask /= tf.reduce_max(mask, [1, 2, 3], keepdims=True) + 1e-6
        c = tf.reduce_mean(tf.sqrt((restored - y) ** 2 + 1e-6), -1, keepdims=True)
        hazy_part = tf.reduce_sum(mask * c, [1, 2, 3]) / (tf.reduce_sum(mask, [1, 2, 3]) + 1e-6)
        l1 = 0.7 * tf.reduce_mean(c) + 0.3 * tf.reduce_mean(hazy_part)
        perceptual = tf.reduce_mean(tf.abs(gan.perceptual(restored) - gan.perceptual(y)))
        total = gan_loss + 150 * l1 + 0.005 * perceptual
    wanted = [*tape.gradient(total, gan.generator.trainable_variables)]
    wanted += tape.gradient(disc_loss, gan.discriminator.trainable_variables)
    np.testing.assert_allclose(outputs["sums"], [disc_loss, gan_loss, l1, perceptual, total], rtol=1e-5)
    assert float(perceptual) > 0.1
    assert len(outputs["gradients"]) == len(wanted)
    for mine, theirs in zip(outputs["gradients"], wanted, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * scale + 1e-7)
    # u moves by one power iteration, and only as an output.
    for output, new, old in zip(outputs["vectors"], moved, before, strict=True):
        np.testing.assert_allclose(output, new, rtol=1e-5, atol=1e-6)
        assert old.size == 1 or not np.allclose(new, old)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(training, batches, norm):
    """What makes replicas and micro-batches exact: sums over images, divided by the global count."""
    # Over fewer channels a layer norm divides by next to nothing: rounding alone moves the gradients by a thousandth.
    trial = awaken(training(model__norm=norm, model__width=16))
    hazy, clear = (x[0] for x in batches(1))
    function = make_forward_backward(trial.networks, config=trial.config, scaled=False)
    mine = LocalVariables(trial.state, 0)
    batch = {"hazy": tf.constant(hazy), "clear": tf.constant(clear)}
    whole, parts = (accumulate(function, mine, batch, micro_batches=n, share=1 / 4) for n in (1, 4))
    np.testing.assert_allclose(parts["sums"], whole["sums"], rtol=1e-5)
    # Over all gradients together: those of a bias before a norm are zero but for rounding.
    a, b = (np.concatenate([np.ravel(g) for g in o["gradients"]]) for o in (parts, whole))
    assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_has_float32_gradients_and_losses(training, batches, precision):
    # Over the 4 channels of other tests a layer norm divides by next to nothing and multiplies rounding errors.
    low, high = (awaken(training(precision=p, model__width=16)) for p in (precision, "float32"))
    low.state.loss_scale.assign(2.0**8)  # under which these gradients are finite
    hazy, clear = (x[0] for x in batches(1))
    outputs, wanted = forward_backward(low, hazy, clear), forward_backward(high, hazy, clear)
    assert {t.dtype for t in tf.nest.flatten(outputs)} == {tf.float32}
    assert {v.dtype for v in low.state.variables.values()} == {tf.float32, tf.int64}
    np.testing.assert_allclose(outputs["sums"], wanted["sums"], rtol=2e-2)
    scale = float(low.copies(0)["loss_scale"]) if precision == "mixed_float16" else 1.0
    mine, theirs = (np.concatenate([np.ravel(g) for g in o["gradients"]]) for o in (outputs, wanted))
    error = np.linalg.norm(mine / scale - theirs) / np.linalg.norm(theirs)
    assert error < (0.1 if precision == "mixed_bfloat16" else 0.02)


def test_a_weight_of_zero_turns_a_term_off(training, batches):
    trial = awaken(training(loss__gan_weight=0.0))
    hazy, clear = (x[0] for x in batches(1))
    outputs = forward_backward(trial, hazy, clear)
    with tf.GradientTape() as tape:
        restored = trial.networks.generator(normalize(hazy), training=True)
        mask = losses.haze_mask(normalize(hazy), normalize(clear))
        l1 = 150 * tf.reduce_mean(losses.charbonnier(restored, normalize(clear), mask=mask))
    wanted = tape.gradient(l1, trial.networks.generator.trainable_variables)
    assert float(outputs["sums"][4]) == pytest.approx(float(l1), rel=1e-5)
    assert outputs["sums"][:2].numpy().tolist() == [0, 0], "no discriminator is asked"
    count = len(wanted)
    assert all(not np.any(gradient) for gradient in outputs["gradients"][count:])
    for mine, theirs in zip(outputs["gradients"], wanted, strict=False):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max() + 1e-7)


def test_the_total_is_the_weighted_sum(training, batches, vgg):
    fields = {"loss__perceptual_weight": 0.005, "loss__perceptual_layer": "block1_conv1"}
    trial = awaken(training(loss__perceptual_weights=vgg, **fields))
    disc, gan, l1, perceptual, total = forward_backward(trial, *(x[0] for x in batches(1)))["sums"].numpy()
    assert total == pytest.approx(gan + 150 * l1 + 0.005 * perceptual, rel=1e-6)
    assert min(disc, gan, l1, perceptual) > 0
