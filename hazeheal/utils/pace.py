"""How often something that repeats may happen: not sooner than an interval, and for at most a share of the time."""

import contextlib
import math
import time
from collections.abc import Iterator


class Pace:
    """Due when `seconds` have passed since the activity last ended, or later where the activity takes long.

    If it took d seconds, it is due again max(`seconds`, d / `share`) seconds after its end. So a slow disk or a large
    data set makes it rarer, not the rest slower.
    """

    def __init__(self, seconds: float, *, share: float):
        """Due at once.

        Args:
            seconds: The interval; 0 or more.
            share: The largest share of the time that the activity may take, in (0, 1].
        """
        self._seconds = seconds
        self._share = share
        self._ended = -math.inf
        self._took = 0.0

    def start(self, *, elapsed: float = 0.0, took: float = 0.0) -> None:
        """Continues as if the activity had ended `elapsed` seconds ago, after `took` seconds."""
        self._ended = time.monotonic() - elapsed
        self._took = took

    def is_due(self) -> bool:
        """Returns whether the time is over."""
        return time.monotonic() - self._ended >= max(self._seconds, self._took / self._share)

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Context manager around the activity: measures it, and starts the next interval at its end."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._ended = time.monotonic()
            self._took = self._ended - begin

    def to_json(self) -> dict[str, float]:
        """Returns the arguments of `start` with which another process continues; plain JSON values."""
        return {"elapsed": time.monotonic() - self._ended, "took": self._took}
