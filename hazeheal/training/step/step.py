"""The training step on all replicas, and the loop of steps inside one tf.function.

On every replica:

    forward + backward (XLA)  ->  one all-reduce of all gradients  ->  update (XLA)

With `optimizer.reduce_dtype=float16` gradients travel between replicas in half the bytes, under the loss scale that
float16 needs anywhere: where a sum overflows, every replica skips the step and halves the scale.

Only the collective stays outside of the compiled functions. They are called from a plain Python replica function: a
jitted function passed to `strategy.run` fails on CPU replicas, and jit over the whole replica function fails on two
("Trying to access resource ... located in device CPU:1").
"""

from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.distributed.runtime import Runtime, local_replica_index
from hazeheal.training.step.forward_backward import LOSSES, accumulate, make_forward_backward
from hazeheal.training.step.train_state import LocalVariables, TrainState
from hazeheal.training.step.update import SCALARS, make_update

METRICS = LOSSES + SCALARS


def make_loop(
    state: TrainState, *, config: ConfigDict, runtime: Runtime, total_steps: int, warmup_steps: int
) -> Callable[..., tuple]:
    """Builds the function that trains for some steps without returning to Python.

    Args:
        state: The training state, created in the strategy's scope.
        config: The configuration.
        runtime: Strategy, precision and XLA.
        total_steps, warmup_steps: As for `optimizer.learning_rate`.

    Returns:
        loop(iterator, num_steps) -> (metrics `[num_steps, len(METRICS)]` float32, float64 seconds that the steps
        waited for input).
    """
    strategy = runtime.strategy
    reduce_dtype = reduction_dtype(config, replicas=runtime.replicas)
    scaled = "float16" in (reduce_dtype, runtime.precision.removeprefix("mixed_"))
    forward_backward = make_forward_backward(state.networks, config=config, scaled=scaled)
    forward_backward = traced_once(tf.function(forward_backward, jit_compile=runtime.xla, autograph=False))
    options = {"scaled": scaled, "total_steps": total_steps, "warmup_steps": warmup_steps}
    # One function per replica: each holds its own device's variables.
    updates = [make_update(state, replica=i, config=config, **options) for i in range(len(runtime.devices))]
    updates = [tf.function(update, jit_compile=runtime.xla, autograph=False) for update in updates]
    share = 1.0 / config.train.batch_size

    @tf.autograph.experimental.do_not_convert
    def replica_step(batch, arrived):
        # Without this dependency the clock would be read whenever a thread is free.
        with tf.control_dependencies([arrived]):
            batch = {name: tf.identity(value) for name, value in batch.items()}
        replica = local_replica_index(runtime.devices)
        outputs = accumulate(
            forward_backward,
            LocalVariables(state, replica),
            batch,
            micro_batches=config.optimizer.accumulate,
            share=share,
        )
        context = tf.distribute.get_replica_context()
        gradients, sums = all_reduce(context, outputs["gradients"], outputs["sums"], dtype=reduce_dtype)
        return updates[replica](gradients, sums, outputs["vectors"])

    @tf.function
    def loop(iterator, num_steps):
        metrics = tf.TensorArray(tf.float32, size=num_steps, element_shape=[len(METRICS)])
        waited = tf.constant(0.0, tf.float64)
        last = tf.zeros([len(METRICS)])
        for i in tf.range(num_steps):
            # The clock is read when the previous step is done, and again when the batch has arrived.
            with tf.control_dependencies([last]):
                requested = tf.timestamp()
            with tf.control_dependencies([requested]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(strategy.experimental_local_results(batch))):
                arrived = tf.timestamp()
            waited += arrived - requested
            values = strategy.run(replica_step, args=(batch, arrived))
            values = strategy.experimental_local_results(values)
            with tf.control_dependencies(values):  # a step is done when all replicas have finished it
                last = tf.identity(values[0])
            metrics = metrics.write(i, last)
        return metrics.stack(), waited

    return loop


def reduction_dtype(config: ConfigDict, *, replicas: int) -> str:
    """Returns the dtype in which gradients are summed over replicas; a single replica sends and loses nothing."""
    return config.optimizer.reduce_dtype if replicas > 1 else "float32"


def all_reduce(
    context: tf.distribute.ReplicaContext, gradients: list, sums: tf.Tensor, *, dtype: str
) -> tuple[list, tf.Tensor]:
    """Sums gradients and losses over all replicas, in a replica function.

    Args:
        context: The replica context.
        gradients: float32 tensors, summed in `dtype`.
        sums: The vector of the losses' sums, which stays float32.
        dtype: `float32` or `float16`.

    Returns:
        (gradients, sums) of the global batch, float32, identical on every replica.
    """
    add = tf.distribute.ReduceOp.SUM
    if dtype == "float32":
        *gradients, sums = context.all_reduce(add, [*gradients, sums])
        return gradients, sums
    halves = context.all_reduce(add, [tf.cast(g, dtype) for g in gradients])
    return [tf.cast(g, tf.float32) for g in halves], context.all_reduce(add, sums)


def traced_once(function: Callable) -> Callable:
    """Wraps a tf.function whose arguments are tensors, so that all replicas share one trace.

    A MirroredStrategy traces a function again for every device, to the same graph each time: the call decides on which
    device it runs, not the graph.
    """
    traces = {}

    def call(*args):
        signature = tuple((tuple(a.shape), a.dtype) if tf.is_tensor(a) else a for a in tf.nest.flatten(args))
        if signature not in traces:
            traces[signature] = function.get_concrete_function(*args)
        return traces[signature](*args)

    return call
