"""Speed of the input pipeline on the CPU, in training pairs per second."""

import pathlib
import tempfile
import threading
import time

from hazeheal import config as configs
from hazeheal.benchmark.timing import timed_rounds
from hazeheal.data.pipeline.cache_builder import build_cache
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.failures import translate_errors
from hazeheal.errors import HazeHealError


def measure(spec: dict) -> dict:
    """Runs the pipeline alone; its batches are discarded.

    Args:
        spec: `config`, `data_dir`, `seconds` of a round, `rounds`.

    Returns:
        pairs_per_second and cpu_ms_per_pair in each round, and cached_pairs_per_second: the same from a cache of decoded
        images.
    """
    config = configs.from_dict(spec["config"])
    data = DehazeDataProcessor.from_config(config, spec["data_dir"], split=config.data.train_split)
    pairs_per_second, cpu_ms = _measure(data, spec=spec, batch_size=config.train.batch_size)
    with tempfile.TemporaryDirectory(prefix="hazeheal-benchmark-") as directory:
        if not build_cache(pathlib.Path(directory), data, stop=threading.Event()):
            raise HazeHealError("the cache of decoded images was not built")
        data.open_cache(pathlib.Path(directory))
        cached_pairs_per_second, _ = _measure(data, spec=spec, batch_size=config.train.batch_size)
    return {
        "pairs_per_second": pairs_per_second,
        "cpu_ms_per_pair": cpu_ms,
        "cached_pairs_per_second": cached_pairs_per_second,
    }


def _measure(data, *, spec, batch_size):
    """Returns the pairs per second and the milliseconds of CPU time per pair in each round."""
    iterator = iter(data.dataset(orient=False))  # as in training

    def work(count):
        begin = time.process_time()
        for _ in range(count):
            next(iterator)
        return time.process_time() - begin

    with translate_errors(processor=data, devices=("CPU:0",)):
        work(4)  # discards the batches that are prefetched already
        count, durations, cpu_seconds = timed_rounds(work, seconds=spec["seconds"], rounds=spec["rounds"])
    pairs = count * batch_size
    return [pairs / duration for duration in durations], [1e3 * seconds / pairs for seconds in cpu_seconds]
