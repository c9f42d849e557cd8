"""The reduction of the gradients between the replicas, without any other work: bytes and time."""

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.benchmark.step import open_runtime
from hazeheal.benchmark.timing import timed_rounds
from hazeheal.distributed.runtime import local_replica_index
from hazeheal.models.networks import build_networks
from hazeheal.training.step.step import LOSSES, all_reduce, reduction_dtype
from hazeheal.training.step.train_state import local


def measure(spec: dict) -> dict:
    """Sums tensors with the shapes of all gradients, in the same single call as the training step.

    Args:
        spec: `config`, `cpu`, `replicas`, `precision`, `xla`, `seconds` of a round, `rounds`.

    Returns:
        bytes: of one replica's contribution to one reduction; for each round seconds of one reduction, and
        bytes_per_second.
    """
    config = configs.from_dict(spec["config"])
    runtime = open_runtime(spec)
    shapes = gradient_shapes(config)
    dtype = reduction_dtype(config, replicas=runtime.replicas)
    with runtime.strategy.scope():
        # Variables, because their values are unknown when the loop is traced.
        gradients = [
            tf.Variable(tf.zeros(shape), trainable=False, aggregation=tf.VariableAggregation.NONE) for shape in shapes
        ]

    @tf.autograph.experimental.do_not_convert
    def reduce():
        replica = local_replica_index(runtime.devices)
        *values, sums = (local(variable, replica).read_value() for variable in gradients)
        values, sums = all_reduce(tf.distribute.get_replica_context(), values, sums, dtype=dtype)
        # An unused sum would be pruned from the graph; reading its first number is enough.
        return tf.add_n([tf.reshape(value, [-1])[0] for value in [*values, sums]])

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
    *gradient_sizes, sums_size = (int(np.prod(shape)) for shape in shapes)
    size = tf.as_dtype(dtype).size * sum(gradient_sizes) + 4 * sums_size
    return {
        "bytes": size,
        "seconds": [duration / count for duration in durations],
        "bytes_per_second": [size * count / duration for duration in durations],
    }


def gradient_shapes(config: ConfigDict) -> list[tuple[int, ...]]:
    """Returns the shapes that the step reduces at once: a gradient for each variable, and the vector of loss sums."""
    fields = config.to_dict()
    # The perceptual network has no gradients and need not be built.
    fields["loss"] = fields["loss"] | {"perceptual_weight": 0.0}
    networks = build_networks(configs.from_dict(fields))
    variables = [*networks.generator.trainable_variables, *networks.discriminator.trainable_variables]
    return [tuple(v.shape) for v in variables] + [(len(LOSSES),)]
