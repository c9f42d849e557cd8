"""Signal handlers that last for a `with` block."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], None], *signals: signal.Signals) -> Iterator[None]:
    """Calls `handler(number, frame)` on these signals within the block. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


@contextlib.contextmanager
def exit_on_sigterm(exit_code: int = 128 + signal.SIGTERM) -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit, so that `finally` blocks remove temporary files and end children."""
    with handle_signals(lambda number, frame: sys.exit(exit_code), signal.SIGTERM):
        yield
