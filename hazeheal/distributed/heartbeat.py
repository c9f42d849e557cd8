"""Heartbeats of a training process, for the launcher that watches it: a small file that is rewritten at every step.

A process that is stopped or waits forever does not crash; its heartbeats end. The file contains a counter and the
step, and no time, so that clocks need not agree. A read beside a write may see a part of either: their sum, the third
number, shows that both belong together.
"""

import contextlib
import os
import pathlib

VARIABLE = "HAZEHEAL_HEARTBEAT"  # path of the file; not set if no launcher watches
READS = 100  # of a file that is being written, before it counts as damaged


class Heartbeat:
    """Writes the heartbeats of this process.

    Args:
        path: The file; by default that in HAZEHEAL_HEARTBEAT. Without one nothing is written.
    """

    def __init__(self, path: str | pathlib.Path | None = None):
        self._path = path or os.environ.get(VARIABLE)
        self._count = 0
        self._step = -1

    def beat(self, step: int | None = None) -> None:
        """Writes a heartbeat; `step` is the number of completed steps, or None if it has not changed."""
        self._count += 1
        self._step = self._step if step is None else step
        if self._path:
            # A full disk must not stop the training. The launcher then sees no heartbeats.
            with contextlib.suppress(OSError):
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
                try:
                    numbers = self._count, self._step, self._count + self._step
                    os.pwrite(descriptor, "{:020d} {:020d} {:020d}\n".format(*numbers).encode(), 0)
                finally:
                    os.close(descriptor)


def read_heartbeat(path: str | pathlib.Path) -> tuple[int, int]:
    """Returns the number of heartbeats and the step that a process wrote; (0, -1) if it has not written any."""
    for _ in range(READS):
        try:
            count, step, total = map(int, pathlib.Path(path).read_bytes().split())
        except (OSError, ValueError):
            break
        if count + step == total:
            return count, step
    return 0, -1
