"""Timing in rounds of equal work, and peak memory.

The first call is not timed; it includes caches, compilation and the start of threads. Then the amount of work that fills a
round is determined once, so that all rounds do the same work.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hazeheal.distributed.runtime import Runtime


def spread(values: Sequence[float]) -> dict:
    """Summarizes repeated measurements as {`median`, `lowest`, `highest`, `values`}."""
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "values": list(values),
    }


def timed_rounds(work: Callable[[int], object], *, seconds: float, rounds: int) -> tuple[int, list[float], list]:
    """Times `work(count)` in rounds of about `seconds` each.

    Args:
        work: Does `count` units of work, waits until they are done, and returns their result.
        seconds: Duration of one round.
        rounds: Number of timed rounds.

    Returns:
        (units per round, duration of each round in seconds, result of `work` in each round).
    """
    work(1)
    # Doubles the units up to a tenth of a round, then scales. Timing one unit is not enough, because the fixed cost of a
    # call matters less the more units it has.
    count, duration = 1, _seconds(work, 1)[0]
    while duration < seconds / 10:
        count *= 2
        duration = _seconds(work, count)[0]
    count = max(1, round(count * seconds / duration))
    durations, results = zip(*(_seconds(work, count) for _ in range(rounds)), strict=True)
    return count, list(durations), list(results)


def _seconds(work, count):
    """(duration, result) of one call of `work`."""
    begin = time.perf_counter()
    result = work(count)
    return time.perf_counter() - begin, result


def peak_bytes(runtime: "Runtime") -> int:
    """Returns the peak memory so far: of the GPU that used most, or on CPUs the process's peak resident size."""
    if runtime.on_gpu:
        import tensorflow as tf

        return max(tf.config.experimental.get_memory_info(device)["peak"] for device in runtime.devices)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
