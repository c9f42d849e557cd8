"""Signs of life of a training process, for the launcher that watches it: a small file, rewritten as it goes on.

A process that is stopped, or waits for something that never comes, does not crash; it just ceases to
write. The file holds a number that grows and the step, so that neither side needs a clock that is right.
"""

import contextlib
import os

VARIABLE = "HAZEHEAL_HEARTBEAT"  # path of the file; unset where nobody watches


class Heartbeat:
    """Writes the signs of life of this process.

    Args:
        path: The file; by default the one that the launcher has named, or none.
    """

    def __init__(self, path=None):
        self._path = path or os.environ.get(VARIABLE)
        self._count = 0
        self._step = -1

    def beat(self, step=None) -> None:
        """Tells that the process goes on, and that `step` steps are done (as before where it is None)."""
        self._count += 1
        self._step = self._step if step is None else step
        if self._path:
            # A full disk must not stop the training; the launcher will see that nothing comes.
            with contextlib.suppress(OSError):
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
                try:
                    os.pwrite(descriptor, f"{self._count:020d} {self._step:020d}\n".encode(), 0)
                finally:
                    os.close(descriptor)


def read_heartbeat(path) -> tuple[int, int]:
    """Returns (number of signs, step) as a process has written them; (0, -1) where it has not yet."""
    try:
        with open(path, encoding="ascii") as file:
            count, step = file.read().split()
        return int(count), int(step)
    except (OSError, ValueError):
        return 0, -1
