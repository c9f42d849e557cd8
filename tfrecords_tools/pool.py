"""Maps a function over tasks in processes, with one progress bar that counts what is inside the tasks.

Whoever converts from Python may have TensorFlow's runtime in the same process, whose threads a fork would leave behind:
a fork server that only imported what the children need makes them, or, where there is none, each starts anew.
"""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
from concurrent.futures.process import BrokenProcessPool

from hazeheal.errors import HazeHealError
from hazeheal.utils.console import progress_bar
from tfrecords_tools.malloc import keep_freed_memory

_PRELOAD = "tfrecords_tools.preload"


class Stopped(Exception):
    """Raised inside a task when the run was stopped; the task leaves nothing half done."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    function,
    tasks,
    *,
    workers: int,
    total: int,
    already: int = 0,
    unit: str,
    stop_after=None,
    preload: str = _PRELOAD,
    meanwhile=None,
):
    """Calls `function(task, progress)` for every task.

    Args:
        function: Importable by name; it calls `progress(n)` after n units, which may raise to stop it.
        tasks: Picklable.
        workers: Processes; 1 runs everything in this one.
        total, already: Units of the progress bar, and how many of them were done before.
        unit: What the bar counts.
        stop_after: Called with each result; once true, tasks that run are finished and no other is started.
        preload: The module that a fork server imports before it makes processes; by default what makes and checks shards.
        meanwhile: Called once in this process when the others have begun; not called where there are no others.

    Returns:
        The results in the order of the tasks; None for tasks that were not started.

    Raises:
        HazeHealError: A child was killed.
        KeyboardInterrupt: After the children were stopped.
    """
    tasks = list(tasks)
    with progress_bar(total=total, initial=already, unit=unit) as bar:
        if min(workers, len(tasks)) <= 1:
            return _run_here(function, tasks, bar, stop_after)
        return _run_processes(
            function,
            tasks,
            workers=min(workers, len(tasks)),
            bar=bar,
            already=already,
            stop_after=stop_after,
            preload=preload,
            meanwhile=meanwhile,
        )


def _run_here(function, tasks, bar, stop_after):
    results = [None] * len(tasks)
    for number, task in enumerate(tasks):
        results[number] = function(task, bar.update)
        if stop_after and stop_after(results[number]):
            break
    return results


def _run_processes(function, tasks, *, workers, bar, already, stop_after, preload, meanwhile):
    context = prepare(preload)
    # One counter a task, each written by one process: no lock that a killed child could take along.
    counters = context.RawArray("Q", len(tasks))
    stop = context.RawValue("b", 0)
    results = [None] * len(tasks)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_child, initargs=(counters, stop)
    )
    try:
        futures = {pool.submit(_call, function, number, task): number for number, task in enumerate(tasks)}
        if meanwhile:
            meanwhile()
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
            "a worker process was killed (the system does that when memory runs out) or could not start; run the same "
            f"command again, with fewer than --workers={workers} if memory is short: what was finished is kept"
        ) from error
    finally:
        stop.value = 1  # running tasks end at their next image
        pool.shutdown(wait=True, cancel_futures=True)
    return results


def prepare(preload: str = _PRELOAD):
    """Begins to start what will make processes, where the system has such a thing, and does not wait for it.

    Returns:
        The context of `multiprocessing` to make them with.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([preload])
        _start_fork_server()
    return context


def _start_fork_server():
    """Starts it with this package in reach: before Python 3.12.8 the server does not get our `sys.path`, and passes
    over what it cannot import without a word (https://github.com/python/cpython/issues/117378)."""
    from multiprocessing import forkserver

    before = os.environ.get("PYTHONPATH")
    here = str(pathlib.Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([here, before] if before else [here])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


_child = {}


def _start_child(counters, stop):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked, and tells us through `stop`
    keep_freed_memory()
    _child.update(counters=counters, stop=stop)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent():
    """Ends this process with its parent: a pool's children would wait for work for ever, and go on writing."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _call(function, number, task):
    def progress(count):
        _child["counters"][number] += count
        if _child["stop"].value:
            raise Stopped

    if _child["stop"].value:
        raise Stopped
    return function(task, progress)
