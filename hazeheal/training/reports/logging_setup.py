"""The logger "hazeheal" of a training: log.txt, and the console around the progress line."""

import contextlib
import datetime
import logging
import os
import pathlib
from typing import TextIO

from hazeheal.training.reports.append import append, drop_torn_line
from hazeheal.training.reports.progress import ConsoleHandler


def setup_logging(
    path: str | os.PathLike | None = None,
    *,
    verbosity: int = 1,
    stream: TextIO | None = None,
    group: int = 0,
) -> logging.Logger:
    """Makes the logger "hazeheal" write to log.txt and to the console. A second call replaces the first.

    Args:
        path: The path of log.txt, which is appended to; None for no file.
        verbosity: What the console shows: 0 warnings, 1 also information, 2 also details. log.txt always holds
            information, and details at 2.
        stream: The console; None for the current `sys.stderr` at each message.
        group: Number of the replica group. Groups other than 0 write only warnings to the console, prefixed with
            the group's name, because most messages are the same in all groups.
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
    """Appends records to log.txt, each line with its time. A full disk costs messages, not the training."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._lost = 0
        self._warned = False
        with contextlib.suppress(OSError):  # reported with the first message
            path.parent.mkdir(parents=True, exist_ok=True)
            drop_torn_line(path)

    def emit(self, record):
        stamp = datetime.datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        lines = self.format(record).splitlines() or [""]
        if self._lost:
            lines.insert(0, f"WARNING {self._lost} messages before this one could not be written")
        text = "".join(f"{stamp} {line}\n" for line in lines)
        try:
            append(self._path, text.encode(errors="replace"), sync=False)
            self._lost = 0
        except OSError as error:
            self._lost += 1
            if not self._warned:
                self._warned = True
                logging.getLogger("hazeheal").warning(
                    "%s could not be written (%s); training continues", self._path, error
                )
