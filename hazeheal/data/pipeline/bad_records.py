"""Which records were found damaged, and one warning for each, logged without stopping a read.

Reads may not wait for a Python lock (see `readers`), and logging takes several: of each handler, and of
`threading` to name the thread. So a read only puts its warning into a queue, for which it waits for nothing,
and one thread of the process, which no read ever waits for, logs them.
"""

import atexit
import contextlib
import logging
import queue
import threading

from hazeheal.errors import UsageError

LOG = logging.getLogger("hazeheal")

# CPython's SimpleQueue.put takes no lock and may be called again from within itself, as its documentation says.
_WARNINGS = queue.SimpleQueue()
_SECONDS_AT_EXIT = 2.0  # that warnings may take before the process ends without them
_logging_thread = None


class BadRecords:
    """The damaged records of one split; safe to use from several threads.

    Args:
        count: Number of records of the split.
    """

    def __init__(self, count):
        self._count = count
        self._found = {}

    @property
    def numbers(self) -> tuple:
        """The numbers of all found or preloaded, in ascending order."""
        return tuple(sorted(self._found))  # sorted() copies a dict of integers in one step, too

    def preload(self, numbers) -> None:
        """Counts `numbers` as found and logged.

        Raises:
            UsageError: One of them is not the number of a record.
        """
        numbers = [int(number) for number in numbers]
        for number in numbers:
            if not 0 <= number < self._count:
                raise UsageError(
                    f"bad record {number} is none of the {self._count} records of the split; "
                    "give numbers that a processor of the same data set has found"
                )
        self._found.update(dict.fromkeys(numbers))

    def add(self, number: int, warning: str) -> None:
        """Notes a damaged record; the first time, `warning` will be logged (see `start_logging`)."""
        mine = object()
        # One step of the interpreter, which needs no lock: of two threads that find a record at once, one logs it.
        if self._found.setdefault(number, mine) is mine:
            _WARNINGS.put(warning)


def start_logging() -> None:
    """Starts the thread that logs, once a process; to be called before the reads, as starting one takes locks."""
    global _logging_thread
    if _logging_thread is None:
        atexit.register(flush)
    if _logging_thread is None or not _logging_thread.is_alive():  # a forked process has lost it
        _logging_thread = threading.Thread(target=_log_warnings, name="bad records", daemon=True)
        _logging_thread.start()


def flush(seconds=_SECONDS_AT_EXIT) -> bool:
    """Waits until the warnings so far are logged; says whether they are. Not for use within a read."""
    done = threading.Event()
    _WARNINGS.put(done)
    return done.wait(seconds)


def _log_warnings():
    while True:
        warning = _WARNINGS.get()
        if isinstance(warning, threading.Event):
            warning.set()
            continue
        with contextlib.suppress(Exception):  # a handler that fails once may log the next
            LOG.warning("%s", warning)
