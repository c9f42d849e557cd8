"""Imports TensorFlow without its startup messages.

While TensorFlow is imported, its C++ code writes to stderr whatever TF_CPP_MIN_LOG_LEVEL is (TensorFlow 2.21: `oneDNN
custom operations are on`, `Could not find cuda drivers`). Only redirecting the file descriptor avoids that.
"""

import contextlib
import importlib
import os
import pathlib
import signal
import sys
from collections.abc import Iterator
from types import ModuleType

from hazeheal.utils.signals import handle_signals

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 0: everything, 1: warnings, 2: errors, 3: fatal errors
_NVIDIA_DEVICES = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")  # the last one on WSL


def import_tensorflow() -> ModuleType:
    """Imports TensorFlow for a command and returns it. What it writes to stderr meanwhile is discarded.

    Sets TF_CPP_MIN_LOG_LEVEL unless it is set: to 2 if this machine has an NVIDIA device, else to 3, because the
    errors are then about the missing CUDA. If the user has set it to 0 or 1, all messages are shown.
    """
    has_nvidia_device = any(pathlib.Path(path).exists() for path in _NVIDIA_DEVICES)
    level = os.environ.setdefault(LOG_LEVEL, "2" if has_nvidia_device else "3")
    if level in ("0", "1") or "tensorflow" in sys.modules:
        return importlib.import_module("tensorflow")
    # SIGINT is handled after the import, because TensorFlow's dependencies catch KeyboardInterrupt while they import
    # optional modules.
    interrupts = []
    with handle_signals(lambda number, frame: interrupts.append(number), signal.SIGINT), _discard_stderr():
        tensorflow = importlib.import_module("tensorflow")
    if interrupts:
        signal.raise_signal(signal.SIGINT)
    return tensorflow


@contextlib.contextmanager
def _discard_stderr() -> Iterator[None]:
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
