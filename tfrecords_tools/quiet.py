"""Imports without their greetings: some packages log to stderr while they are imported, whatever the log level."""

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import threading


def import_module(name: str):
    """Imports a module and returns it; what was written to stderr is shown only if the import fails.

    Ctrl-C waits for its end: packages try one import and go on with another, and swallow it.
    """
    if name in sys.modules:
        return sys.modules[name]
    with _interrupts_wait(), _stderr_waits():
        return importlib.import_module(name)


@contextlib.contextmanager
def _stderr_waits():
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _interrupts_wait():
    """Calls Python's handler of SIGINT at the end; signals come to the main thread alone."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])
