"""Maps a function over tasks in processes, with one progress bar over the contents of all tasks.

The processes are spawned: a fork of a process that runs TensorFlow would copy the locks of its threads.
"""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from hazeheal.errors import HazeHealError
from hazeheal.utils.console import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

    from hazeheal.utils.progress_lines import ProgressLines

_POLL_SECONDS = 0.2


class Stopped(Exception):
    """Raised in a task by `progress` when the run was stopped. The task must leave nothing incomplete."""


def run_tasks(
    function: Callable[[Any, Callable[[int], object]], Any],
    tasks: Iterable[Any],
    *,
    workers: int,
    total: int,
    already: int = 0,
    unit: str,
    desc: str = "",
    leave: bool = True,
    stop_after: Callable[[Any], bool] = lambda result: False,
) -> list:
    """Calls `function(task, progress)` for every task.

    Args:
        function: A function that can be imported by name. It calls `progress(n)` after n units; the call raises
            `Stopped` to stop the task.
        tasks: Picklable tasks.
        workers: Number of processes. With 1 everything runs in this process.
        total, already, unit: Units of the progress bar, those that were done before, and their name.
        desc, leave: What the bar says is done, and whether it stays on the terminal.
        stop_after: Called with each result. If it returns true, all later tasks are stopped.

    Returns:
        The results in the order of the tasks, without those of stopped tasks.

    Raises:
        HazeHealError: A worker process was killed.
        KeyboardInterrupt: Raised after the workers have stopped.
    """
    tasks = list(tasks)
    workers = min(workers, len(tasks))
    finished = []
    with progress_bar(lines=True, total=total, initial=already, unit=unit, desc=desc, leave=leave) as bar:
        if workers > 1:
            results = _run_processes(function, tasks, workers, bar)
        else:
            results = (function(task, bar.update) for task in tasks)
        with contextlib.closing(results):
            for result in results:
                finished.append(result)
                if stop_after(result):
                    break
    return finished


def _run_processes(function: Callable, tasks: list, workers: int, bar: "tqdm | ProgressLines") -> Iterator:
    """Yields the results in the order of the tasks. Running tasks are stopped if the generator is closed."""
    context = multiprocessing.get_context("spawn")
    # One counter for each task, written by one process: no lock that a killed process could leave locked.
    counters = context.RawArray("Q", len(tasks))
    stop = context.RawValue("b", 0)
    # Workers end when the only other end of this pipe is closed.
    alive, end = context.Pipe(duplex=False)
    already = bar.n
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(counters, stop, alive)
    )
    try:
        for future in [pool.submit(_call, function, number, task) for number, task in enumerate(tasks)]:
            while not future.done():
                concurrent.futures.wait([future], timeout=_POLL_SECONDS)
                bar.update(already + sum(counters) - bar.n)
            yield future.result()
    except BrokenProcessPool as error:
        end.close()  # the pool now waits for all workers, to which it sends SIGTERM in vain
        raise HazeHealError(
            "a worker process was killed (the system does this if memory runs out) or could not start; rerun the "
            f"command, with fewer workers than --workers={workers} if memory is short: finished work is not repeated"
        ) from error
    finally:
        stop.value = 1  # running tasks end at their next image
        pool.shutdown(wait=True, cancel_futures=True)
        end.close()
        alive.close()


_worker = {}  # in a worker process: the arguments of `_start_worker`


def _start_worker(counters: Any, stop: Any, alive: multiprocessing.connection.Connection) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a job; the parent sets `stop`
        signal.signal(number, signal.SIG_IGN)
    _worker.update(counters=counters, stop=stop)
    threading.Thread(target=_exit_with_parent, args=(alive,), daemon=True).start()


def _exit_with_parent(alive: multiprocessing.connection.Connection) -> None:
    """Ends this process with its parent, or when that gives up because another worker was killed.

    Otherwise the workers of a killed parent would write on and never exit.
    """
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel, alive])
    os._exit(1)


def _call(function: Callable, number: int, task: Any) -> Any:
    def progress(count: int) -> None:
        _worker["counters"][number] += count
        if _worker["stop"].value:
            raise Stopped

    progress(0)
    return function(task, progress)
