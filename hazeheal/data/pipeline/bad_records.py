"""The damaged records of one split. Reads collect them, and the training loop logs each one once."""

import logging
from collections.abc import Iterable

from hazeheal.errors import UsageError

LOG = logging.getLogger("hazeheal")


class BadRecords:
    """The damaged records of one split; safe to use from several threads.

    A read must not wait for a Python lock (see `record_reader`), and logging takes several. So `add` only stores the
    message, with operations that the interpreter executes in one step, and `log_new` logs it outside of the read.

    Args:
        count: Number of records of the split.
    """

    def __init__(self, count: int):
        self._count = count
        self._messages: dict[int, str] = {}
        self._logged: set[int] = set()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of all damaged records, found or preloaded, in ascending order."""
        return tuple(sorted(self._messages))  # sorted() copies a dict of integers in one step.

    def preload(self, numbers: Iterable[int]) -> None:
        """Adds the records that an earlier process of the run found and logged.

        Args:
            numbers: The `numbers` of that process.

        Raises:
            UsageError: One of them is not the number of a record.
        """
        numbers = [int(number) for number in numbers]
        for number in numbers:
            if not 0 <= number < self._count:
                raise UsageError(
                    f"bad record {number} does not exist; the split has {self._count} records, numbered from 0"
                )
        for number in numbers:
            if number not in self._messages:
                self._messages[number] = ""
                self._logged.add(number)

    def add(self, number: int, message: str) -> None:
        """Adds a damaged record with the warning to log; a record that was added before does not change."""
        self._messages.setdefault(number, message)

    def log_new(self) -> None:
        """Logs a warning for each record that was not logged yet. Do not call this within a read."""
        for number in self.numbers:
            if number not in self._logged:
                self._logged.add(number)
                LOG.warning("%s", self._messages[number])
