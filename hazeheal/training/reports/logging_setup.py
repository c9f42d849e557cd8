"""The logger "hazeheal" of a training: log.txt, and the console around the progress line."""

import contextlib
import logging
import pathlib
import sys

from tqdm import tqdm

LOG = logging.getLogger("hazeheal")


def setup_logging(path: pathlib.Path, *, group: int = 0) -> None:
    """Makes the logger "hazeheal" write to log.txt and to the console. A second call replaces the first.

    Args:
        path: The path of log.txt, which is appended to.
        group: Number of the replica group. Groups other than 0 write only warnings to the console, prefixed with
            the group's name, because most messages are the same in all groups.
    """
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
        handler.close()
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    console = _Console(logging.WARNING if group else logging.INFO)
    if group:
        console.setFormatter(logging.Formatter(f"group_{group:02d}: %(message)s"))
    LOG.addHandler(console)
    path.parent.mkdir(parents=True, exist_ok=True)
    log_file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    log_file.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s", "%Y-%m-%d %H:%M:%S"))
    LOG.addHandler(log_file)


class _Console(logging.Handler):
    """Writes messages to stderr, above the progress line. A closed stderr is not an error.

    Messages with `extra={"in_console": False}` are left to log.txt.
    """

    def emit(self, record):
        if not getattr(record, "in_console", True):
            return
        with contextlib.suppress(OSError, ValueError):  # ValueError: stderr is closed
            # One write, so that the messages of several processes do not mix.
            tqdm.write(f"{self.format(record)}\n", file=sys.stderr, end="")


class _LogFile(logging.FileHandler):
    """Appends messages to log.txt. If the disk is full, one warning is displayed and training continues."""

    _has_warned = False

    def handleError(self, record):
        if not self._has_warned:
            self._has_warned = True
            reason = sys.exc_info()[1]
            LOG.warning("%s could not be written (%s); training continues", self.baseFilename, reason)
