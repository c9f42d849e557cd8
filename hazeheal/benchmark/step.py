"""The training step, as a run with the same configuration executes it: speed, compilation, input wait, memory, FLOPs.

The loop is the trainer's. First it reads one batch from memory, which shows the speed of the step alone. Then it reads from
the input pipeline, which shows the time spent waiting for input.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.benchmark import flops
from hazeheal.benchmark.timing import peak_bytes, timed_rounds
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.failures import translate_errors
from hazeheal.distributed.runtime import Runtime, choose_runtime
from hazeheal.models.networks import Networks
from hazeheal.training.step.step import make_loop, make_state


def measure(spec: dict) -> dict:
    """Trains for several rounds of steps; nothing is saved.

    Args:
        spec: `config`, `cpu`, `replicas`, `precision`, `xla`, `data_dir`, `seconds` of a round, `rounds`.

    Returns:
        For each round images_per_second and step_seconds, fed from memory, and fed_images_per_second and
        input_wait_share, fed by the pipeline; compile_seconds (the first step minus an ordinary one);
        peak_memory_bytes; flops_per_image.

    Raises:
        UsageError: The device does not support what was requested.
    """
    config = configs.from_dict(spec["config"])
    batch_size = config.train.batch_size
    timing = {"seconds": spec["seconds"], "rounds": spec["rounds"]}
    runtime = open_runtime(spec)
    data = DehazeDataProcessor.from_config(
        config, spec["data_dir"], split=config.data.train_split, num_replicas=runtime.replicas
    )
    networks, train = open_training(config, runtime=runtime)
    with translate_errors(processor=data, devices=runtime.devices):
        iterator = distributed_iterator(runtime, batch_in_memory(config, replicas=runtime.replicas))
        begin = time.perf_counter()
        train(iterator, 1)
        first = time.perf_counter() - begin
        count, durations, _ = timed_rounds(lambda n: train(iterator, n), **timing)
        fed_iterator = distributed_iterator(runtime, data.dataset(orient=False))
        fed_count, fed_durations, waits = timed_rounds(lambda n: train(fed_iterator, n), **timing)
    step_seconds = [duration / count for duration in durations]
    return {
        "images_per_second": [batch_size / seconds for seconds in step_seconds],
        "step_seconds": step_seconds,
        "compile_seconds": [max(0.0, first - min(step_seconds))],
        "fed_images_per_second": [fed_count * batch_size / duration for duration in fed_durations],
        "input_wait_share": [min(1.0, w / d) for w, d in zip(waits, fed_durations, strict=True)],
        "peak_memory_bytes": [peak_bytes(runtime)],
        "flops_per_image": flops.of_step(networks, config=config),
    }


def open_training(config: ConfigDict, *, runtime: Runtime) -> tuple[Networks, Callable[[Iterator, int], float]]:
    """Builds the networks and the training loop of a configuration.

    Returns:
        (the networks, train). `train(iterator, count)` trains for `count` steps and returns the seconds spent waiting
        for input.
    """
    state = make_state(config, runtime=runtime)
    loop = make_loop(state, config=config, runtime=runtime, total_steps=10**6, warmup_steps=0)

    def train(iterator, count):
        metrics, wait = loop(iterator, tf.constant(count))
        metrics.numpy()  # waits until the steps are done
        return float(wait)

    return state.networks, train


def open_runtime(spec: dict) -> Runtime:
    """Opens the devices of a spec: `cpu`, `replicas`, `precision`, `xla`."""
    replicas = spec["replicas"]
    devices = {"cpu_replicas": replicas} if spec["cpu"] else {"gpus": list(range(replicas))}
    return choose_runtime(**devices, precision=spec["precision"], xla=spec["xla"])


def batch_in_memory(config: ConfigDict, *, replicas: int) -> tf.data.Dataset:
    """Returns an endless dataset of one replica's share of one batch, with the shapes and dtypes of the pipeline."""
    share, side = config.train.batch_size // replicas, config.data.crop_size
    clear = np.random.default_rng(0).integers(0, 256, (share, side, side, 3), np.uint8)
    numbers = {"number": np.arange(share, dtype=np.int64), "orientation": np.zeros(share, np.int32)}
    batch = {"hazy": clear // 2 + 100, "clear": clear, **numbers}
    return tf.data.Dataset.from_tensors(batch).cache().repeat()


def distributed_iterator(runtime: Runtime, dataset: tf.data.Dataset) -> Iterator:
    """Returns an iterator that gives each replica the next element of a dataset of per-replica batches."""
    return iter(runtime.strategy.distribute_datasets_from_function(lambda _: dataset))
