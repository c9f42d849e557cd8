"""The training step, as a run of the same configuration takes it: speed, compilation, waiting, memory, work.

The loop is the trainer's own. It is fed first with one batch that lies in memory, which shows what the step
alone does, and then by the input pipeline, which shows what is waited for.
"""

import time

import numpy as np
import tensorflow as tf

from hazeheal import config as configs
from hazeheal.benchmark import flops
from hazeheal.benchmark.input import open_data
from hazeheal.benchmark.memory import peak_bytes
from hazeheal.benchmark.timing import spread, timed_rounds
from hazeheal.models.gan import DehazeGAN
from hazeheal.training import distribute
from hazeheal.training.state import TrainState
from hazeheal.training.step import METRICS, make_loop

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
        skipped_steps: how many were not finite; and flops_per_image where asked for.

    Raises:
        UsageError: The device lacks what was asked for.
    """
    config = configs.from_dict(spec["config"])
    runtime = open_runtime(spec)
    begin = time.perf_counter()
    with runtime.strategy.scope():
        state = TrainState(
            DehazeGAN(config, precision=runtime.precision), use_ema=config.optimizer.ema_half_life > 0
        )
    built = time.perf_counter() - begin
    loop = make_loop(state, config=config, runtime=runtime, total_steps=10**6, warmup_steps=0)
    rows_seen = []

    def train(iterator, count):
        rows, waited = loop(iterator, tf.constant(count))
        rows_seen.append(rows.numpy())
        return float(waited)

    feed = _batches(runtime, batch_in_memory(config, replicas=runtime.replicas))
    begin = time.perf_counter()
    train(feed, 1)
    first = time.perf_counter() - begin
    timing = {"seconds": spec["seconds"], "rounds": spec["rounds"]}
    count, durations, _ = timed_rounds(lambda n: train(feed, n), **timing)
    pictures = count * config.train.batch_size
    found = {
        "images_per_second": spread(pictures / duration for duration in durations),
        "step_seconds": spread(duration / count for duration in durations),
        "build_seconds": spread([built]),
        "first_step_seconds": spread([first]),
        "compile_seconds": spread([max(0.0, first - min(durations) / count)]),
    }
    del feed
    data = open_data(config, spec["data_dir"], replicas=runtime.replicas)
    feed = _batches(runtime, data.dataset())
    count, durations, waited = timed_rounds(lambda n: train(feed, n), **timing)
    pictures = count * config.train.batch_size
    found |= {
        "fed_images_per_second": spread(pictures / duration for duration in durations),
        "input_wait_share": spread(
            min(1.0, seconds / duration) for seconds, duration in zip(waited, durations, strict=True)
        ),
        "peak_memory_bytes": spread([peak_bytes(runtime)]),
        "skipped_steps": int(np.concatenate(rows_seen)[:, SKIPPED].sum()),
    }
    if spec["flops"]:
        found["flops_per_image"] = flops.of_step(state.gan, config=config)
    return found


def open_runtime(spec) -> distribute.Runtime:
    """The devices, precision and XLA that a spec names."""
    replicas = spec["replicas"]
    devices = {"cpu_replicas": replicas} if spec["cpu"] else {"gpus": list(range(replicas))}
    return distribute.choose(**devices, precision=spec["precision"], xla=spec["xla"])


def batch_in_memory(config, *, replicas) -> tf.data.Dataset:
    """One replica's share of a batch, over and over, of the shapes and dtypes that the pipeline gives."""
    share, side = config.train.batch_size // replicas, config.data.crop_size
    clear = np.random.default_rng(0).integers(0, 256, (share, side, side, 3), np.uint8)
    batch = {"hazy": clear // 2 + 100, "clear": clear, "number": np.arange(share, dtype=np.int64)}
    return tf.data.Dataset.from_tensors(batch).cache().repeat()


def _batches(runtime, dataset):
    return iter(runtime.strategy.distribute_datasets_from_function(lambda _: dataset))
