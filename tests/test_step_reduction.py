"""Gradients reduced in float16: nearly the same training, identical copies, and skipped overflows."""

import numpy as np
import pytest
from step_states import assert_equal_states, slots

from hazeheal.training.reports.accumulators import Accumulators
from hazeheal.training.step import optimizer, step
from hazeheal.training.step.layout import ROW
from hazeheal.training.step.train_state import NETWORKS

# What the gradients of these small networks fit under; from its start at 2^15 it is found in five halvings.
SCALE = 2.0**8
HALF = {"optimizer__reduce_dtype": "float16", "model__norm": "none"}


@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_float16_between_replicas_trains_like_float32(training, batches, replicas):
    plain = training(replicas=replicas, model__norm="none")
    half = training(replicas=replicas, **HALF)
    half.state.loss_scale.assign(SCALE)
    wanted, found = plain.run(*batches(10)), half.run(*batches(10))
    assert not found["skipped"].any()
    for name in step.LOSSES:
        np.testing.assert_allclose(found[name][:1], wanted[name][:1], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-2, err_msg=name)
    for replica in range(1, replicas):
        assert_equal_states(half.copies(0), half.copies(replica))


def test_float16_rounds_the_gradients_and_nothing_else(training, batches):
    plain, half = (training(replicas=2, **fields) for fields in ({"model__norm": "none"}, HALF))
    half.state.loss_scale.assign(SCALE)
    wanted, found = plain.run(*batches(1)), half.run(*batches(1))
    assert (found["loss_scale"][0], wanted["loss_scale"][0]) == (SCALE, 1)
    for name in (*step.LOSSES, "gen_grad_norm", "disc_grad_norm"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, err_msg=name)
    for network in ("generator", "discriminator"):
        mine, theirs = slots(half, network), slots(plain, network)
        error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
        assert 1e-6 < error < 2e-3, (network, error)


def test_a_sum_that_overflows_skips_the_step_on_all_replicas(training, batches):
    trial = training(replicas=2, **HALF)
    assert trial.copies(0)["loss_scale"] == optimizer.LOSS_SCALE_START
    before = trial.copies(0)
    metrics = trial.run(*batches(1))
    assert metrics["skipped"][0] == 1
    for replica in range(2):
        after = trial.copies(replica)
        assert_equal_states(before, after, but={"step", "loss_scale"})
        assert after["loss_scale"] == optimizer.LOSS_SCALE_START / 2
    metrics = trial.run(*(np.repeat(x, 24, axis=0) for x in batches(1)))
    skipped = metrics["skipped"]
    assert not skipped[-2:].any(), "it halves until the gradients fit"
    tally = Accumulators(step.METRICS)
    tally.add(np.stack(list(metrics.values()), axis=1))
    assert (tally.skipped, tally.longest_skipped) == (skipped.sum(), 0), "the search is counted, but is no divergence"


def test_overflows_at_the_lowest_scale_are_a_series_on_all_replicas_and_on_the_host(training, batches):
    trial, tally = training(replicas=2, **HALF), Accumulators(step.METRICS)
    hazy, clear = (np.repeat(x, 5, axis=0) for x in batches(1))
    hazy[:, 0] = np.nan
    trial.state.loss_scale.assign(4.0)
    for in_a_row in (3, 8):  # two steps at the scales 4 and 2 search for one
        tally.add(np.stack(list(trial.run(hazy, clear).values()), axis=1))
        assert [trial.copies(replica)["skipped_in_a_row"] for replica in range(2)] == [in_a_row] * 2
        assert tally.skipped_in_a_row == tally.longest_skipped == in_a_row
    assert tally.skipped == 10
    trial.run(*batches(1))
    assert [trial.copies(replica)["skipped_in_a_row"] for replica in range(2)] == [0] * 2


def test_one_replica_rounds_nothing(training, batches):
    runs = [training(replicas=1, **fields) for fields in ({"model__norm": "none"}, HALF)]
    for trial in runs:
        trial.run(*batches(2))
    assert_equal_states(*(trial.copies(0) for trial in runs))


@pytest.mark.parametrize(("fields", "wanted"), [(HALF, ["float16", "float32"]), ({"model__norm": "none"}, ["float32"])])
def test_half_the_bytes_are_in_the_reduction(training, batches, fields, wanted):
    """One vector of all gradients is added between replicas, in float16 with the row of the losses beside it."""
    trial = training(replicas=2, **fields)
    rows = sum(trial.state.layouts[name].rows for name in NETWORKS) + 1
    graph = trial.graph(*batches(1))
    added = sorted(
        (op.outputs[0].dtype.name, op.outputs[0].shape) for op in graph.get_operations() if op.type == "AddN"
    )
    assert added == list(zip(wanted, [[rows, ROW], [ROW]], strict=False))
