"""What a run says of itself: training_log.csv and log.txt; `ProgressLine` for the terminal.

    logger = setup_logging("RUN/group_00/log.txt", verbosity=1)
    log = TrainingLog("RUN/group_00/training_log.csv")
    log.rewind_to(step=restored)           # -1 where nothing was restored
    with ProgressLine(total_steps, initial_step=restored) as line:
        line.update(step, epoch=2, losses={"gen_total_loss": 7.31}, images_per_second=41.0)
        log.append({"epoch": 2, "step": step, "disc_loss": 1.38})

A full disk costs a warning, not the training. No TensorFlow.
"""

import contextlib
import csv
import datetime
import logging
import numbers
import os
import pathlib

from hazeheal.errors import HazeHealError
from hazeheal.training.reports.progress import ConsoleHandler, ProgressLine

__all__ = ["COLUMNS", "ORIGINAL_COLUMNS", "ProgressLine", "TrainingLog", "setup_logging"]

# The columns of the original's log, in its order; then ours.
_LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")
ORIGINAL_COLUMNS = ("epoch", *_LOSSES, *(f"val_{name}" for name in _LOSSES))
COLUMNS = (*ORIGINAL_COLUMNS, "step", "images", "val_psnr", "val_ssim", "learning_rate", "skipped_steps")
MISSING = "NA"


class TrainingLog:
    """training_log.csv: one row an epoch; NA for what is missing.

    Floats are written so that they read back bit for bit, and nothing that depends on the clock is
    written: two equal runs leave equal files. Rows must be appended before the checkpoint of their step
    is saved, so that every row up to a restored step is there.

    Args:
        path: The file. A last line that was torn (the process was killed while writing) is dropped.
        columns: Names of the columns; "step" must be one of them.

    Raises:
        HazeHealError: The file has other columns or cannot be read.

    Attributes:
        failures: How often a row could not be written. The first time is logged; the rows are kept and
            written with the next one.
    """

    def __init__(self, path, *, columns=COLUMNS):
        self.path = pathlib.Path(path)
        self.columns = tuple(columns)
        self.failures = 0
        self._pending = b""
        self._header = (",".join(self.columns) + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            data = _without_torn_line(self.path)
        except OSError as error:
            raise HazeHealError(f"cannot use {self.path}: {error}") from error
        if data and not data.startswith(self._header):
            found = data.split(b"\n", 1)[0].decode(errors="replace")
            raise HazeHealError(
                f"{self.path} has the columns {found!r}, and this version writes "
                f"{self._header.decode().strip()!r}; move the file away to go on"
            )

    def append(self, row):
        """Appends one row durably.

        Args:
            row: Dict of column to int, float, str or None; absent columns become NA. "step" is needed.

        Raises:
            ValueError: A key that is no column, no step, or a text that would break the line.
        """
        unknown = sorted(set(row) - set(self.columns))
        if unknown:
            raise ValueError(f"no such column: {', '.join(unknown)}; columns are {', '.join(self.columns)}")
        if row.get("step") is None:
            raise ValueError(f"a row needs its step, got {row}")
        line = ",".join(_cell(row.get(name)) for name in self.columns) + "\n"
        self._pending += line.encode()
        try:
            _append_whole(self.path, self._pending, header=self._header)
            self._pending = b""
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                logging.getLogger("hazeheal").warning(
                    "%s could not be written (%s); training goes on, and the rows will follow",
                    self.path,
                    error,
                )

    def rewind_to(self, *, step):
        """Moves the rows past the restored step to training_log.set_aside.csv.

        The rows are appended there first and then the log is replaced in one rename: killed in between,
        the next call finishes the work.

        Args:
            step: The restored step; -1 where nothing was restored.

        Returns:
            Number of rows moved.

        Raises:
            HazeHealError: A file could not be written; the log is then as it was.
        """
        aside = self.path.with_name(f"{self.path.stem}.set_aside{self.path.suffix}")
        try:
            lines = _without_torn_line(self.path).splitlines(keepends=True)[1:]
            place = self.columns.index("step")
            later = [line for line in lines if int(next(csv.reader([line.decode()]))[place]) > step]
            if not later:
                return 0
            if not _without_torn_line(aside).endswith(b"".join(later)):
                _append_whole(aside, b"".join(later), header=self._header)
            kept = [line for line in lines if line not in set(later)]
            partial = self.path.with_name(self.path.name + ".tmp")
            partial.unlink(missing_ok=True)
            _append_whole(partial, b"".join(kept), header=self._header)
            os.replace(partial, self.path)
        except (OSError, ValueError, IndexError) as error:
            raise HazeHealError(
                f"cannot set the rows of {self.path} past step {step} aside: {error}"
            ) from error
        return len(later)


def setup_logging(path=None, *, verbosity=1, stream=None, group=0):
    """Makes the logger "hazeheal" write log.txt and the console; a second call replaces the first.

    Args:
        path: log.txt, appended to, every line with the time before it; None for none.
        verbosity: On the console 0 shows warnings, 1 also information, 2 also details. log.txt holds
            what 1 shows, or 2 where that was asked for.
        stream: The console; by default what `sys.stderr` is at the time of writing.
        group: Number of the replica group. Those after the first write only warnings to the console, with
            their name before them: what all do alike is told once.

    Returns:
        The `logging.Logger`.
    """
    logger = logging.getLogger("hazeheal")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logger.setLevel(min(level, logging.INFO))
    logger.propagate = False
    console = ConsoleHandler(stream)
    console.setLevel(max(level, logging.WARNING) if group else level)
    if group:
        console.setFormatter(logging.Formatter(f"group_{group:02d}: %(message)s"))
    logger.addHandler(console)
    if path is not None:
        logger.addHandler(_LogFile(pathlib.Path(path)))
    return logger


class _LogFile(logging.Handler):
    def __init__(self, path):
        super().__init__()
        self._path = path
        self._lost = 0
        with contextlib.suppress(OSError):  # the first line will tell
            path.parent.mkdir(parents=True, exist_ok=True)
            _without_torn_line(path)

    def emit(self, record):
        stamp = datetime.datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        lines = self.format(record).splitlines() or [""]
        if self._lost:
            lines.insert(0, f"WARNING {self._lost} messages before this one could not be written")
        text = "".join(f"{stamp} {line}\n" for line in lines)
        try:
            _append_whole(self._path, text.encode(errors="replace"), sync=False)
            self._lost = 0
        except OSError as error:
            self._lost += 1
            if not getattr(self, "_warned", False):
                self._warned = True
                logging.getLogger("hazeheal").warning(
                    "%s could not be written (%s); training goes on", self._path, error
                )


def _cell(value):
    if value is None:
        return MISSING
    if isinstance(value, str):
        if any(mark in value for mark in ',"\r\n'):
            raise ValueError(f"a text in the log must be without commas, quotes and line ends: {value!r}")
        return value
    if isinstance(value, numbers.Integral):
        return repr(int(value))
    return repr(float(value))


def _append_whole(path, data, *, header=b"", sync=True):
    """Appends all of `data` or, on an error, nothing; an empty file begins with `header`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        rest = memoryview(data if size else header + data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if sync:
                os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _without_torn_line(path):
    """Cuts `path` after its last line end and returns what it holds; b"" where there is no file."""
    if not path.exists():
        return b""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return data[:whole]
