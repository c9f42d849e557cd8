"""How everything here is timed: windows of equal work, and their median, lowest and highest.

A first, untimed call takes the caches, the compilation and the threads' start. The amount of work that
fills a window is then found once and kept, so that all windows do the same.
"""

import statistics
import time


def spread(values) -> dict:
    """What is reported of repeated measurements.

    Args:
        values: Numbers, at least one.

    Returns:
        {`median`, `lowest`, `highest`, `values`}, the values in the order in which they were measured.
    """
    values = [float(value) for value in values]
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "values": values,
    }


def merged(spreads) -> dict:
    """The spread of all values that several spreads were made of."""
    return spread([value for one in spreads for value in one["values"]])


def timed_rounds(work, *, seconds, rounds, most=10**6) -> tuple[int, list, list]:
    """Times `work(count)` in rounds of about `seconds` each.

    Args:
        work: Does `count` units of the work and returns what it made of them, when they are done.
        seconds: Of one round.
        rounds: How many are timed.
        most: Units of one round at most.

    Returns:
        (units of a round, seconds of each round, what `work` returned in each).
    """
    work(1)
    count = units_for(seconds, work=work, most=most)
    durations, results = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        results.append(work(count))
        durations.append(time.perf_counter() - begin)
    return count, durations, results


def units_for(seconds, *, work, most) -> int:
    """Units of `work` that fill about `seconds`: doubled until a tenth of that is reached, then in proportion.

    The last unit alone would not do: what a call costs besides its units counts less the more there are.
    """
    count = 1
    while True:
        begin = time.perf_counter()
        work(count)
        took = time.perf_counter() - begin
        if took >= seconds / 10 or count >= most:
            return max(1, min(most, round(count * seconds / max(took, 1e-9))))
        count *= 2


def ratio(ours, base) -> float:
    """The median of the ratios of two spreads, value by value: what was measured in the same round is compared."""
    pairs = zip(ours["values"], base["values"], strict=True)
    return statistics.median(mine / other for mine, other in pairs)
