"""What the replica groups of a job tell each other between steps: facts, decisions, a checkpoint.

Everything is a sum over all replicas to which one replica of each group contributes: the same collective
as in the training step, so that there is no second network of connections that could fail on its own.
Values travel as the 64-bit integers that their bytes spell; a sum with zeros changes no bit of them.
All groups must make the same calls in the same order. A single group talks to nobody.
"""

import hashlib
import json

import numpy as np
import tensorflow as tf

from hazeheal.distributed.runtime import local_replica_index
from hazeheal.errors import GroupsDisagreeError

BLOCK = 1 << 20  # 64-bit words sent at once: 8 MB


class Groups:
    """The groups of one job.

    Attributes:
        number: Of this group, from 0; group 0 speaks for the job where one must.
        count: How many there are.
    """

    def __init__(self, runtime):
        self.number = runtime.group
        self.count = runtime.num_groups
        self._strategy = runtime.strategy
        self._devices = runtime.devices
        self._sum = tf.function(self._sum_over_replicas, autograph=False)

    @property
    def is_first(self) -> bool:
        return self.number == 0

    def gather(self, values) -> np.ndarray:
        """Tells all groups `values`, [n] numbers; returns [count, n] float64, a row for each group."""
        row = np.asarray(values, np.float64)
        table = np.zeros([self.count, *row.shape])
        table[self.number] = row
        return self._summed(table.view(np.int64)).view(np.float64)

    def barrier(self) -> None:
        """Returns when all groups have called it."""
        if self.count > 1:
            self.gather([0.0])

    def check_same(self, facts: dict) -> None:
        """Refuses to go on where the groups do not agree.

        Args:
            facts: {what: value}, the same names in every group; compared as JSON.

        Raises:
            GroupsDisagreeError: What differs, with this group's value, in every group alike.
        """
        if self.count == 1:
            return
        # 48 bits of a hash are a whole number in float64.
        hashes = [hashlib.sha256(json.dumps(v, sort_keys=True).encode()).digest()[:6] for v in facts.values()]
        table = self.gather([int.from_bytes(h, "big") for h in hashes])
        for column, (what, value) in enumerate(facts.items()):
            others = [g for g in range(self.count) if table[g, column] != table[self.number, column]]
            if others:
                raise GroupsDisagreeError(
                    f"the replica groups do not agree on {what}: it is {value} in group {self.number} and something "
                    f"else in group {', '.join(map(str, others))}; start all of them alike"
                )

    def broadcast(self, content, *, source: int):
        """Sends `content` of group `source` to all.

        Args:
            content: ({name: np.ndarray}, plain JSON value) in group `source`; not looked at elsewhere.

        Returns:
            The same pair in every group, bit for bit.
        """
        if self.count == 1:
            return content
        mine = self.number == source
        header, body = _packed(content) if mine else (b"", None)
        header_bytes, body_bytes = (
            int(n) for n in self.gather([len(header), 0 if body is None else len(body)])[source]
        )
        header = self._bytes_from(header if mine else None, header_bytes)
        body = self._bytes_from(body if mine else None, body_bytes)
        return content if mine else _unpacked(header, body)

    def _bytes_from(self, data, size):
        """`size` bytes, of the one group in which `data` is not None."""
        words = np.zeros(-(-size // 8), np.int64)
        if data is not None:
            words.view(np.uint8)[:size] = np.frombuffer(data, np.uint8)
        for begin in range(0, len(words), BLOCK):
            words[begin : begin + BLOCK] = self._summed(words[begin : begin + BLOCK])
        return words.view(np.uint8)[:size]

    def _summed(self, words):
        if self.count == 1:
            return words
        return self._sum(tf.constant(words)).numpy()

    def _sum_over_replicas(self, words):
        @tf.autograph.experimental.do_not_convert
        def contribute():
            context = tf.distribute.get_replica_context()
            # Made here, so that it lies on the replica's own device: that is where the sum goes.
            mine = tf.identity(words) if local_replica_index(self._devices) == 0 else tf.zeros_like(words)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return self._strategy.experimental_local_results(self._strategy.run(contribute))[0]


def _packed(content):
    arrays, value = content
    table = [(name, a.dtype.str, a.shape) for name, a in arrays.items()]
    body = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())
    return json.dumps([table, value]).encode(), body


def _unpacked(header, body):
    table, value = json.loads(header.tobytes())
    arrays, begin = {}, 0
    for name, dtype, shape in table:
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        arrays[name] = body[begin : begin + size].copy().view(dtype).reshape(shape)
        begin += size
    return arrays, value
