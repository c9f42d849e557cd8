"""A training process of the launcher: starts it, reads its heartbeats and sends it signals."""

import ctypes
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from hazeheal.distributed import heartbeat
from hazeheal.errors import EXIT_RESTART

# If more time than this passes between two polls, the launcher was itself suspended (SIGSTOP, a frozen container),
# probably together with its processes.
UNWATCHED_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
# Loaded here, because little may be done between fork and exec.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Worker:
    """One training process, which starts at once.

    Args:
        name: Such as `group_01`.
        command: The program and its arguments.
        environment: Environment variables to set in addition to those of this process.
        folder: Directory for the heartbeat file.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: str):
        self.name = name
        self._heartbeat = pathlib.Path(folder) / name
        self._heartbeat.unlink(missing_ok=True)  # that of an earlier attempt
        self._count = None
        self._changed_at = self._polled_at = time.monotonic()
        # In its own session, so that Ctrl-C in a terminal reaches it once, through the launcher.
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment | {heartbeat.VARIABLE: str(self._heartbeat)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=functools.partial(_end_with_parent, os.getpid()),
        )

    @property
    def code(self) -> int | None:
        """Exit code, negative for a signal; None while the process runs."""
        return self.process.poll()

    def step(self) -> int:
        """Returns the last reported step, or -1 before the first one."""
        return heartbeat.read_heartbeat(self._heartbeat)[1]

    def silent_seconds(self) -> float:
        """Returns the time since the last heartbeat, without the time in which the launcher was suspended."""
        count, now = heartbeat.read_heartbeat(self._heartbeat)[0], time.monotonic()
        if count != self._count:
            self._count, self._changed_at = count, now
        elif now - self._polled_at > UNWATCHED_SECONDS:
            self._changed_at += now - self._polled_at
        self._polled_at = now
        return now - self._changed_at

    def send(self, signal_number: int) -> None:
        """Sends a signal if the process is running."""
        if self.code is None:
            self.process.send_signal(signal_number)


def _end_with_parent(parent):
    """Makes the kernel send SIGTERM to this process when the launcher dies, so that it saves and exits."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the launcher died before the call
            os._exit(EXIT_RESTART)
