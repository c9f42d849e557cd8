"""Imports without their greetings: some packages log to stderr while they are imported, whatever the log level."""

import contextlib
import importlib
import os
import pathlib
import signal
import sys
import tempfile
import threading

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # of TensorFlow's C++: 0 all, 1 warnings, 2 errors, 3 none
_NVIDIA = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")  # the last: a GPU under Windows' Linux


def import_tensorflow():
    """Imports TensorFlow for a command, which speaks for itself.

    Its C++ is left to tell errors; where there is no NVIDIA device not those either, for they are about the CUDA that is not
    there. TF_CPP_MIN_LOG_LEVEL, where it is set, decides instead: below 2 all is shown.
    """
    has_nvidia = any(pathlib.Path(path).exists() for path in _NVIDIA)
    level = os.environ.setdefault(LOG_LEVEL, "2" if has_nvidia else "3")
    if level in ("0", "1"):
        return importlib.import_module("tensorflow")
    return import_module("tensorflow")


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
