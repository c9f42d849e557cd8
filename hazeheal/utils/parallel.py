"""Maps over threads that keep the order: of a few large items at a time, and of many small ones in blocks."""

import collections
import concurrent.futures
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Worker = TypeVar("Worker")


# A block is one task: a task for each item would take longer than reading a small file.
_BLOCK = 256
_THREADS = 8


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


class Workers(Generic[Worker]):
    """Objects that can each do one thing at a time, such as copies of a network on several devices."""

    def __init__(self, workers: Iterable[Worker], *, on_result: Callable[[], None] = lambda: None):
        """Takes the workers; `on_result` is called in the caller's thread before each result is yielded."""
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()  # the workers that no thread uses
        self._count = 0
        self._on_result = on_result
        for worker in workers:
            self._idle.put(worker)
            self._count += 1

    def map(self, function: Callable[[Worker, Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Yields (item, function(worker, item)) in order, while the workers are busy with the next items.

        Several maps may be in use at the same time; `items` may come from another one.
        """

        def run(item):
            worker = self._idle.get()
            try:
                return function(worker, item)
            finally:
                self._idle.put(worker)

        for item, result in ordered_map(run, items, threads=self._count, ahead=2 * self._count):
            self._on_result()
            yield item, result


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
