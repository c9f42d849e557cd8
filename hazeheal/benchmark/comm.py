"""The reduction of the gradients between the replicas: its bytes and its time, nothing else running."""

import numpy as np
import tensorflow as tf

from hazeheal import config as configs
from hazeheal.benchmark.step import open_runtime
from hazeheal.benchmark.timing import spread, timed_rounds
from hazeheal.distributed.runtime import local_replica_index
from hazeheal.inference.gan import DehazeGAN
from hazeheal.training.step.step import LOSSES, reduction_dtype, summed
from hazeheal.training.step.train_state import local


def measure(spec) -> dict:
    """Sums tensors of the shapes of all gradients, in the one call that the training step makes for them.

    Args:
        spec: `config`, `cpu`, `replicas`, `precision`, `xla`, `seconds` of a round, `rounds`.

    Returns:
        tensors, bytes: that each replica gives into one reduction; reduce_dtype: of the gradients; seconds: spread of one reduction's
        time; bytes_per_second: spread of `bytes` over it.
    """
    config = configs.from_dict(spec["config"])
    runtime = open_runtime(spec)
    shapes = gradient_shapes(config)
    dtype = reduction_dtype(config, replicas=runtime.replicas)
    with runtime.strategy.scope():
        # Variables, as what is read from them is not known before the loop runs.
        gradients = [
            tf.Variable(tf.zeros(shape), trainable=False, aggregation=tf.VariableAggregation.NONE)
            for shape in shapes
        ]

    @tf.autograph.experimental.do_not_convert
    def reduce():
        replica = local_replica_index(runtime.devices)
        *values, sums = (local(variable, replica).read_value() for variable in gradients)
        values, sums = summed(tf.distribute.get_replica_context(), values, sums, dtype=dtype)
        # Every sum is used, or it would not be made; the first number of each is enough for that.
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
    *numbers, rest = (int(np.prod(shape)) for shape in shapes)
    size = tf.as_dtype(dtype).size * sum(numbers) + 4 * rest
    return {
        "tensors": len(shapes),
        "bytes": size,
        "reduce_dtype": dtype,
        "seconds": spread(duration / count for duration in durations),
        "bytes_per_second": spread(size * count / duration for duration in durations),
    }


def gradient_shapes(config) -> list:
    """Shapes of what the step reduces at once: a float32 gradient a variable, and the vector of the losses' sums."""
    gan = DehazeGAN(configs.from_dict(without_perceptual(config)))
    variables = [*gan.generator.trainable_variables, *gan.discriminator.trainable_variables]
    return [tuple(v.shape) for v in variables] + [(len(LOSSES) + 3,)]


def without_perceptual(config) -> dict:
    """The fields of a configuration without the network that has no gradients."""
    fields = config.to_dict()
    return fields | {"loss": fields["loss"] | {"perceptual_weight": 0.0}}
