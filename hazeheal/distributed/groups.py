"""Communication between the replica groups of a job outside the training step: numbers, decisions, a checkpoint.

All communication is a sum over all replicas, to which one replica of each group contributes. It is the collective of the
training step, so that no second set of connections can fail. Values are sent as the 64-bit integers with the same bits,
because a sum with zeros leaves these unchanged. All groups must make the same calls in the same order. A single group
does not communicate.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hazeheal.distributed.runtime import Runtime, local_replica_index
from hazeheal.errors import GroupsDisagreeError

BLOCK = 1 << 20  # number of 64-bit integers per collective: 8 MiB


class Groups:
    """The replica groups of one job.

    Attributes:
        number: Number of this group, from 0.
        count: Number of groups.
    """

    def __init__(self, runtime: Runtime):
        self.number = runtime.group
        self.count = runtime.num_groups
        self._strategy = runtime.strategy
        self._devices = runtime.devices
        self._sum = tf.function(self._sum_over_replicas, autograph=False)

    @property
    def is_first(self) -> bool:
        """Whether this is group 0, which acts for the job where one group must."""
        return self.number == 0

    def gather(self, values: Sequence[float]) -> np.ndarray:
        """Returns the numbers of all groups as `[count, n]` float64; `values` are the `n` numbers of this group."""
        row = np.asarray(values, np.float64)
        table = np.zeros([self.count, *row.shape])
        table[self.number] = row
        return self._sum_bits(table.view(np.int64)).view(np.float64)

    def barrier(self) -> None:
        """Returns when all groups have called it."""
        self.gather([0.0])

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Checks that all groups have the same {name: JSON value}; the names must be the same in every group.

        Raises:
            GroupsDisagreeError: A fact differs; raised in every group.
        """
        table = self.gather([_hash(value) for value in facts.values()])
        for column, (name, value) in enumerate(facts.items()):
            different = [g for g in range(self.count) if table[g, column] != table[self.number, column]]
            if different:
                raise GroupsDisagreeError(
                    f"the replica groups do not agree on {name}: it is {value} in group {self.number} and different in "
                    f"group {', '.join(map(str, different))}; start all groups with the same command"
                )

    def have_same(self, value: Any) -> bool:
        """Returns whether all groups have the same JSON value."""
        return bool(np.ptp(self.gather([_hash(value)])) == 0)

    def broadcast(
        self, content: tuple[dict[str, np.ndarray], Any], *, source: int
    ) -> tuple[dict[str, np.ndarray], Any]:
        """Returns the content of group `source`, ({name: array}, JSON value), with the same bits in every group.

        The `content` of the other groups is ignored.
        """
        is_source = self.number == source
        data = _pack(content) if is_source else b""
        size = int(self.gather([len(data)])[source, 0])
        words = np.zeros(-(-size // 8), np.int64)
        words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        for begin in range(0, len(words), BLOCK):
            words[begin : begin + BLOCK] = self._sum_bits(words[begin : begin + BLOCK])
        return content if is_source else _unpack(words.tobytes()[:size])

    def _sum_bits(self, words):
        if self.count == 1:
            return words
        return self._sum(tf.constant(words)).numpy()

    def _sum_over_replicas(self, words):
        @tf.autograph.experimental.do_not_convert
        def contribute():
            context = tf.distribute.get_replica_context()
            # Created in the replica function, so that it is on the replica's device.
            is_first_replica = local_replica_index(self._devices) == 0
            summand = tf.identity(words) if is_first_replica else tf.zeros_like(words)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, summand)

        return self._strategy.experimental_local_results(self._strategy.run(contribute))[0]


def _hash(value):
    """Returns a hash of a JSON value: an integer of 48 bits, which float64 represents exactly."""
    return int.from_bytes(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:6], "big")


def _pack(content):
    """Returns the arrays and the JSON value as the bytes of an .npz file, which executes nothing when it is read."""
    (arrays, value), buffer = content, io.BytesIO()
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    np.savez(buffer, value=text, **{f"array/{name}": array for name, array in arrays.items()})
    return buffer.getvalue()


def _unpack(data):
    with np.load(io.BytesIO(data)) as members:
        arrays = {name.removeprefix("array/"): members[name] for name in members if name != "value"}
        return arrays, json.loads(members["value"].tobytes())
