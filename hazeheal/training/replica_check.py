"""Compares the replicas before a save: a device that computes or stores a wrong value changes only its own copy.

All replicas apply the same update to the same values, so their copies have the same bits. Where they differ, training
would go on without a word, and a checkpoint, which is the copy of one replica, could keep the wrong one.
"""

import collections
import logging
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from hazeheal.distributed.failures import resume_advice
from hazeheal.distributed.groups import Groups
from hazeheal.distributed.runtime import Runtime, local_replica_index
from hazeheal.errors import DeviceFailedError
from hazeheal.training.step.step import compiled
from hazeheal.training.step.train_state import TrainState, local

LOG = logging.getLogger("hazeheal")
_EXACT = 2**52 - 1  # the bits of a checksum that float64 represents exactly


class ReplicaCheck:
    """Compares the variables of all replicas of all groups by checksums.

    A single replica has nothing to compare. Devices of different kinds round differently and are not compared.
    """

    def __init__(self, state: TrainState, *, runtime: Runtime, groups: Groups):
        """Compiles nothing yet. All groups must call it."""
        self._runtime, self._groups = runtime, groups
        kinds = sorted(set(runtime.device_kinds))
        self._are_alike = len(kinds) < 2 and groups.have_same(kinds)
        # Not the spectral vectors: they follow from products of each device, not from the reduced gradient.
        variables = [variable for variable in state.variables if variable is not state.spectral]
        # One function per replica, compiled as the update is: it reads large vectors once, without a copy.
        self._checksums = [
            compiled(
                lambda replica=replica: checksum([local(v, replica).read_value() for v in variables]),
                xla=runtime.xla or not runtime.on_gpu,
            )
            for replica in range(len(runtime.devices))
        ]
        self._on_all_devices = tf.function(self._run_on_all_devices, autograph=False)
        self._has_warned = False

    def run(self, step: int, *, checkpoints: pathlib.Path) -> None:
        """Compares the replicas. All groups must call it.

        Args:
            step: Number of completed steps, for the error.
            checkpoints: This group's checkpoints: the error names the step to resume from.

        Raises:
            DeviceFailedError: The replicas differ; raised in every group.
        """
        if self._runtime.replicas == 1:
            return
        if not self._are_alike:
            if not self._has_warned:
                LOG.info("the replicas are not compared before a save, because their devices differ")
            self._has_warned = True
            return
        table = self._groups.gather([int(value) & _EXACT for value in self._on_all_devices()])
        if different := self._name_different(table):
            raise DeviceFailedError(
                f"the replicas differ at step {step}: {different}; a device computed or stored a wrong value, and this "
                f"step was not saved; {resume_advice(checkpoints)}"
            )

    def _run_on_all_devices(self):
        @tf.autograph.experimental.do_not_convert
        def on_replica():
            return self._checksums[local_replica_index(self._runtime.devices)]()

        strategy = self._runtime.strategy
        return strategy.experimental_local_results(strategy.run(on_replica))

    def _name_different(self, table):
        """Returns which replicas differ, "" if none does, from `[groups, replicas of a group]` checksums."""
        (value, count), *others = collections.Counter(table.ravel()).most_common()
        if not others:
            return ""
        is_majority = 2 * count > table.size
        names = [
            f"{device} of group {group}" if self._groups.count > 1 else device
            for group, row in enumerate(table)
            for device, entry in zip(self._runtime.devices, row, strict=True)
            if not is_majority or entry != value
        ]
        return f"{', '.join(names)} from the other {count}" if is_majority else " and ".join(names)


def checksum(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns an int64 scalar: the bits of all values as integers, weighted by position and summed modulo 2^64.

    The weights are odd, so that a change of one value changes the sum whatever bits it is in.

    Args:
        tensors: float32 or int64, of up to two dimensions.
    """
    total = tf.constant(0, tf.int64)
    for number, tensor in enumerate(tensors):
        bits = tensor if tensor.dtype == tf.int64 else tf.cast(tf.bitcast(tensor, tf.int32), tf.int64)
        for axis in reversed(range(len(tensor.shape))):
            bits = tf.reduce_sum(bits * (2 * tf.range(tensor.shape[axis], dtype=tf.int64) + 1), axis)
        total += bits * (2 * number + 1)
    return total
