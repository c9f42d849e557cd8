"""The training step on all replicas, and the loop of steps inside one tf.function.

On every replica:

    forward + backward (XLA)  ->  one all-reduce of one gradient vector  ->  update (XLA)

With `optimizer.reduce_dtype=float16` gradients travel between replicas in half the bytes, under the loss scale that
float16 needs anywhere: where a sum overflows, every replica skips the step and halves the scale.

Only the collective stays outside of the compiled functions. They are called from a plain Python replica function: a
jitted function passed to `strategy.run` fails on CPU replicas, and jit over the whole replica function fails on two
("Trying to access resource ... located in device CPU:1").

No operation of the host depends on a result of a device within the loop. TensorFlow would wait for the device in every
step, and the device then for the host, instead of working through steps that are queued.
"""

import gc
from collections.abc import Callable, Iterator

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.distributed import xla_cache
from hazeheal.distributed.runtime import Runtime, local_replica_index
from hazeheal.models.networks import build_networks
from hazeheal.training.step.forward_backward import LOSSES, accumulate, make_forward_backward
from hazeheal.training.step.train_state import TrainState
from hazeheal.training.step.update import SCALARS, make_update

METRICS = LOSSES + SCALARS


def make_state(config: ConfigDict, *, runtime: Runtime) -> TrainState:
    """Builds the networks of a configuration and the variables of their training."""
    with tf.device(runtime.host):  # the networks' own variables are only the initial values of the state
        networks = build_networks(config, precision=runtime.precision)
    with runtime.strategy.scope():
        return TrainState(networks, use_ema=config.optimizer.ema_half_life > 0, fused=runtime.fuses)


def make_loop(
    state: TrainState, *, config: ConfigDict, runtime: Runtime, total_steps: int, warmup_steps: int
) -> "TrainingLoop":
    """Builds the function that trains for some steps without returning to Python.

    Args:
        state: The training state, as `make_state` returns it.
        config: The configuration.
        runtime: Strategy, precision and XLA.
        total_steps, warmup_steps: As for `optimizer.learning_rate`.

    Returns:
        loop(iterator, num_steps) -> (metrics `[num_steps, len(METRICS)]` float32, float64 seconds that the steps waited
        for input, estimated from the first one).
    """
    strategy = runtime.strategy
    reduce_dtype = reduction_dtype(config, replicas=runtime.replicas)
    scaled = "float16" in (reduce_dtype, runtime.precision.removeprefix("mixed_"))
    forward_backward = make_forward_backward(
        state.networks, state.layouts, config=config, scaled=scaled, fused=state.fused
    )
    forward_backward = traced_once(compiled(forward_backward, xla=runtime.xla))
    options = {"scaled": scaled, "total_steps": total_steps, "warmup_steps": warmup_steps}
    # One function per replica: each holds its own device's variables. On CPUs it is always compiled, because XLA computes
    # it in one pass over the vectors instead of one for each operation.
    updates = [make_update(state, replica=i, config=config, **options) for i in range(len(runtime.devices))]
    updates = [compiled(update, xla=runtime.xla or not runtime.on_gpu) for update in updates]
    share = 1.0 / config.train.batch_size

    def forward(replica, batch):
        inputs, micro_batches = state.read(replica), config.optimizer.accumulate
        return accumulate(forward_backward, inputs, batch, micro_batches=micro_batches, share=share)

    @tf.autograph.experimental.do_not_convert
    def replica_step(batch):
        replica = local_replica_index(runtime.devices)
        outputs = forward(replica, batch)
        context = tf.distribute.get_replica_context()
        total, sums = all_reduce(context, outputs["summand"], dtype=reduce_dtype)
        gradients, _ = state.split_summand(total)
        return updates[replica](gradients, sums, outputs["spectral"])

    @tf.autograph.experimental.do_not_convert
    def step(batch):
        return strategy.experimental_local_results(strategy.run(replica_step, args=(batch,)))[0]

    @tf.function
    def train(iterator, first, num_steps):
        metrics = tf.TensorArray(tf.float32, size=num_steps, element_shape=[len(METRICS)])
        metrics = metrics.write(0, step(first))
        for i in tf.range(1, num_steps):
            metrics = metrics.write(i, step(next(iterator)))
        return metrics.stack()

    @tf.function(autograph=False)
    def compile_on_first_device(batch):
        with tf.device(strategy.extended.worker_devices[0]):
            images = strategy.experimental_local_results(batch)[0]
            return forward(0, images)["summand"][0, 0]

    # XLA compiles for each device when a function is first used there. If one device is first, the others load its
    # program from the persistent cache (distributed/xla_cache.py); if all start at once, each compiles. It has to be
    # called from a graph as in `train`: a direct call has another key in the cache.
    compiles_once = runtime.xla and len(runtime.devices) > 1
    return TrainingLoop(strategy, train=train, before_first=compile_on_first_device if compiles_once else None)


class TrainingLoop:
    """Trains for some steps without returning to Python, see `make_loop`.

    Attributes:
        train: The tf.function (iterator, first batch, num_steps) -> metrics.
    """

    def __init__(self, strategy: tf.distribute.Strategy, *, train: Callable, before_first: Callable | None = None):
        """`strategy` distributes the batches; `before_first` gets the very first one."""

        @tf.function
        def fetch(iterator):
            requested = tf.timestamp()
            with tf.control_dependencies([requested]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(strategy.experimental_local_results(batch))):
                return batch, tf.timestamp() - requested

        self._fetch = fetch
        self.train = train
        self._before_first = before_first
        self._is_first = True

    def __call__(self, iterator: Iterator, num_steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Trains for `num_steps` steps, an int32 scalar of 1 or more."""
        # The wait is measured before the loop, where the devices are idle: within it, measuring would make them wait.
        batch, waited = self._fetch(iterator)
        if self._is_first and self._before_first is not None:
            self._before_first(batch)
        metrics = self.train(iterator, batch, num_steps)
        if self._is_first:
            self._is_first = False
            xla_cache.record_programs()
            # The traced graphs are a million objects that stay. Without this the garbage collector visits them again
            # and again, for seconds each time where their pages were swapped out.
            gc.freeze()
        return metrics, waited * tf.cast(num_steps, waited.dtype)


def compiled(function: Callable, *, xla: bool) -> tf.types.experimental.PolymorphicFunction:
    """Returns a tf.function that XLA compiles, or that TensorFlow optimizes once and does not copy into its callers."""
    if xla:
        return tf.function(xla_cache.with_stable_name(function), jit_compile=True, autograph=False)
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def reduction_dtype(config: ConfigDict, *, replicas: int) -> str:
    """Returns the dtype in which gradients are summed over replicas; a single replica sends and loses nothing."""
    return config.optimizer.reduce_dtype if replicas > 1 else "float32"


def all_reduce(context: tf.distribute.ReplicaContext, summand: tf.Tensor, *, dtype: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums the gradient and the losses over all replicas, in a replica function.

    Args:
        context: The replica context.
        summand: Of `forward_backward`: the gradient and, in the last row, the losses of this replica; float32.
        dtype: `float32` or `float16`, in which the gradient is summed.

    Returns:
        (the sum of `summand` in `dtype`, the float32 sum of its last row), identical on every replica.
    """
    add = tf.distribute.ReduceOp.SUM
    if dtype == "float32":
        total = context.all_reduce(add, summand)
        return total, total[-1]
    return context.all_reduce(add, tf.cast(summand, dtype)), context.all_reduce(add, summand[-1])


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
