"""The compiled step: any number of replicas, XLA, a NaN on one replica, which skips the step on all, accumulation.

Every comparison trains small networks on synthetic pairs. On 32 pixels random noise would not do: there is
nothing in it to learn, and rounding errors grow faster than on images.
"""

import numpy as np
import pytest
import tensorflow as tf
from conftest import CPU_DEVICES
from step_states import COUNTERS, NORMS, assert_equal_states, slots

from hazeheal.models.networks import build_networks
from hazeheal.training.step import step
from hazeheal.training.step.train_state import NETWORKS


def assert_same_losses(one, other, *, norm):
    """To the tolerances of promise 3: rounding grows in a GAN."""
    for first, last, tolerance in ((0, 1, 1e-6), (1, 10, 1e-3), (10, 50, 1e-2)):
        for name in step.LOSSES:
            a, b = one[name][first:last], other[name][first:last]
            np.testing.assert_allclose(b, a, rtol=tolerance, err_msg=f"{norm} {name} from step {first + 1}")
    assert not np.array_equal(one["gen_l1_loss"][:1], one["gen_l1_loss"][-1:])


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


@pytest.mark.parametrize("norm", ["none"])
def test_two_replicas_have_the_losses_of_one(training, batches, norm):
    fields = {"model__norm": norm, "model__se_ratio": 0.0}
    runs = [training(replicas=n, **fields).run(*batches(10)) for n in (1, 2)]
    assert_same_losses(*runs, norm=norm)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
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


def test_losses_start_at_their_theoretical_values_and_decrease(layer_runs):
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


@pytest.mark.parametrize(("replicas", "fields"), [(1, {}), (2, {"model__norm": "none", "model__se_ratio": 0.0})])
def test_xla_trains_like_no_xla(training, batches, replicas, fields):
    """On two replicas with a smaller graph: it is compiled for each, which takes the time.

    One replica trains in the form for GPUs.
    """
    plain = training(replicas=1, **fields).run(*batches(4))
    compiled = training(replicas=replicas, xla=True, fused=replicas == 1, **fields)
    metrics = compiled.run(*batches(4))
    for name in step.LOSSES:
        np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-4, err_msg=name)
    for replica in range(1, replicas):
        assert_equal_states(compiled.copies(0), compiled.copies(replica))
    # The update's selection between the old and the new values is in the compiled function.
    before = compiled.copies(0)
    hazy, clear = batches(1)
    hazy[0, -1, 0, 0, 0] = np.nan
    assert compiled.run(hazy, clear)["skipped"][0] == 1
    assert_equal_states(before, compiled.copies(0), but=COUNTERS)


def test_optimizing_the_graph_and_uint8_images_change_nothing(training, batches):
    plain = training().run(*batches(4))
    trial = training(optimize=True)
    metrics = trial.run(*(x.astype(np.uint8) for x in batches(4)))
    for name in step.LOSSES:
        np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-4, err_msg=name)


def with_nan(hazy, clear, *, at):
    """Puts one NaN into the last image of the global batch of step `at`: the last replica's share."""
    hazy = hazy.copy()
    hazy[at, -1, 7, 5, 1] = np.nan
    return hazy, clear


@pytest.mark.parametrize("replicas", [2, 4])
def test_nan_on_the_last_replica_skips_the_step_on_all_and_changes_nothing(training, batches, replicas):
    trial = training(replicas=replicas)
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

    # As if the step had never been.
    trial.reset().run(np.delete(hazy, 2, 0), np.delete(clear, 2, 0))
    assert_equal_states(after[0], trial.copies(0), but={"step"})


def test_there_are_enough_devices_for_these_tests():
    assert len(tf.config.list_logical_devices("CPU")) == CPU_DEVICES


def test_networks_of_one_seed_are_the_same_on_every_replica(training):
    trial = training(replicas=4)
    alone = build_networks(trial.config)
    for replica in range(4):
        values = trial.copies(replica)
        for name in NETWORKS:
            for variable in getattr(alone, name).variables:
                assert np.array_equal(values[f"{name}/{variable.path}"], variable.numpy())


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
