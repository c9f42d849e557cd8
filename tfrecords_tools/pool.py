"""Maps a function over tasks in processes, with one progress bar over the contents of all tasks.

A fork server starts the processes, or `spawn` on platforms without fork servers. A plain fork of a process that runs
TensorFlow would copy the locks of its threads.
"""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from hazeheal.errors import HazeHealError
from hazeheal.utils.console import progress_bar
from tfrecords_tools.malloc import keep_freed_memory

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from tqdm import tqdm

_PRELOAD = ["tfrecords_tools.__main__"]  # the fork server imports every command's modules once


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
    stop_after: Callable[[Any], bool] | None = None,
) -> list:
    """Calls `function(task, progress)` for every task.

    Args:
        function: A function that can be imported by name. It calls `progress(n)` after n units; the call raises
            `Stopped` to stop the task.
        tasks: Picklable tasks.
        workers: Number of processes. With 1 everything runs in this process.
        total: Units of the progress bar.
        already: Units that were done before.
        unit: Name of a unit.
        stop_after: Called with each result. If it returns true, running tasks end and no other task starts.

    Returns:
        The results in the order of the tasks; None for tasks that did not start.

    Raises:
        HazeHealError: A worker process was killed.
        KeyboardInterrupt: Raised after the workers have stopped.
    """
    tasks = list(tasks)
    workers = min(workers, len(tasks))
    with progress_bar(total=total, initial=already, unit=unit) as bar:
        if workers <= 1:
            return _run_here(function, tasks, bar, stop_after)
        return _run_processes(function, tasks, workers, bar, already, stop_after)


def start_fork_server() -> "BaseContext":
    """Starts the fork server, if the platform has one, without waiting for it.

    Returns:
        The multiprocessing context that makes processes.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    # Before Python 3.12.8 the server does not get this process's sys.path, and ignores modules that it cannot import
    # (https://github.com/python/cpython/issues/117378).
    before = os.environ.get("PYTHONPATH")
    root = str(pathlib.Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, before] if before else [root])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def _run_here(function: Callable, tasks: list, bar: "tqdm", stop_after: Callable | None) -> list:
    results = [None] * len(tasks)
    for number, task in enumerate(tasks):
        results[number] = function(task, bar.update)
        if stop_after and stop_after(results[number]):
            break
    return results


def _run_processes(
    function: Callable, tasks: list, workers: int, bar: "tqdm", already: int, stop_after: Callable | None
) -> list:
    context = start_fork_server()
    # One counter for each task, written by one process: no lock that a killed process could leave locked.
    counters = context.RawArray("Q", len(tasks))
    stop = context.RawValue("b", 0)
    results = [None] * len(tasks)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(counters, stop)
    )
    try:
        futures = {pool.submit(_call, function, number, task): number for number, task in enumerate(tasks)}
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(
                pending, timeout=0.2, return_when=concurrent.futures.FIRST_COMPLETED
            )
            bar.update(already + sum(counters) - bar.n)
            for future in done:
                if future.cancelled():
                    continue
                result = results[futures[future]] = future.result()
                if stop_after and stop_after(result):
                    for other in pending:
                        other.cancel()
    except BrokenProcessPool as error:
        raise HazeHealError(
            "a worker process was killed (the system does this if memory runs out) or could not start; rerun the "
            f"command, with fewer workers than --workers={workers} if memory is short: finished work is not repeated"
        ) from error
    finally:
        stop.value = 1  # running tasks end at their next image
        pool.shutdown(wait=True, cancel_futures=True)
    return results


_worker = {}  # in a worker process: the arguments of `_start_worker`


def _start_worker(counters: Any, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and sets `stop`
    keep_freed_memory()
    _worker.update(counters=counters, stop=stop)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Ends this process with its parent. Otherwise the workers of a killed parent would write on and never exit."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _call(function: Callable, number: int, task: Any) -> Any:
    def progress(count: int) -> None:
        _worker["counters"][number] += count
        if _worker["stop"].value:
            raise Stopped

    if _worker["stop"].value:
        raise Stopped
    return function(task, progress)
