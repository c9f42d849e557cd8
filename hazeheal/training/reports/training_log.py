"""training_log.csv: one row per epoch.

log = TrainingLog(run / "group_00/training_log.csv")
log.rewind_to(step)                                    # -1: nothing was restored
log.append({"epoch": 2, "step": 60, "disc_loss": 1.38})
"""

import logging
import pathlib
from collections.abc import Mapping

from hazeheal.errors import HazeHealError, OutputError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.pace import Pace

LOG = logging.getLogger("hazeheal")
LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")
# The columns of the original's log, in its order, followed by those of this project.
ORIGINAL_COLUMNS = ("epoch", *LOSSES, *(f"val_{name}" for name in LOSSES))
COLUMNS = (*ORIGINAL_COLUMNS, "step", "images", "val_psnr", "val_ssim", "learning_rate", "skipped_steps")
HEADER = ",".join(COLUMNS) + "\n"
MISSING = "NA"
SHARE = 0.005  # of the time that writes may take, other than those before a checkpoint


class TrainingLog:
    """Writes training_log.csv. Every write replaces the file, so that it never contains a part of a row.

    Floats are written so that they read back bit for bit. Nothing that depends on the clock is written, so two
    equal runs write equal files. Append the row of a step, and flush, before its checkpoint is saved: a restored run then
    has every row up to the restored step. If the disk is full, training continues and the rows are written with the next
    one.
    """

    def __init__(self, path: pathlib.Path, *, min_seconds: float = 0.0):
        """Reads the rows of an existing file.

        Args:
            path: The file.
            min_seconds: A row that follows the last write sooner is written with the next one, or by `flush`: small data
                sets have several epochs per second. On a slow disk writes are rarer. 0: every row is written at once.

        Raises:
            HazeHealError: The file has other columns, or cannot be read.
        """
        self.path = path
        self._min_seconds = min_seconds
        self._pace = Pace(min_seconds, share=SHARE)
        self._is_complete = True
        self._has_warned = False
        self._rows = _read(path)  # {step: line}

    def append(self, row: Mapping[str, int | float | None]) -> None:
        """Adds one row, and writes it unless the last write is too recent.

        Args:
            row: The values by column; `step` is required. Missing columns and None become NA.
        """
        values = [row.get(name) for name in COLUMNS]
        line = ",".join(MISSING if value is None else str(value) for value in values) + "\n"
        self._rows[row["step"]] = line
        self._is_complete = False
        if not self._min_seconds or self._pace.is_due():
            self.flush()

    def flush(self) -> None:
        """Writes all rows and waits until the disk has them."""
        if self._is_complete:
            return
        try:
            with self._pace.measured():
                self._write()
            self._is_complete = True
        except OutputError as error:
            if not self._has_warned:
                self._has_warned = True
                LOG.warning("%s; training continues, and the rows are written later", error)

    def rewind_to(self, step: int) -> None:
        """Moves the rows after `step` to training_log.set_aside.csv; -1 moves all rows.

        Raises:
            OutputError: A file cannot be written; the log is unchanged.
        """
        later = [number for number in self._rows if number > step]
        if not later:
            return
        superseded = self.path.with_name(f"{self.path.stem}.set_aside{self.path.suffix}")
        before = superseded.read_text(encoding="utf-8") if superseded.exists() else HEADER
        lines = "".join(self._rows[number] for number in later)
        if not before.endswith(lines):  # moved already by a process that was killed before it wrote the log
            atomic_write(superseded, before + lines, durable=True)
        for number in later:
            del self._rows[number]
        self._write()

    def _write(self):
        atomic_write(self.path, HEADER + "".join(self._rows.values()), durable=True)


def _read(path):
    """Returns {step: line}."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith("\n"):
            lines.pop()  # version 0.1 could be killed while it wrote a row
        if lines and lines[0] != HEADER:
            raise HazeHealError(
                f"{path} has the columns {lines[0].strip()!r}, but this version writes {HEADER.strip()!r}; move the "
                "file away to continue"
            )
        return {int(line.split(",")[COLUMNS.index("step")]): line for line in lines[1:]}
    except (OSError, ValueError, IndexError) as error:
        raise HazeHealError(f"{path} cannot be read ({error}); move the file away to continue") from error
