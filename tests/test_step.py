"""The compiled step: any number of replicas, XLA, NaN on one replica, accumulation, precision, the loss terms.

Every comparison trains small networks on synthetic pairs. On 32 pixels random noise would not do: there is
nothing in it to learn, and rounding errors grow faster than on pictures.
"""

import numpy as np
import pytest
import tensorflow as tf
from conftest import CPU_DEVICES
from trainings import make_config

from hazeheal import losses
from hazeheal.models.gan import DehazeGAN, normalise
from hazeheal.training import optimizer, step
from hazeheal.training.state import local

LOCAL_NORMS = ("none", "layer", "instance", "group")
COUNTERS = {"step", "skipped_in_a_row"}
# Unlike weights on every term, clipping that binds the generator alone, and a perceptual network.
EVERYTHING = {
    "loss__weighting": "balanced",
    "loss__perceptual_weight": 0.005,
    "loss__perceptual_layer": "block1_conv1",
    "optimizer__clip_norm": 5.0,
    "model__se_ratio": 0.0,
}


@pytest.fixture(scope="session")
def vgg(tmp_path_factory):
    """Weights for the first convolution of the perceptual network, made up."""
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg.npz"
    kernel = generator.normal(0, 0.05, (3, 3, 3, 64)).astype("float32")
    np.savez(path, **{"block1_conv1/kernel": kernel, "block1_conv1/bias": np.zeros(64, "float32")})
    return str(path)


def assert_same_losses(one, other, *, norm):
    """To the tolerances of promise 3: rounding grows in a GAN."""
    for first, last, tolerance in ((0, 1, 1e-6), (1, 10, 1e-3), (10, 50, 1e-2)):
        for name in step.LOSSES:
            a, b = one[name][first:last], other[name][first:last]
            np.testing.assert_allclose(b, a, rtol=tolerance, err_msg=f"{norm} {name} from step {first + 1}")
    assert not np.array_equal(one["gen_l1_loss"][:1], one["gen_l1_loss"][-1:])


def assert_equal_states(one, other, *, but=()):
    """Bit for bit, NaN included."""
    assert one.keys() == other.keys()
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert sorted(different) == sorted(but)


def slots(training, network, which="m"):
    """One of Adam's slots of a network as a single float64 vector, on the first replica."""
    values = training.copies(0)
    names = [name for name in values if name.startswith(f"adam_{which}/{network}/")]
    return np.concatenate([values[name].astype(np.float64).ravel() for name in names])


# --- replicas -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layer_runs(training, batches):
    """50 steps with norm=layer on 1, 2 and 4 replicas: {replicas: (metrics, [every replica's variables])}."""
    runs = {}
    for replicas in (1, 2, 4):
        trial = training(replicas=replicas)
        metrics = trial.run(*batches(50))
        runs[replicas] = metrics, [trial.copies(r) for r in range(replicas)]
    return runs


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_have_the_losses_of_one(layer_runs, replicas):
    assert_same_losses(layer_runs[1][0], layer_runs[replicas][0], norm="layer")


@pytest.mark.parametrize("norm", ["none", "instance", "group"])
def test_two_replicas_have_the_losses_of_one(training, batches, norm):
    fields = {"model__norm": norm, "model__se_ratio": 0.0}
    runs = [training(replicas=n, **fields).run(*batches(10)) for n in (1, 2)]
    assert_same_losses(*runs, norm=norm)


@pytest.mark.slow
@pytest.mark.parametrize("norm", LOCAL_NORMS)
def test_replicas_have_the_losses_of_one_at_width_8_depth_2(training, batches, norm):
    sizes = {"model__norm": norm, "model__width": 8, "model__depth": 2, "model__disc_width": 8}
    runs = {n: training(replicas=n, **sizes).run(*batches(50)) for n in (1, 2, 4)}
    for replicas in (2, 4):
        assert_same_losses(runs[1], runs[replicas], norm=norm)


@pytest.mark.parametrize("replicas", [2, 4])
def test_all_copies_stay_bit_identical(layer_runs, replicas):
    first, *others = layer_runs[replicas][1]
    for other in others:
        assert_equal_states(first, other)


def test_losses_start_where_theory_says_and_training_lowers_them(layer_runs):
    metrics, _ = layer_runs[1]
    assert metrics["disc_loss"][0] == pytest.approx(2 * np.log(2), abs=0.3)
    assert metrics["gen_l1_loss"][-10:].mean() < 0.92 * metrics["gen_l1_loss"][:10].mean()
    total = metrics["gen_gan_loss"] + 150 * metrics["gen_l1_loss"]
    np.testing.assert_allclose(metrics["gen_total_loss"], total, rtol=1e-6)
    assert not metrics["skipped"].any()


def test_each_replica_computes_on_its_own_device(training, batches):
    """The forward pass is traced once; what is in it runs where it is called."""
    trial = training(replicas=4)
    functions = trial.graph_functions(*batches(1))
    calls, convolutions = [], []
    for function in functions:
        names = [node.op for node in function.node_def]
        if "Conv2DBackpropFilter" in names:
            convolutions += [node.device for node in function.node_def if node.op.startswith("Conv2D")]
            name = function.signature.name
            calls += [
                node.device[-5:]
                for caller in functions
                for node in caller.node_def
                if node.op.endswith("PartitionedCall") and node.attr["f"].func.name == name
            ]
    assert sorted(calls) == ["CPU:0", "CPU:1", "CPU:2", "CPU:3"]
    assert len(convolutions) > 20 and set(convolutions) == {""}


# --- XLA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replicas", "fields"), [(1, {}), (2, {"model__norm": "none", "model__se_ratio": 0.0})]
)
def test_xla_trains_like_no_xla(training, batches, replicas, fields):
    """On two replicas with a smaller graph: it is compiled for each, which takes the time."""
    plain = training(replicas=1, **fields).run(*batches(4))
    compiled = training(replicas=replicas, xla=True, **fields)
    metrics = compiled.run(*batches(4))
    for name in step.LOSSES:
        np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-4, err_msg=name)
    for replica in range(1, replicas):
        assert_equal_states(compiled.copies(0), compiled.copies(replica))
    # Both branches of the update are in the compiled function.
    before = compiled.copies(0)
    hazy, clear = batches(1)
    hazy[0, -1, 0, 0, 0] = np.nan
    assert compiled.run(hazy, clear)["skipped"][0] == 1
    assert_equal_states(before, compiled.copies(0), but=COUNTERS)


def test_optimising_the_graph_and_uint8_pictures_change_nothing(training, batches):
    plain = training().run(*batches(4))
    trial = training(optimise=True)
    metrics = trial.run(*(x.astype(np.uint8) for x in batches(4)))
    for name in step.LOSSES:
        np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-4, err_msg=name)


# --- non-finite steps ---------------------------------------------------------------------------------


def with_nan(hazy, clear, *, at):
    """Puts one NaN into the last picture of the global batch of step `at`: the last replica's share."""
    hazy = hazy.copy()
    hazy[at, -1, 7, 5, 1] = np.nan
    return hazy, clear


@pytest.mark.parametrize(("replicas", "norm"), [(2, "batch"), (4, "layer")])
def test_nan_on_the_last_replica_skips_the_step_on_all_and_touches_nothing(training, batches, replicas, norm):
    trial = training(replicas=replicas, model__norm=norm)
    hazy, clear = with_nan(*batches(4), at=2)
    trial.run(hazy[:2], clear[:2])
    before = [trial.copies(r) for r in range(replicas)]
    metrics = trial.run(hazy[2:3], clear[2:3])
    assert metrics["skipped"][0] == 1
    assert np.isnan(metrics["gen_total_loss"][0]), "the losses of the step are told as they are"
    for replica in range(replicas):
        after = trial.copies(replica)
        assert_equal_states(before[replica], after, but=COUNTERS)
        assert (after["step"], after["updates"], after["skipped_in_a_row"]) == (3, 2, 1)

    metrics = trial.run(hazy[3:], clear[3:])
    assert metrics["skipped"][0] == 0
    assert np.isfinite(metrics["gen_total_loss"][0])
    after = [trial.copies(r) for r in range(replicas)]
    for replica in range(replicas):
        assert_equal_states(after[0], after[replica])
        values = after[replica]
        assert (values["step"], values["updates"], values["skipped_in_a_row"]) == (4, 3, 0)
        assert all(np.isfinite(value).all() for value in values.values())
        changed = {name for name in values if values[name].tobytes() != before[replica][name].tobytes()}
        groups = {name.split("/")[0] for name in changed}
        assert groups >= {"generator", "discriminator", "ema", "adam_m", "adam_v"}
        assert any(name.endswith("/u") for name in changed)
        assert any("moving_mean" in name for name in changed) == (norm == "batch")

    # As if the step had never been.
    trial.reset().run(np.delete(hazy, 2, 0), np.delete(clear, 2, 0))
    assert_equal_states(after[0], trial.copies(0), but={"step"})


def test_batch_statistics_are_the_mean_of_the_replicas(training, batches):
    """norm=batch is not replica-invariant, but its copies must not drift apart."""
    trial = training(replicas=2, model__norm="batch")
    metrics = trial.run(*batches(12))
    assert np.isfinite(metrics["gen_total_loss"]).all()
    assert_equal_states(trial.copies(0), trial.copies(1))


# --- the gradients themselves ---------------------------------------------------------------------------


def forward_backward(trial, hazy, clear):
    """Runs the pure function eagerly on the first replica's variables; hazy, clear [B, H, W, 3]."""
    function = step.make_forward_backward(
        trial.gan, config=trial.config, scaled=trial.runtime.precision == "mixed_float16"
    )
    mine = step.Local(trial.state, 0)
    return function(
        mine.generator,
        mine.discriminator,
        mine.statistics,
        mine.vectors,
        mine.frozen,
        *mine.scalars,
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

    gan, (x, y) = trial.gan, (normalise(hazy), normalise(clear))
    vectors = [v for v in gan.discriminator.variables if v.path.endswith("/u")]
    before = [v.numpy() for v in vectors]
    with tf.GradientTape(persistent=True) as tape:
        restored = gan.generator(x, training=True)
        logits = gan.discriminator([tf.concat([x, x], 0), tf.concat([y, restored], 0)], training=True)
        moved = [v.numpy() for v in vectors]
        real, fake = tf.split(logits, 2)
        bce = tf.nn.sigmoid_cross_entropy_with_logits
        disc_loss = tf.reduce_mean(bce(tf.ones_like(real), real)) + tf.reduce_mean(
            bce(tf.zeros_like(fake), fake)
        )
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
    np.testing.assert_allclose(outputs["sums"][:5], [disc_loss, gan_loss, l1, perceptual, total], rtol=1e-5)
    assert float(perceptual) > 0.1
    assert len(outputs["gradients"]) == len(wanted)
    for mine, theirs in zip(outputs["gradients"], wanted, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * scale + 1e-7)
    # u moves by one power iteration, and only as an output.
    for output, new, old in zip(outputs["vectors"], moved, before, strict=True):
        np.testing.assert_allclose(output, new, rtol=1e-5, atol=1e-6)
        assert old.size == 1 or not np.allclose(new, old)


@pytest.mark.parametrize("norm", LOCAL_NORMS)
def test_parts_of_a_batch_add_up_to_the_batch(training, batches, norm):
    """What makes replicas and micro-batches exact: sums over pictures, divided by the global count."""
    # Over fewer channels a layer norm divides by next to nothing: rounding alone moves the gradients by a thousandth.
    trial = awaken(training(model__norm=norm, model__width=16))
    hazy, clear = (x[0] for x in batches(1))
    function = step.make_forward_backward(trial.gan, config=trial.config, scaled=False)
    mine = step.Local(trial.state, 0)
    batch = {"hazy": tf.constant(hazy), "clear": tf.constant(clear)}
    whole, parts = (step.accumulate(function, mine, batch, micro_batches=n, share=1 / 4) for n in (1, 4))
    np.testing.assert_allclose(parts["sums"], whole["sums"], rtol=1e-5)
    # Over all gradients together: those of a bias before a norm are zero but for rounding.
    a, b = (np.concatenate([np.ravel(g) for g in o["gradients"]]) for o in (parts, whole))
    assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_has_float32_gradients_statistics_and_losses(training, batches, precision):
    low = awaken(training(precision=precision, model__norm="batch"))
    high = awaken(training(model__norm="batch"))
    hazy, clear = (x[0] for x in batches(1))
    outputs, wanted = forward_backward(low, hazy, clear), forward_backward(high, hazy, clear)
    assert {t.dtype for t in tf.nest.flatten(outputs)} == {tf.float32}
    assert {v.dtype for v in low.state.variables.values()} == {tf.float32, tf.int64}
    np.testing.assert_allclose(outputs["sums"], wanted["sums"], rtol=2e-2)
    scale = float(low.copies(0)["loss_scale"]) if precision == "mixed_float16" else 1.0
    mine, theirs = (np.concatenate([np.ravel(g) for g in o["gradients"]]) for o in (outputs, wanted))
    error = np.linalg.norm(mine / scale - theirs) / np.linalg.norm(theirs)
    assert error < (0.1 if precision == "mixed_bfloat16" else 0.02)


# --- accumulation ---------------------------------------------------------------------------------------


def test_accumulation_is_the_same_step(training, batches):
    runs = []
    for micro_batches in (1, 2):
        trial = training(optimizer__accumulate=micro_batches)
        metrics = trial.run(*batches(1))
        vectors = {k: v for k, v in trial.copies(0).items() if k.endswith("/u")}
        runs.append((metrics, slots(trial, "generator"), slots(trial, "discriminator"), vectors))
        later = trial.run(*batches(5, seed=1))
        runs[-1][0].update({name: np.append(metrics[name], later[name]) for name in step.LOSSES})
    (one, *one_slots, one_u), (two, *two_slots, two_u) = runs
    for name in step.LOSSES:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, err_msg=name)
    for a, b in zip(one_slots, two_slots, strict=True):
        assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(a)
    # u moves once a step, not once a part.
    assert_equal_states(one_u, two_u)


# --- clipping, balanced weights, perceptual loss ----------------------------------------------------------


@pytest.fixture(scope="module")
def everything(training, vgg):
    return lambda replicas: training(replicas=replicas, loss__perceptual_weights=vgg, **EVERYTHING)


def test_clipping_and_balancing_on_two_replicas_are_those_of_one(everything, batches):
    runs, states = [], []
    for replicas in (1, 2):
        trial = everything(replicas)
        # Enough for the norms of the step before, twice. Later a sign of a difference of features, zero but for
        # rounding, flips on some machines, and the runs part by a thousandth.
        runs.append(trial.run(*batches(3)))
        states.append(trial)
    for name in step.LOSSES:
        np.testing.assert_allclose(runs[1][name], runs[0][name], rtol=1e-5, err_msg=name)
    norms = [trial.state.snapshot()["gradient_norms"] for trial in states]
    np.testing.assert_allclose(*norms, rtol=1e-3)
    assert (norms[0] > 0).all()
    assert_equal_states(states[1].copies(0), states[1].copies(1))


def test_each_network_is_clipped_by_its_own_norm_after_the_reduction(everything, batches):
    trial = everything(2)
    metrics = trial.run(*batches(1))
    # The first m is (1 - beta1) times the clipped gradient.
    norms = {name: np.linalg.norm(slots(trial, name)) / 0.5 for name in ("generator", "discriminator")}
    assert metrics["gen_grad_norm"][0] > 50, "the metric is the norm before clipping"
    assert norms["generator"] == pytest.approx(5.0, rel=1e-5)
    assert metrics["disc_grad_norm"][0] < 5
    assert norms["discriminator"] == pytest.approx(metrics["disc_grad_norm"][0], rel=1e-5)


def test_balanced_weights_use_the_norms_of_the_step_before(everything, batches):
    trial = everything(1)
    hazy, clear = batches(3)
    trial.run(hazy[:2], clear[:2])
    before = trial.state.snapshot()["gradient_norms"]

    x, y = normalise(hazy[2]), normalise(clear[2])
    with tf.GradientTape(persistent=True) as tape:
        restored = trial.gan.generator(x, training=True)
        logits, _ = trial.gan.discriminator.stateless_call(
            [v.value for v in trial.gan.discriminator.trainable_variables],
            [v.value for v in trial.gan.discriminator.non_trainable_variables],
            [tf.concat([x, x], 0), tf.concat([y, restored], 0)],
            training=True,
        )
        terms = [
            tf.reduce_mean(losses.charbonnier(restored, y, mask=losses.haze_mask(x, y))),
            tf.reduce_mean(losses.generator_adversarial(tf.split(logits, 2)[1])),
            tf.reduce_mean(losses.perceptual(trial.gan.perceptual(restored), trial.gan.perceptual(y))),
        ]
    wanted = [np.linalg.norm(tape.gradient(term, restored)) for term in terms]

    metrics = trial.run(hazy[2:], clear[2:])
    np.testing.assert_allclose(trial.state.snapshot()["gradient_norms"], wanted, rtol=1e-3)
    l1, gan, perceptual = (float(t) for t in terms)
    gan_weight, perceptual_weight = 0.05 * 150 * before[0] / before[1], 0.2 * 150 * before[0] / before[2]
    total = 150 * l1 + gan_weight * gan + perceptual_weight * perceptual
    assert metrics["gen_total_loss"][0] == pytest.approx(total, rel=1e-4)
    assert metrics["gen_perceptual_loss"][0] == pytest.approx(perceptual, rel=1e-4)


def test_loss_factors():
    def factors(norms, **fields):
        values = step.loss_factors(
            make_config(loss__perceptual_weight=0.005, **fields).loss, tf.constant(norms)
        )
        return [float(v) for v in values]

    shares = {"loss__balanced_gan_share": 0.1, "loss__balanced_perceptual_share": 0.4}
    assert factors([0.0, 0.0, 0.0], **shares) == pytest.approx([150, 1, 0.005])
    # |factor * gradient| is the share of |150 * gradient of l1|.
    assert factors([2.0, 3.0, 40.0], **shares) == pytest.approx([150, 0.1 * 300 / 3, 0.4 * 300 / 40])
    assert factors([2.0, 1e-20, 40.0], **shares)[1] == pytest.approx(1e4), "bounded"
    off = shares | {"loss__gan_weight": 0.0}
    assert factors([2.0, 3.0, 40.0], **off)[1] == 0.0, "a term that is switched off stays off"


def test_a_weight_of_zero_turns_a_term_off(training, batches):
    trial = awaken(training(loss__gan_weight=0.0))
    hazy, clear = (x[0] for x in batches(1))
    outputs = forward_backward(trial, hazy, clear)
    with tf.GradientTape() as tape:
        restored = trial.gan.generator(normalise(hazy), training=True)
        mask = losses.haze_mask(normalise(hazy), normalise(clear))
        l1 = 150 * tf.reduce_mean(losses.charbonnier(restored, normalise(clear), mask=mask))
    wanted = tape.gradient(l1, trial.gan.generator.trainable_variables)
    assert float(outputs["sums"][4]) == pytest.approx(float(l1), rel=1e-5)
    assert float(outputs["sums"][1]) > 0.1, "it is still told"
    for mine, theirs in zip(outputs["gradients"], wanted, strict=False):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max() + 1e-7)


def test_the_total_is_the_weighted_sum(training, batches, vgg):
    fields = {"loss__perceptual_weight": 0.005, "loss__perceptual_layer": "block1_conv1"}
    trial = awaken(training(loss__perceptual_weights=vgg, **fields))
    disc, gan, l1, perceptual, total = forward_backward(trial, *(x[0] for x in batches(1)))["sums"][
        :5
    ].numpy()
    assert total == pytest.approx(gan + 150 * l1 + 0.005 * perceptual, rel=1e-6)
    assert min(disc, gan, l1, perceptual) > 0


# --- update: schedule, average, counters ------------------------------------------------------------------


def test_update_follows_schedule_and_average(training, batches):
    trial = training(
        total_steps=4,
        optimizer__decay="linear",
        optimizer__ema_half_life=8.0,
        optimizer__disc_learning_rate=0.0,
    )
    hazy, clear = batches(4)
    averages = {k: v.astype(np.float64) for k, v in trial.copies(0).items() if k.startswith("ema/")}
    start = trial.copies(0)
    for t in range(4):
        metrics = trial.run(hazy[t : t + 1], clear[t : t + 1])
        assert metrics["learning_rate"][0] == pytest.approx(2e-4 * (1 - t / 4), rel=1e-6)
        now = trial.copies(0)
        decay = 0.5 ** (4 / min(8.0, 0.05 * 4 * (t + 1)))
        for name in averages:
            averages[name] += (1 - decay) * (now[name.removeprefix("ema/")] - averages[name])
            np.testing.assert_allclose(now[name], averages[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert (now["step"], now["updates"]) == (4, 4)
    for name in now:
        moved = now[name].tobytes() != start[name].tobytes()
        if name.startswith("discriminator/") and not name.endswith("/u"):
            assert not moved, f"{name} moved at a rate of zero"
        elif name.startswith("generator/head"):
            assert moved, name


# --- float16 ----------------------------------------------------------------------------------------------


def test_float16_is_scaled_skips_overflows_and_finds_its_scale(training, batches):
    # Without norms: over the 2 channels that the decoder has here, layer norm multiplies small gradients by 1000.
    plain, half = training(model__norm="none"), training(precision="mixed_float16", model__norm="none")
    hazy, clear = batches(1)
    plain.run(hazy, clear)
    metrics = half.run(hazy, clear)
    assert metrics["loss_scale"][0] == optimizer.LOSS_SCALE_START
    assert metrics["skipped"][0] == 0
    for network in ("generator", "discriminator"):
        mine, theirs = slots(half, network), slots(plain, network)
        assert np.linalg.norm(mine - theirs) < 0.03 * np.linalg.norm(theirs), "the scale is taken out"
    assert half.copies(0)["good_steps"] == 1

    most = optimizer.LOSS_SCALE_MAX
    half.state.loss_scale.assign(most)
    before = half.copies(0)
    metrics = half.run(hazy, clear)
    assert (metrics["loss_scale"][0], metrics["skipped"][0]) == (most, 1)
    after = half.copies(0)
    assert_equal_states(before, after, but=COUNTERS | {"loss_scale", "good_steps"})
    assert (after["loss_scale"], after["good_steps"]) == (most / 2, 0)

    metrics = half.run(*(np.repeat(x, 24, axis=0) for x in (hazy, clear)))
    skipped = metrics["skipped"]
    assert skipped[0] == 1 and not skipped[-2:].any(), "it halves until gradients fit"
    halvings = np.cumsum(skipped) - skipped
    np.testing.assert_array_equal(metrics["loss_scale"], most / 2 / 2**halvings)
    after = half.copies(0)
    assert after["good_steps"] == len(skipped) - 1 - np.flatnonzero(skipped)[-1]
    assert after["updates"] == 1 + np.sum(skipped == 0)


def test_there_are_enough_devices_for_these_tests():
    assert len(tf.config.list_logical_devices("CPU")) == CPU_DEVICES


def test_networks_of_one_seed_are_the_same_on_every_replica(training):
    trial = training(replicas=4)
    alone = DehazeGAN(trial.config)
    for replica in range(4):
        for variable, other in zip(trial.gan.generator.variables, alone.generator.variables, strict=True):
            assert np.array_equal(local(variable.value, replica).numpy(), other.numpy())
