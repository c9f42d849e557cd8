"""The training step, as a run of the same configuration takes it: speed, compilation, waiting, memory, work.

The loop is the trainer's own. It is fed first with one batch that lies in memory, which shows what the step
alone does, and then by the input pipeline, which shows what is waited for.
"""

import time

import numpy as np
import tensorflow as tf

from hazeheal import config as configs
from hazeheal.benchmark import flops
from hazeheal.benchmark.memory import peak_bytes
from hazeheal.benchmark.timing import spread, timed_rounds
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.failures import translate_errors
from hazeheal.distributed.runtime import Runtime, choose_runtime
from hazeheal.inference.gan import DehazeGAN
from hazeheal.training.step.step import METRICS, make_loop
from hazeheal.training.step.train_state import TrainState

SKIPPED = METRICS.index("skipped")


def measure(spec) -> dict:
    """Trains for some rounds of steps; nothing is saved.

    Args:
        spec: `config`, `cpu`, `replicas`, `precision`, `xla`, `data_dir`, `seconds` of a round, `rounds`,
            and `flops`: whether to count them.

    Returns:
        images_per_second, step_seconds: spreads, fed from memory; fed_images_per_second,
        input_wait_share: spreads, fed by the pipeline; build_seconds, first_step_seconds,
        compile_seconds (the first step less an ordinary one), peak_memory_bytes: spreads of one value;
        skipped_steps: how many of the timed ones were not finite; and flops_per_image where asked for.

    Raises:
        UsageError: The device lacks what was asked for.
    """
    config = configs.from_dict(spec["config"])
    runtime = open_runtime(spec)
    data = DehazeDataProcessor.from_config(
        config, spec["data_dir"], split=config.data.train_split, num_replicas=runtime.replicas
    )
    begin = time.perf_counter()
    gan, train = open_training(config, runtime=runtime)
    found = {"build_seconds": spread([time.perf_counter() - begin])}
    with translate_errors(processor=data, devices=runtime.devices):
        found |= _train(train, config=config, runtime=runtime, data=data, spec=spec)
    found["peak_memory_bytes"] = spread([peak_bytes(runtime)])
    if spec["flops"]:
        found["flops_per_image"] = flops.of_step(gan, config=config)
    return found


def _train(train, *, config, runtime, data, spec):
    skipped = 0

    def rounds(dataset):
        nonlocal skipped
        feed = batches(runtime, dataset)
        count, durations, results = timed_rounds(
            lambda n: train(feed, n), seconds=spec["seconds"], rounds=spec["rounds"]
        )
        skipped += sum(int(rows[:, SKIPPED].sum()) for rows, _ in results)
        speed = spread(count * config.train.batch_size / duration for duration in durations)
        waited = [min(1.0, seconds / d) for (_, seconds), d in zip(results, durations, strict=True)]
        return [duration / count for duration in durations], speed, spread(waited)

    memory = batch_in_memory(config, replicas=runtime.replicas)
    begin = time.perf_counter()
    train(batches(runtime, memory), 1)
    first = time.perf_counter() - begin
    steps, speed, _ = rounds(memory)
    _, fed_speed, waited = rounds(data.dataset())
    return {
        "images_per_second": speed,
        "step_seconds": spread(steps),
        "first_step_seconds": spread([first]),
        "compile_seconds": spread([max(0.0, first - min(steps))]),
        "fed_images_per_second": fed_speed,
        "input_wait_share": waited,
        "skipped_steps": skipped,
    }


def open_training(config, *, runtime):
    """Builds what a trainer builds for the steps.

    Returns:
        (the networks; train(feed, count) -> ([count, len(METRICS)] np.ndarray, seconds waited for input)).
    """
    use_ema = config.optimizer.ema_half_life > 0
    with runtime.strategy.scope():
        state = TrainState(DehazeGAN(config, precision=runtime.precision), use_ema=use_ema)
    loop = make_loop(state, config=config, runtime=runtime, total_steps=10**6, warmup_steps=0)

    def train(feed, count):
        rows, waited = loop(feed, tf.constant(count))
        return rows.numpy(), float(waited)

    return state.gan, train


def open_runtime(spec) -> Runtime:
    """The devices, precision and XLA that a spec names."""
    replicas = spec["replicas"]
    devices = {"cpu_replicas": replicas} if spec["cpu"] else {"gpus": list(range(replicas))}
    return choose_runtime(**devices, precision=spec["precision"], xla=spec["xla"])


def batch_in_memory(config, *, replicas) -> tf.data.Dataset:
    """One replica's share of a batch, over and over, of the shapes and dtypes that the pipeline gives."""
    share, side = config.train.batch_size // replicas, config.data.crop_size
    clear = np.random.default_rng(0).integers(0, 256, (share, side, side, 3), np.uint8)
    batch = {"hazy": clear // 2 + 100, "clear": clear, "number": np.arange(share, dtype=np.int64)}
    return tf.data.Dataset.from_tensors(batch).cache().repeat()


def batches(runtime, dataset):
    """An iterator over a dataset of one replica's batches after the other's."""
    return iter(runtime.strategy.distribute_datasets_from_function(lambda _: dataset))
