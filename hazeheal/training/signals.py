"""SIGTERM and SIGINT ask a run to save itself and end; a second SIGINT ends it at once."""

import signal
import threading


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
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *unused):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        del frame
        if number == signal.SIGINT and self.received == "SIGINT":
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = signal.Signals(number).name
