"""SIGTERM and SIGINT ask a run to save itself and end; a SIGINT after that ends it at once."""

import contextlib
import os
import signal

from hazeheal.errors import EXIT_INTERRUPTED, EXIT_RESTART
from hazeheal.utils.signals import handle_signals

STOP_SIGNALS = ("SIGTERM", "SIGINT")


@contextlib.contextmanager
def exit_immediately_on_signals(program: str):
    """Until the run is open there is nothing to save: SIGTERM and SIGINT end the process, with codes 75 and 130.

    On the spot, as the way out through the interpreter may wait for groups that are gone. What stands on the
    disk is whole at any moment. `StopSignals`, within the block, puts its own handlers in front.

    Args:
        program: As whose line it is said.
    """

    def end(number, frame):
        del frame
        name = signal.Signals(number).name
        # Past Python's buffers: the main program may be in the middle of a line of its own.
        os.write(2, f"{program}: stopped by {name} with nothing to save; the same command goes on\n".encode())
        os._exit(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESTART)

    with handle_signals(end, *(signal.Signals[name] for name in STOP_SIGNALS)):
        yield


class StopSignals:
    """Context manager that notes the first SIGTERM or SIGINT.

    Attributes:
        received: Name of the signal, or None.
    """

    def __init__(self):
        self.received = None

    def __enter__(self):
        self._handlers = handle_signals(self._note, *(signal.Signals[name] for name in STOP_SIGNALS))
        self._handlers.__enter__()
        return self

    def __exit__(self, *error):
        return self._handlers.__exit__(*error)

    def _note(self, number, frame):
        del frame
        if self.received is None:
            self.received = signal.Signals(number).name
        elif number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
