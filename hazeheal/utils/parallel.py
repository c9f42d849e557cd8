"""A map over threads in blocks of items, for many small reads of a file system that may answer slowly."""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# A block is one task: a task for each item would take longer than reading a small file.
_BLOCK = 256
_THREADS = 8


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, advance: Callable[[int], object] = lambda count: None
) -> list[Result]:
    """Returns `[function(item) for item in items]`, computed in threads.

    Args:
        function: Called with one item. The first error that it raises is raised here.
        items: The items.
        advance: Called in the caller's thread with the number of further items that are done.
    """
    blocks = [items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK)]
    results = []
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        try:
            for block in pool.map(lambda block: [function(item) for item in block], blocks):
                results += block
                advance(len(block))
        except BaseException:  # Ctrl-C: do not start the other blocks
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results
