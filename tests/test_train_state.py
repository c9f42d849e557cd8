"""The training state: stable names, bit for bit round trips, and refusals that change nothing."""

import numpy as np
import pytest
import tensorflow as tf
from trainings import make_config

from hazeheal.errors import HazeHealError
from hazeheal.models.networks import build_networks
from hazeheal.training.step.train_state import NETWORKS, TrainState


@pytest.fixture(scope="module")
def pair(training):
    """A state on two replicas. Its step is never traced here, because that takes long."""
    return training(replicas=2)


def noise_like(values, seed):
    """Other values of the same names, shapes and dtypes."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0, 100, value.shape).astype(value.dtype) for name, value in values.items()}


def assert_holds(training, values):
    """Every replica's copy of every variable, bit for bit."""
    for replica in range(training.runtime.replicas):
        copies = training.copies(replica)
        assert copies.keys() == values.keys()
        for name, value in values.items():
            assert copies[name].dtype == value.dtype, name
            assert copies[name].tobytes() == value.tobytes(), f"{name} on replica {replica}"


# --- names --------------------------------------------------------------------------------------------

COUNTERS = {
    "rate_factor",
    "step",
    "updates",
    "skipped_in_a_row",
    "loss_scale",
    "good_steps",
}
GOLDEN = {
    "generator/stem/kernel": (3, 3, 3, 2),
    "generator/encoder_0/mbconv/expand/kernel": (1, 1, 2, 8),
    "generator/encoder_0/strided_norm/scale": (4,),
    "generator/decoder_0/up/kernel": (4, 4, 2, 4),
    "generator/head/bias": (3,),
    "discriminator/conv_0/kernel": (4, 4, 6, 4),
    "discriminator/logits/u": (1,),
    "ema/generator/stem/kernel": (3, 3, 3, 2),
    "adam_m/generator/stem/kernel": (3, 3, 3, 2),
    "adam_v/discriminator/conv_4/bias": (32,),
    "step": (),
}


def test_names_are_those_of_all_checkpoints(pair):
    shapes = {name: value.shape for name, value in pair.state.snapshot().items()}
    assert {name: shapes.get(name) for name in GOLDEN} == GOLDEN


def test_every_variable_is_saved_once_with_its_average_and_slots(pair):
    names = set(pair.state.snapshot())
    networks = {n for n in names if n.startswith(("generator/", "discriminator/"))}
    of_keras = {f"{name}/{v.path}" for name in NETWORKS for v in getattr(pair.networks, name).variables}
    assert networks == of_keras
    vectors = {n for n in networks if n.endswith("/u")}
    assert len(vectors) == 6
    averages = {f"ema/{n}" for n in networks if n.startswith("generator/")}
    slots = {f"adam_{slot}/{n}" for n in networks - vectors for slot in "mv"}
    assert names == networks | averages | slots | COUNTERS
    # Parameters, spectral vectors, average and slots are one vector each.
    assert len({id(variable) for variable in pair.state.variables}) == 8 + len(COUNTERS)
    values_in_vectors = sum(value.size for name, value in pair.state.snapshot().items() if name not in COUNTERS)
    assert sum(v.shape.num_elements() for v in pair.state.variables) >= values_in_vectors + len(COUNTERS)


def test_names_do_not_depend_on_what_was_built_before(pair):
    config = make_config()
    again = TrainState(build_networks(config), use_ema=True).snapshot()
    before = pair.state.snapshot()
    assert list(again) == list(before)
    assert {n: v.shape for n, v in again.items()} == {n: v.shape for n, v in before.items()}


def test_without_an_average_the_weights_are_used():
    state = TrainState(build_networks(make_config()), use_ema=False)
    assert state.ema is None
    assert not any(name.startswith("ema/") for name in state.snapshot())
    assert state.inference_weights is state.parameters["generator"]


def test_the_initial_values_are_those_of_the_networks(pair):
    values = pair.reset().state.snapshot()
    for name in NETWORKS:
        for variable in getattr(pair.networks, name).variables:
            assert np.array_equal(values[f"{name}/{variable.path}"], variable.numpy()), variable.path
    assert not any(value.any() for name, value in values.items() if name.startswith("adam_"))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_perceptual_network_has_its_own_precision_and_is_not_saved(vgg, precision):
    config = make_config(
        loss__perceptual_weight=0.005, loss__perceptual_layer="block1_conv1", loss__perceptual_weights=vgg
    )
    networks = build_networks(config, precision=precision)
    state = TrainState(networks, use_ema=False)
    dtype = precision.removeprefix("mixed_")
    assert state.perceptual.dtype == dtype
    assert not any("block1" in name for name in state.snapshot())
    found = state.layouts["perceptual"].unpack(state.read(0).perceptual)
    for tensor, variable in zip(found, networks.perceptual.variables, strict=True):
        assert np.array_equal(tensor, tf.cast(variable.numpy(), dtype)), variable.path
    assert {v.dtype for v in state.variables} == {tf.float32, tf.int64}


def test_each_replica_reads_its_own_values(pair):
    """What the forward pass gets, in the networks' shapes, is what was loaded."""
    values = noise_like(pair.reset().state.snapshot(), seed=8)
    pair.state.load(values, source="noise")
    for replica in range(2):
        inputs = pair.state.read(replica)
        for kind, network in (("generator",) * 2, ("discriminator",) * 2, ("spectral", "discriminator")):
            layout = pair.state.layouts[kind]
            for name, tensor in zip(layout.names, layout.unpack(getattr(inputs, kind)), strict=True):
                assert tensor.numpy().tobytes() == values[f"{network}/{name}"].tobytes(), name
        assert inputs.loss_scale == values["loss_scale"]


def test_the_average_starts_as_the_weights(pair):
    values = pair.reset().state.snapshot()
    for name, value in values.items():
        if name.startswith("ema/"):
            assert np.array_equal(value, values[name.removeprefix("ema/")]), name
    assert any(value.any() for name, value in values.items() if name.startswith("ema/"))


# --- snapshot and load --------------------------------------------------------------------------------


def test_round_trip_bit_for_bit_on_all_replicas(pair):
    values = noise_like(pair.state.snapshot(), seed=1)
    values["step"] = np.array(2**40 + 1, np.int64)
    values["generator/stem/kernel"].flat[0] = np.nan
    values["generator/stem/kernel"].flat[1] = np.float32(1e-42)  # denormal
    pair.state.load(values, source="noise")
    assert_holds(pair, values)
    snapshot = pair.state.snapshot()
    assert {n: v.tobytes() for n, v in snapshot.items()} == {n: v.tobytes() for n, v in values.items()}


def test_a_snapshot_does_not_change_while_training_continues(pair):
    pair.reset()
    snapshot = pair.state.snapshot()
    kept = {name: value.copy() for name, value in snapshot.items()}
    pair.state.load(noise_like(snapshot, seed=2), source="noise")
    for name, value in snapshot.items():
        assert np.array_equal(value, kept[name]), name


@pytest.mark.parametrize("name", ["loss_scale", "ema/generator/head/kernel", "step"])
@pytest.mark.parametrize("kind", ["shape", "missing"])
def test_load_refuses_another_model_names_the_variable_and_sets_nothing(pair, name, kind):
    before = pair.reset().state.snapshot()
    values = noise_like(before, seed=3)
    if kind == "shape":
        values[name] = np.zeros((*before[name].shape, 2), np.float32)
    else:
        del values[name]
    with pytest.raises(HazeHealError) as caught:
        pair.state.load(values, source="runs/x/ckpt-00000007")
    message = str(caught.value)
    assert name in message and "runs/x/ckpt-00000007" in message and "\n" not in message
    assert str(before[name].shape) in message
    assert_holds(pair, before)


# --- networks alone, for fine-tuning -------------------------------------------------------------------


def test_load_networks_changes_only_the_networks_and_starts_the_average_from_the_weights(pair):
    before = pair.reset().state.snapshot()
    values = noise_like(before, seed=4)
    assert pair.state.load_networks(values, source="x") == []
    weights = {n: values[n.removeprefix("ema/")] for n in before if n.startswith("ema/")}
    networks = {n: values[n] for n in before if n.startswith(("generator/", "discriminator/"))}
    assert_holds(pair, before | networks | weights)


def test_load_networks_loads_the_discriminator_completely_or_not_at_all(pair):
    before = pair.reset().state.snapshot()
    values = noise_like(before, seed=6)
    values["discriminator/conv_2/kernel"] = np.zeros((4, 4, 5, 7), np.float32)
    missing = pair.state.load_networks(values, source="x")
    after = pair.state.snapshot()
    for name in before:
        if name.startswith("discriminator/"):
            assert name in missing
            assert np.array_equal(after[name], before[name]), name
        elif name.startswith("generator/"):
            assert np.array_equal(after[name], values[name]), name


def test_load_networks_refuses_another_generator_and_sets_nothing(pair):
    before = pair.reset().state.snapshot()
    values = noise_like(before, seed=7)
    values["generator/head/kernel"] = np.zeros((1, 1, 2, 3), np.float32)
    with pytest.raises(HazeHealError, match=r"runs/y: generator/head/kernel has shape \(1, 1, 2, 3\)"):
        pair.state.load_networks(values, source="runs/y")
    assert_holds(pair, before)
