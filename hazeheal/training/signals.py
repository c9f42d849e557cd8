"""SIGTERM and SIGINT ask a run to save itself and end; a SIGINT after that ends it at once."""

import contextlib
import signal
import sys
import threading

from hazeheal.errors import EXIT_RESTART

STOP_SIGNALS = ("SIGTERM", "SIGINT")


@contextlib.contextmanager
def restart_on_sigterm():
    """Until the run is open, SIGTERM has nothing to save: the process just ends with "restart me"."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_RESTART))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


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
