"""SIGTERM and SIGINT: before training starts they end the process; later they ask it to save a checkpoint and exit."""

import contextlib
import os
import signal
from collections.abc import Iterator

from hazeheal.errors import EXIT_INTERRUPTED, EXIT_RESTART
from hazeheal.utils.signals import handle_signals

STOP_SIGNALS = ("SIGTERM", "SIGINT")
_NUMBERS = [signal.Signals[name] for name in STOP_SIGNALS]


@contextlib.contextmanager
def exit_immediately_on_signals(program: str) -> Iterator[None]:
    """Within the block SIGTERM and SIGINT end the process at once, with exit codes 75 and 130.

    There is nothing to save until the run is open, and files on the disk are complete at any time. A normal exit of
    the interpreter might wait for groups that no longer exist. `StopSignals` within the block takes precedence. The
    line that is printed starts with `program`.
    """

    def end(number, frame):
        name = signal.Signals(number).name
        line = f"{program}: stopped by {name} with nothing to save; rerun the command to resume\n"
        os.write(2, line.encode())  # not through Python's buffers, which the main program may be writing to
        os._exit(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESTART)

    with handle_signals(end, *_NUMBERS):
        yield


class StopSignals:
    """Context manager that records the first SIGTERM or SIGINT. A SIGINT after that ends the process at once.

    Attributes:
        received: Name of the signal, or None.
    """

    def __init__(self):
        self.received: str | None = None

    def __enter__(self):
        self._handlers = handle_signals(self._record, *_NUMBERS)
        self._handlers.__enter__()
        return self

    def __exit__(self, *error):
        return self._handlers.__exit__(*error)

    def _record(self, number, frame):
        if self.received is None:
            self.received = signal.Signals(number).name
        elif number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
