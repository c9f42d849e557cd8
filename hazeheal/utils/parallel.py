"""A map over threads that keeps the order and holds only a few items at a time."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[tuple[Item, Result]]:
    """Calls a function on each item in a pool of threads.

    Args:
        function: Called with one item. The first error that it raises ends the iteration.
        items: Read in the caller's thread.
        threads: Number of threads.
        ahead: Number of items that are submitted before the first result is awaited.

    Yields:
        (item, function(item)), in order.
    """
    pending = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            while len(pending) > ahead or (pending and pending[0][1].done()):
                item, future = pending.popleft()
                yield item, future.result()
        for item, future in pending:
            yield item, future.result()
