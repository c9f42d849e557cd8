"""training_log.csv: one row per epoch.

log = TrainingLog("RUN/group_00/training_log.csv")
log.rewind_to(step=restored)           # -1 if nothing was restored
log.append({"epoch": 2, "step": step, "disc_loss": 1.38})
"""

import csv
import logging
import numbers
import os
import pathlib
from collections.abc import Mapping, Sequence

from hazeheal.errors import HazeHealError, OutputError
from hazeheal.training.reports.append import append, drop_torn_line
from hazeheal.utils.atomic import atomic_write

# The columns of the original's log, in its order, followed by those of this project.
_LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")
ORIGINAL_COLUMNS = ("epoch", *_LOSSES, *(f"val_{name}" for name in _LOSSES))
COLUMNS = (*ORIGINAL_COLUMNS, "step", "images", "val_psnr", "val_ssim", "learning_rate", "skipped_steps")
MISSING = "NA"


class TrainingLog:
    """Writes training_log.csv.

    Floats are written so that they read back bit for bit. Nothing that depends on the clock is written, so two
    equal runs leave equal files. Append the row of a step before its checkpoint is saved: a restored run then has
    every row up to the restored step. A full disk costs a warning, not the training.

    Args:
        path: The file. A torn last line, left by a process that was killed while writing, is dropped.
        columns: Names of the columns. "step" must be one of them.

    Raises:
        HazeHealError: The file has other columns, or it cannot be read.

    Attributes:
        failures: Number of failed writes. The first is logged. The rows are kept and written with the next one.
    """

    def __init__(self, path: str | os.PathLike, *, columns: Sequence[str] = COLUMNS):
        self.path = pathlib.Path(path)
        self.columns = tuple(columns)
        self.failures = 0
        self._pending = b""
        self._header = (",".join(self.columns) + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            data = drop_torn_line(self.path)
        except OSError as error:
            raise HazeHealError(f"cannot use {self.path}: {error}") from error
        if data and not data.startswith(self._header):
            header = data.split(b"\n", 1)[0].decode(errors="replace")
            raise HazeHealError(
                f"{self.path} has the columns {header!r}, but this version writes "
                f"{self._header.decode().strip()!r}; move the file away to continue"
            )

    def append(self, row: Mapping[str, int | float | str | None]) -> None:
        """Appends one row and waits until the disk has it.

        Args:
            row: The values by column. "step" is required; other missing columns and None become NA.

        Raises:
            ValueError: A key is not a column, "step" is missing, or a text contains a comma, quote or line break.
        """
        unknown = sorted(set(row) - set(self.columns))
        if unknown:
            raise ValueError(
                f"unknown columns: {', '.join(unknown)}; the columns are {', '.join(self.columns)}"
            )
        if row.get("step") is None:
            raise ValueError(f"a row must have a step, got {row}")
        line = ",".join(_cell(row.get(name)) for name in self.columns) + "\n"
        self._pending += line.encode()
        try:
            append(self.path, self._pending, header=self._header)
            self._pending = b""
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                logging.getLogger("hazeheal").warning(
                    "%s could not be written (%s); training continues, and the rows are written later",
                    self.path,
                    error,
                )

    def rewind_to(self, *, step: int) -> int:
        """Moves the rows after the restored step to training_log.set_aside.csv.

        The rows are appended there first; then the log is replaced by one rename. If the process is killed in
        between, the next call completes the move.

        Args:
            step: The restored step; -1 if nothing was restored.

        Returns:
            Number of rows moved.

        Raises:
            HazeHealError: A file could not be written; the log is as it was.
        """
        superseded = self.path.with_name(f"{self.path.stem}.set_aside{self.path.suffix}")
        try:
            lines = drop_torn_line(self.path).splitlines(keepends=True)[1:]
            column = self.columns.index("step")
            later = [line for line in lines if int(next(csv.reader([line.decode()]))[column]) > step]
            if not later:
                return 0
            if not drop_torn_line(superseded).endswith(b"".join(later)):
                append(superseded, b"".join(later), header=self._header)
            earlier = [line for line in lines if line not in set(later)]
            atomic_write(self.path, self._header + b"".join(earlier), durable=True)
        except (OSError, OutputError, ValueError, IndexError) as error:
            raise HazeHealError(
                f"cannot move the rows after step {step} from {self.path} to {superseded.name}: {error}"
            ) from error
        return len(later)


def _cell(value):
    if value is None:
        return MISSING
    if isinstance(value, str):
        if any(mark in value for mark in ',"\r\n'):
            raise ValueError(f"a text in the log must not contain commas, quotes or line breaks: {value!r}")
        return value
    if isinstance(value, numbers.Integral):
        return repr(int(value))
    return repr(float(value))
