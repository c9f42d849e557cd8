"""Replicas that differ in one bit are found and named before a save."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.distributed.groups import Groups
from hazeheal.errors import DeviceFailedError
from hazeheal.training.replica_check import ReplicaCheck, checksum
from hazeheal.training.step.train_state import local

NOWHERE = pathlib.Path("/nowhere")


@pytest.fixture(scope="module")
def check(training):
    """Gives check(replicas): a state and its ReplicaCheck, made once."""
    made = {}

    def get(replicas):
        trial = training(replicas=replicas)
        if replicas not in made:
            made[replicas] = ReplicaCheck(trial.state, runtime=trial.runtime, groups=Groups(trial.runtime))
        return trial.state, made[replicas]

    return get


def flip(variable, replica, *, position=0, bit=0):
    """Flips a bit of one value of one replica's copy."""
    copy = local(variable, replica)
    value = np.array(copy.numpy())
    bits = value.reshape(-1).view(f"uint{8 * value.itemsize}")
    bits[position] ^= bits.dtype.type(1 << bit)
    copy.assign(tf.convert_to_tensor(value, copy.dtype))


def difference(replica_check):
    with pytest.raises(DeviceFailedError) as caught:
        replica_check.run(7, checkpoints=NOWHERE)
    assert caught.value.exit_code == 71
    return str(caught.value)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_equal_replicas_pass(check, replicas):
    _, replica_check = check(replicas)
    replica_check.run(7, checkpoints=NOWHERE)


@pytest.mark.parametrize(("position", "bit"), [(0, 0), (0, 31), (-1, 0), (-1, 31), (100, 15)])
def test_one_bit_of_a_parameter_is_found_and_the_device_is_named(check, position, bit):
    state, replica_check = check(4)
    flip(state.parameters["discriminator"], 2, position=position, bit=bit)
    assert difference(replica_check) == (
        "the replicas differ at step 7: CPU:2 from the other 3; a device computed or stored a wrong value, and this step "
        "was not saved; rerun the command to start again, as there is no checkpoint yet (hazeheal launch does so)"
    )


@pytest.mark.parametrize("name", ["ema", "step", "loss_scale", "updates", "m", "v"])
def test_every_saved_variable_is_compared(check, name):
    state, replica_check = check(4)
    flip(state.slots[name]["generator"] if name in state.slots else getattr(state, name), 3)
    assert "step 7: CPU:3 from the other 3;" in difference(replica_check)


def test_two_replicas_that_differ_are_both_named(check):
    state, replica_check = check(2)
    flip(state.ema, 1)
    assert "step 7: CPU:0 and CPU:1; a device" in difference(replica_check)


def test_spectral_vectors_are_not_compared(check):
    """They follow from products of each device, which may round differently."""
    state, replica_check = check(2)
    flip(state.spectral, 1)
    replica_check.run(7, checkpoints=NOWHERE)


def test_one_replica_computes_nothing(check, monkeypatch):
    _, replica_check = check(1)
    monkeypatch.setattr(replica_check, "_on_all_devices", None)
    replica_check.run(7, checkpoints=NOWHERE)


@pytest.mark.parametrize(("of_this_group", "of_all"), [(("A", "B"), True), (("A", "A"), False)])
def test_devices_of_different_kinds_are_not_compared(training, monkeypatch, caplog, of_this_group, of_all):
    trial, groups = training(replicas=2), Groups(training(replicas=2).runtime)
    monkeypatch.setattr(groups, "have_same", lambda kinds: of_all)
    object.__setattr__(trial.runtime, "device_kinds", of_this_group)
    replica_check = ReplicaCheck(trial.state, runtime=trial.runtime, groups=groups)
    object.__setattr__(trial.runtime, "device_kinds", ())
    flip(trial.state.ema, 1)
    with caplog.at_level("INFO", logger="hazeheal"):
        for _ in range(2):
            replica_check.run(7, checkpoints=NOWHERE)
    assert [r.message for r in caplog.records] == [
        "the replicas are not compared before a save, because their devices differ"
    ]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ([0, 0], "CPU:1 of group 0 from the other 3"),
        ([1, 1], "CPU:0 of group 0 from the other 3"),
        ([0, 1], "CPU:0 of group 0 and CPU:1 of group 0 and CPU:0 of group 1 and CPU:1 of group 1"),
    ],
)
def test_replicas_are_named_with_their_groups(check, monkeypatch, other, named):
    """Group 0 has the checksums 0 and 1."""
    _, replica_check = check(2)
    groups = replica_check._groups
    monkeypatch.setattr(replica_check, "_on_all_devices", lambda: [0, 1])
    monkeypatch.setattr(groups, "gather", lambda row: np.array([row, other], float))
    monkeypatch.setattr(groups, "count", 2)
    assert f"step 7: {named};" in difference(replica_check)


def test_values_that_change_places_change_the_checksum():
    values = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    other = values.copy()
    other[0, 1], other[2, 3] = values[2, 3], values[0, 1]
    first, second, swapped = tf.constant(values), tf.constant(other), tf.constant(7, tf.int64)
    sums = {int(checksum(x)) for x in ([first, swapped], [second, swapped], [second, swapped + 1], [first, first])}
    assert len(sums) == 4
