"""The compiled step's update: clipping, schedule, moving average, float16's loss scale."""

import numpy as np
import pytest
from step_states import EVERYTHING, assert_equal_states, slots

from hazeheal.training.step import optimizer, step


@pytest.fixture(scope="module")
def everything(training, vgg):
    return lambda replicas: training(replicas=replicas, loss__perceptual_weights=vgg, **EVERYTHING)


def test_clipping_on_two_replicas_equals_that_of_one(everything, batches):
    runs, states = [], []
    for replicas in (1, 2):
        trial = everything(replicas)
        # Later a sign of a difference of features, zero but for rounding, flips on some machines, and the runs differ
        # by a thousandth.
        runs.append(trial.run(*batches(3)))
        states.append(trial)
    for name in step.LOSSES:
        np.testing.assert_allclose(runs[1][name], runs[0][name], rtol=1e-5, err_msg=name)
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
        # Real and fake images are alike here, and their gradients nearly cancel in float16.
        assert np.linalg.norm(mine - theirs) < 0.1 * np.linalg.norm(theirs), "the scale is taken out"
    assert half.copies(0)["good_steps"] == 1

    most = optimizer.LOSS_SCALE_MAX
    half.state.loss_scale.assign(most)
    before = half.copies(0)
    metrics = half.run(hazy, clear)
    assert (metrics["loss_scale"][0], metrics["skipped"][0]) == (most, 1)
    after = half.copies(0)
    assert_equal_states(before, after, but={"step", "loss_scale", "good_steps"})
    assert (after["loss_scale"], after["good_steps"]) == (most / 2, 0)

    metrics = half.run(*(np.repeat(x, 24, axis=0) for x in (hazy, clear)))
    skipped = metrics["skipped"]
    assert skipped[0] == 1 and not skipped[-2:].any(), "it halves until gradients fit"
    halvings = np.cumsum(skipped) - skipped
    np.testing.assert_array_equal(metrics["loss_scale"], most / 2 / 2**halvings)
    after = half.copies(0)
    assert after["good_steps"] == len(skipped) - 1 - np.flatnonzero(skipped)[-1]
    assert after["updates"] == 1 + np.sum(skipped == 0)
