"""A whole training whose steps only wait: what a device of a given speed would wait for.

It is the trainer with its input pipeline, reports, validations, samples and saves. In place of the compiled step the
graph sleeps, so a machine without a GPU shows what its host can feed, and what happens between the steps.

As on a GPU, whose host runs ahead of it, the next batch is fetched while a step sleeps.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from hazeheal import config as configs
from hazeheal.benchmark.step import batch_in_memory, distributed_iterator, open_runtime
from hazeheal.benchmark.timing import timed_rounds
from hazeheal.distributed.runtime import Runtime
from hazeheal.errors import HazeHealError
from hazeheal.training.schedule import LOOP_SECONDS
from hazeheal.training.step.step import METRICS, TrainingLoop
from hazeheal.training.trainer import DehazeTrainer


def measure(spec: dict) -> dict:
    """Trains once in a temporary directory, for as many steps as the configuration has.

    Args:
        spec: `config`, `cpu`, `replicas`, `precision`, `xla`, `data_dir`, `step_ms`; `seconds` of a round (at most
            one is used) and `rounds` of the loop that is fed from memory.

    Returns:
        wait_steps_per_second in each round: of the loop fed from memory, which only sleeps. Of the training:
        steps_per_second, between its first and its last step; share_of_wait, relative to the lowest of these rounds;
        input_wait_share and overhead_share.

    Raises:
        HazeHealError: The training was stopped.
    """
    config, seconds = configs.from_dict(spec["config"]), spec["step_ms"] / 1000
    runtime = open_runtime(spec)
    loop = make_waiting_loop(runtime, seconds=seconds)
    iterator = distributed_iterator(runtime, batch_in_memory(config, replicas=runtime.replicas))
    count, durations, _ = timed_rounds(
        lambda n: loop(iterator, tf.constant(n))[0].numpy(),
        seconds=min(spec["seconds"], LOOP_SECONDS),  # as long as a call in the training
        rounds=spec["rounds"],
    )
    with tempfile.TemporaryDirectory(prefix="hazeheal-benchmark-") as workdir:
        options = {"data_dir": spec["data_dir"], "workdir": workdir, "runtime": runtime}
        result = WaitingTrainer(config, step_seconds=seconds, **options).train()
    if not result["complete"]:
        raise HazeHealError(f"the training was stopped by {result['signal']}")
    speed = result["images_per_second_wall"] / config.train.batch_size
    return {
        "wait_steps_per_second": [count / duration for duration in durations],
        "steps_per_second": [speed],
        "share_of_wait": [speed * min(durations) / count],
        "input_wait_share": [result["input_wait_share"]],
        "overhead_share": [result["overhead_share"]],
    }


class WaitingTrainer(DehazeTrainer):
    """A trainer whose steps take `step_seconds` and learn nothing."""

    def __init__(self, *args: Any, step_seconds: float, **options: Any):
        """Takes the arguments of `DehazeTrainer` and the duration of a step."""
        self._step_seconds = step_seconds
        super().__init__(*args, **options)

    def _make_loop(self):
        return make_waiting_loop(self.runtime, seconds=self._step_seconds)


def make_waiting_loop(runtime: Runtime, *, seconds: float) -> Callable[[Any, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns a stand-in for the loop of `make_loop` whose steps take `seconds` each.

    A step begins when all replicas have its batch and the step before it is over. That the thread that sleeps wakes up
    late delays no step, because a device would not wait for it. The loop consumes the same batches as that of a
    training, and returns metrics of the same shape: 0 for `skipped`, and 1 for all others.
    """
    row = tf.constant([[float(name != "skipped") for name in METRICS]])
    with tf.device(runtime.host):
        sleep_until = make_sleep()

    def arrival(batch):
        """Returns the time at which every replica has its batch."""
        shares = runtime.strategy.experimental_local_results(batch)
        with tf.control_dependencies([share["number"] for share in shares]):
            return tf.timestamp()

    def step(arrived, over):
        """Returns the time at which a step is over, then; `over` is that of the step before it."""
        return sleep_until(tf.maximum(arrived, over) + seconds)

    @tf.function
    def train(iterator, first, num_steps):
        arrived, over = arrival(first), tf.constant(0.0, tf.float64)
        for _ in tf.range(1, num_steps):
            following = arrival(next(iterator))
            over = step(arrived, over)
            arrived = following
        with tf.control_dependencies([step(arrived, over)]):
            return tf.tile(row, [num_steps, 1])

    return TrainingLoop(runtime.strategy, train=train)


def make_sleep() -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns an operation for graphs: sleep_until(time) returns the time, a float64 scalar of `tf.timestamp`, then.

    It is an iterator whose elements take until then. TensorFlow sleeps in a thread of its own, which needs neither a
    core nor Python's interpreter lock; a sleep in Python would wait for that lock after every step.
    """
    until = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    def element(number):
        element = tf.data.Dataset.from_tensors(number)
        remaining = tf.maximum(until.read_value() - tf.timestamp(), 0.0)
        variant = tf.raw_ops.SleepDataset(
            input_dataset=tf.data.experimental.to_variant(element),
            sleep_microseconds=tf.cast(1e6 * remaining, tf.int64),
            output_types=[tf.int64],
            output_shapes=[[]],
        )
        return tf.data.experimental.from_variant(variant, element.element_spec)

    options = tf.data.Options()
    options.autotune.enabled = False  # nothing may be read ahead
    options.experimental_optimization.apply_default_optimizations = False
    sleeps = iter(tf.data.Dataset.counter().flat_map(element).with_options(options))

    def sleep_until(time):
        with tf.control_dependencies([until.assign(time)]), tf.control_dependencies([next(sleeps)]):
            return tf.identity(time)

    return sleep_until
