"""Progress as plain lines, where stderr is not a terminal and a bar would fill a log with control characters."""

import contextlib
import sys
import time
from typing import Any

FIRST_SECONDS, MAX_SECONDS = 10.0, 60.0  # until the first line; between later lines, after it doubled


class ProgressLines:
    """Prints `scanning: 120,000 files` after 10 s of work, and then ever more rarely; used like a tqdm bar.

    Short work prints nothing. A closed stderr ends the lines, not the work.

    Attributes:
        n, total: Number of units that are done, and of all units, None if unknown.
    """

    def __init__(self, *, desc: str = "", unit: str = "unit", total: int | None = None, initial: int = 0, **_: Any):
        """Starts the clock.

        Args:
            desc: What is done.
            unit: Name of one unit.
            total, initial: Number of all units, None if unknown, and of those that were done before.
            _: Other settings of tqdm, which have no meaning here.
        """
        self.n = initial
        self.total = total
        self._text, self._units = desc, f"{unit.strip()}s"
        self._first, self._start = initial, time.monotonic()
        self._pause = FIRST_SECONDS
        self._next = self._start + self._pause

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count: int = 1) -> None:
        """Adds `count` units, and prints a line if it is time."""
        self.n += count
        now = time.monotonic()
        if now < self._next:
            return
        self._pause = min(2 * self._pause, MAX_SECONDS)
        self._next = now + self._pause
        done = f"{self.n:,}" if self.total is None else f"{self.n:,} of {self.total:,}"
        rate = (self.n - self._first) / (now - self._start)
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{self._text}: {done} {self._units}, {rate:,.1f}/s\n")
            sys.stderr.flush()
