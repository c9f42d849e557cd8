"""Speed of the input pipeline on the CPU, in training pairs per second."""

import time

from hazeheal import config as configs
from hazeheal.benchmark.timing import timed_rounds
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.failures import translate_errors


def measure(spec: dict) -> dict:
    """Runs the pipeline alone; its batches are discarded.

    Args:
        spec: `config`, `data_dir`, `seconds` of a round, `rounds`.

    Returns:
        pairs_per_second and cpu_ms_per_pair in each round.
    """
    config = configs.from_dict(spec["config"])
    data = DehazeDataProcessor.from_config(config, spec["data_dir"], split=config.data.train_split)
    iterator = iter(data.dataset(orient=False))  # as in training

    def work(count):
        begin = time.process_time()
        for _ in range(count):
            next(iterator)
        return time.process_time() - begin

    with translate_errors(processor=data, devices=("CPU:0",)):
        work(4)  # discards the batches that are prefetched already
        count, durations, cpu_seconds = timed_rounds(work, seconds=spec["seconds"], rounds=spec["rounds"])
    pairs = count * config.train.batch_size
    return {
        "pairs_per_second": [pairs / duration for duration in durations],
        "cpu_ms_per_pair": [1e3 * seconds / pairs for seconds in cpu_seconds],
    }
