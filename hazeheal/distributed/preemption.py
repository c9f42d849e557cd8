"""SIGTERM and SIGINT ask a run to save itself and end; a SIGINT after that ends it at once."""

import contextlib
import os
import signal
import threading

from hazeheal.errors import EXIT_INTERRUPTED, EXIT_RESTART

STOP_SIGNALS = ("SIGTERM", "SIGINT")


@contextlib.contextmanager
def exit_at_once_on_signals(program: str):
    """Until the run is open there is nothing to save: SIGTERM and SIGINT end the process, with codes 75 and 130.

    On the spot, as the way out through the interpreter may wait for groups that are gone. What stands on the
    disk is whole at any moment. `StopSignals`, within the block, puts its own handlers in front.

    Args:
        program: As whose line it is said.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame):
        del frame
        name = signal.Signals(number).name
        # Past Python's buffers: the main program may be in the middle of a line of its own.
        os.write(2, f"{program}: stopped by {name} with nothing to save; the same command goes on\n".encode())
        os._exit(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESTART)

    numbers = [signal.Signals[name] for name in STOP_SIGNALS]
    previous = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class StopSignals:
    """Context manager that notes the first SIGTERM or SIGINT.

    Attributes:
        received: Name of the signal, or None.
    """

    def __init__(self):
        self.received = None
        self._previous = {}

    def __enter__(self):
        # Python delivers signals to the main thread alone; elsewhere (a notebook's worker) there is nothing to do.
        if threading.current_thread() is threading.main_thread():
            for name in STOP_SIGNALS:
                number = signal.Signals[name]
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *unused):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        del frame
        if self.received is None:
            self.received = signal.Signals(number).name
        elif number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
