"""The gradients and losses of one step, from the pure function that replicas compile, called eagerly.

Against one tape over Keras calls of the networks, in parts against the whole batch, and in low precision.
"""

import numpy as np
import pytest
import tensorflow as tf
from step_states import EVERYTHING, NORMS
from trainings import make_config, separate

from hazeheal.models import perceptual
from hazeheal.models.networks import build_networks
from hazeheal.models.pixels import normalize
from hazeheal.training.step import losses
from hazeheal.training.step.forward_backward import accumulate, make_forward_backward
from hazeheal.training.step.train_state import NETWORKS, TrainState


def forward_backward(trial, hazy, clear):
    """Runs the pure function eagerly on the first replica's variables; hazy, clear [B, H, W, 3].

    Returns:
        ({NETWORK/PATH: gradient}, losses, {PATH: spectral vector}), arrays.
    """
    scaled = trial.runtime.precision == "mixed_float16"
    function = make_forward_backward(trial.networks, trial.state.layouts, config=trial.config, scaled=scaled)
    outputs = function(trial.state.read(0), hazy, clear, 1 / len(hazy))
    assert {tensor.dtype for tensor in outputs.values()} == {tf.float32}
    return separate(trial.state, outputs)


def joined(gradients):
    """All gradients as one vector."""
    return np.concatenate([gradient.ravel() for gradient in gradients.values()])


def assert_gradients_equal(mine, theirs):
    """Compares {NETWORK/PATH: gradient}."""
    assert mine.keys() == theirs.keys()
    for name, wanted in theirs.items():
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(mine[name], wanted, rtol=1e-3, atol=1e-4 * scale + 1e-7, err_msg=name)


def awaken(trial):
    """Moves every weight: the head starts at zero, and lets no gradient through to the rest of the generator."""
    trial.state.load(moved(trial.state.snapshot()), source="noise")
    return trial


def moved(values):
    """A snapshot with noise added to the networks' weights."""
    generator = np.random.default_rng(0)
    for name in values:
        if name.startswith(("generator/", "discriminator/", "ema/")) and not name.endswith("/u"):
            noise = generator.normal(0, 0.05, values[name].shape)
            values[name] = (values[name] + noise).astype(np.float32)
    return values


def test_gradients_are_those_of_the_whole_objective(training, batches, vgg):
    """Against one tape over Keras calls of the networks, with the means written as means."""
    fields = {k: EVERYTHING[k] for k in ("loss__perceptual_weight", "loss__perceptual_layer")}
    trial = awaken(training(loss__perceptual_weights=vgg, **fields))
    hazy, clear = (x[0] for x in batches(1))
    gradients, sums, spectral = forward_backward(trial, hazy, clear)

    gan, (x, y) = trial.trained_networks(), (normalize(hazy), normalize(clear))
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
    wanted = {}
    for name, loss in zip(NETWORKS, (total, disc_loss), strict=True):
        variables = getattr(gan, name).trainable_variables
        pairs = zip(variables, tape.gradient(loss, variables), strict=True)
        wanted |= {f"{name}/{variable.path}": gradient for variable, gradient in pairs}
    np.testing.assert_allclose(sums, [disc_loss, gan_loss, l1, perceptual, total], rtol=1e-5)
    assert float(perceptual) > 0.1
    assert_gradients_equal(gradients, wanted)
    # u moves by one power iteration, and only as an output.
    assert list(spectral) == [v.path for v in vectors]
    for output, new, old in zip(spectral.values(), moved, before, strict=True):
        np.testing.assert_allclose(output, new, rtol=1e-5, atol=1e-6)
        assert old.size == 1 or not np.allclose(new, old)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(training, batches, norm):
    """What makes replicas and micro-batches exact: sums over images, divided by the global count."""
    # Over fewer channels a layer norm divides by next to nothing: rounding alone moves the gradients by a thousandth.
    trial = awaken(training(model__norm=norm, model__width=16))
    hazy, clear = (x[0] for x in batches(1))
    function = make_forward_backward(trial.networks, trial.state.layouts, config=trial.config, scaled=False)
    batch = {"hazy": tf.constant(hazy), "clear": tf.constant(clear)}
    inputs = trial.state.read(0)
    whole, parts = (
        separate(trial.state, accumulate(function, inputs, batch, micro_batches=n, share=1 / 4)) for n in (1, 4)
    )
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5)
    # Over all gradients together: those of a bias before a norm are zero but for rounding.
    a, b = (joined(gradients) for gradients, *_ in (parts, whole))
    assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_has_float32_gradients_and_losses(training, batches, precision):
    # Over the 4 channels of other tests a layer norm divides by next to nothing and multiplies rounding errors.
    low, high = (awaken(training(precision=p, model__width=16)) for p in (precision, "float32"))
    low.state.loss_scale.assign(2.0**8)  # under which these gradients are finite
    hazy, clear = (x[0] for x in batches(1))
    (gradients, sums, _), (wanted, wanted_sums, _) = (forward_backward(trial, hazy, clear) for trial in (low, high))
    assert {v.dtype for v in low.state.variables} == {tf.float32, tf.int64}
    np.testing.assert_allclose(sums, wanted_sums, rtol=2e-2)
    scale = float(low.copies(0)["loss_scale"]) if precision == "mixed_float16" else 1.0
    mine, theirs = joined(gradients), joined(wanted)
    error = np.linalg.norm(mine / scale - theirs) / np.linalg.norm(theirs)
    assert error < (0.1 if precision == "mixed_bfloat16" else 0.02)


@pytest.mark.parametrize("difference", ["charbonnier", "squared"])
def test_a_weight_of_zero_turns_a_term_off(training, batches, difference):
    trial = awaken(training(loss__gan_weight=0.0, loss__difference=difference))
    loss = losses.squared_error if difference == "squared" else losses.charbonnier
    hazy, clear = (x[0] for x in batches(1))
    gradients, sums, _ = forward_backward(trial, hazy, clear)
    generator = trial.trained_networks().generator
    with tf.GradientTape() as tape:
        restored = generator(normalize(hazy), training=True)
        mask = losses.haze_mask(normalize(hazy), normalize(clear))
        l1 = 150 * tf.reduce_mean(loss(restored, normalize(clear), mask=mask))
    variables = generator.trainable_variables
    wanted = {f"generator/{v.path}": g for v, g in zip(variables, tape.gradient(l1, variables), strict=True)}
    assert float(sums[4]) == pytest.approx(float(l1), rel=1e-5)
    assert sums[:2].tolist() == [0, 0], "no discriminator is asked"
    others = {name: gradients.pop(name) for name in list(gradients) if name.startswith("discriminator/")}
    assert len(others) == len(trial.networks.discriminator.trainable_variables)
    assert not any(gradient.any() for gradient in others.values())
    assert_gradients_equal(gradients, wanted)


def test_the_total_is_the_weighted_sum(training, batches, vgg):
    fields = {"loss__perceptual_weight": 0.005, "loss__perceptual_layer": "block1_conv1"}
    trial = awaken(training(loss__perceptual_weights=vgg, **fields))
    _, (disc, gan, l1, perceptual, total), _ = forward_backward(trial, *(x[0] for x in batches(1)))
    assert total == pytest.approx(gan + 150 * l1 + 0.005 * perceptual, rel=1e-6)
    assert min(disc, gan, l1, perceptual) > 0


@pytest.fixture(scope="module")
def vgg_with_pooling(tmp_path_factory):
    """Weights of the perceptual network up to the layer after its first pooling, made up."""
    generator = np.random.default_rng(0)
    arrays = {}
    for name, shape in perceptual._kernel_shapes("block2_conv1").items():
        arrays[f"{name}/kernel"] = generator.normal(0, 0.05, shape).astype(np.float32)
        arrays[f"{name}/bias"] = generator.normal(0, 1, shape[-1]).astype(np.float32)
    path = tmp_path_factory.mktemp("vgg") / "vgg.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("norm", NORMS)
def test_the_fused_form_has_the_same_losses_and_gradients(batches, vgg_with_pooling, norm):
    """The operations of both forms are compared one by one in test_ops.py."""
    config = make_config(
        model__width=8,
        model__depth=2,
        model__norm=norm,
        loss__perceptual_weight=0.005,
        loss__perceptual_layer="block2_conv1",
        loss__perceptual_weights=vgg_with_pooling,
    )
    networks = build_networks(config)
    hazy, clear = (tf.constant(x[0]) for x in batches(1))

    def computed(fused):
        state = TrainState(networks, use_ema=False, fused=fused)
        state.load(moved(state.snapshot()), source="noise")
        function = make_forward_backward(networks, state.layouts, config=config, scaled=False, fused=fused)
        outputs = tf.function(function, autograph=False)(state.read(0), hazy, clear, 1 / len(hazy))
        return state, separate(state, outputs)

    (cpu, (wanted, wanted_sums, wanted_spectral)), (gpu, (gradients, sums, spectral)) = map(computed, (False, True))
    # Kernels lie in the vectors in another order, and in snapshots in the same.
    assert not np.array_equal(cpu.parameters["generator"], gpu.parameters["generator"])
    assert all(np.array_equal(value, gpu.snapshot()[name]) for name, value in cpu.snapshot().items())
    np.testing.assert_allclose(sums, wanted_sums, rtol=1e-5)
    assert min(sums) > 1e-3, "each term counts"
    assert_gradients_equal(gradients, wanted)
    a, b = joined(gradients), joined(wanted)
    assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)
    for name, vector in wanted_spectral.items():
        np.testing.assert_allclose(spectral[name], vector, rtol=1e-5, atol=1e-6)
