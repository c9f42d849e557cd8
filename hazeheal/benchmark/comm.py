"""The reduction of the gradient between the replicas, without any other work: bytes and time."""

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.benchmark.step import open_runtime
from hazeheal.benchmark.timing import timed_rounds
from hazeheal.distributed.runtime import local_replica_index
from hazeheal.models.networks import build_networks
from hazeheal.training.step.layout import ROW
from hazeheal.training.step.step import all_reduce, reduction_dtype
from hazeheal.training.step.train_state import NETWORKS, local, make_layouts


def measure(spec: dict) -> dict:
    """Sums a vector like that of all gradients and losses, in the same way as the training step.

    Args:
        spec: `config`, `cpu`, `replicas`, `precision`, `xla`, `seconds` of a round, `rounds`.

    Returns:
        bytes: of one replica's contribution to one reduction; for each round seconds of one reduction, and
        bytes_per_second.
    """
    config = configs.from_dict(spec["config"])
    runtime = open_runtime(spec)
    shape = summand_shape(config)
    dtype = reduction_dtype(config, replicas=runtime.replicas)
    with runtime.strategy.scope():
        # A variable, because its values are unknown when the loop is traced.
        summand = tf.Variable(tf.zeros(shape), trainable=False, aggregation=tf.VariableAggregation.NONE)

    @tf.autograph.experimental.do_not_convert
    def reduce():
        replica = local_replica_index(runtime.devices)
        value = local(summand, replica).read_value()
        total, sums = all_reduce(tf.distribute.get_replica_context(), value, dtype=dtype)
        # An unused sum would be pruned from the graph; reading its first number is enough.
        return tf.cast(total[0, 0], tf.float32) + sums[0]

    @tf.function
    def repeat(count):
        last = tf.constant(0.0)
        for _ in tf.range(count):
            with tf.control_dependencies([last]):
                last = runtime.strategy.experimental_local_results(runtime.strategy.run(reduce))[0]
        return last

    count, durations, _ = timed_rounds(
        lambda n: repeat(tf.constant(n)).numpy(), seconds=spec["seconds"], rounds=spec["rounds"]
    )
    size = tf.as_dtype(dtype).size * shape[0] * shape[1]
    if dtype != "float32":
        size += 4 * ROW  # the losses are summed in float32, too
    return {
        "bytes": size,
        "seconds": [duration / count for duration in durations],
        "bytes_per_second": [size * count / duration for duration in durations],
    }


def summand_shape(config: ConfigDict) -> tuple[int, int]:
    """Returns the shape of what the step reduces: the rows of all gradients, and one of losses."""
    fields = config.to_dict()
    # The perceptual network has no gradients and need not be built.
    fields["loss"] = fields["loss"] | {"perceptual_weight": 0.0}
    layouts = make_layouts(build_networks(configs.from_dict(fields)))
    return sum(layouts[name].rows for name in NETWORKS) + 1, ROW
