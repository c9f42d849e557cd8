"""What the workers of a job on Ray and the program that started them tell each other."""

from typing import Any

from hazeheal.errors import EXIT_ERROR, EXIT_OK, EXIT_RESTART, EXIT_USAGE


class Board:
    """Notes and exit codes; a Ray actor.

    The notes of an attempt are separate, as those of workers that Ray has replaced no longer apply.
    """

    def __init__(self):
        self._stop = False
        self._notes = {}
        self._codes = {}

    def stop(self) -> None:
        """Asks all workers to save and end."""
        self._stop = True

    def note(self, attempt: str, **values: Any) -> None:
        """Sets values for all workers of an attempt."""
        self._notes.setdefault(attempt, {}).update(values)

    def end(self, attempt: str, rank: int, code: int) -> None:
        """Sets the exit code of a worker."""
        self._codes.setdefault(attempt, {})[rank] = code

    def read(self, attempt: str) -> dict[str, Any]:
        """Returns the noted values, `stop`, and `is_over`: whether worker 0 of the attempt has ended."""
        is_over = 0 in self._codes.get(attempt, {})
        return {"stop": self._stop, "is_over": is_over, **self._notes.get(attempt, {})}

    def exit_code(self) -> int | None:
        """Returns the exit code of the last attempt, after it has ended: that of its first error, if there is one."""
        codes = list(self._codes.values())[-1].values() if self._codes else ()
        return next((code for code in (EXIT_ERROR, EXIT_USAGE, EXIT_RESTART, EXIT_OK) if code in codes), None)

    def has_started(self) -> bool:
        """Returns whether workers have started."""
        return bool(self._notes)
