"""Files and directories that are there whole or not at all: written under another name, and renamed at the end."""

import contextlib
import itertools
import os
import shutil
import signal
import sys

from hazeheal.errors import OutputError

_numbers = itertools.count()


@contextlib.contextmanager
def atomic_path(path, *, overwrite=True):
    """Gives a name beside `path` to write to, which becomes `path` at the end, whole, or goes away.

    Args:
        path: A `pathlib.Path`; its folder is made if it is missing.
        overwrite: Whether it may take the place of a file that is there already. A directory takes the place of an
            empty one alone.

    Raises:
        OutputError: The file cannot be written, or is there already and may not be overwritten.
    """
    # The suffix stays, as it tells programs the format.
    aside = path.with_name(f".{os.getpid()}-{next(_numbers)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        if not overwrite and path.exists():
            raise OutputError(f"{path} is there already, and was not overwritten; give --overwrite")
        os.replace(aside, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(OSError):
            aside.unlink()


def atomic_write(path, text: str) -> None:
    """Writes a small file so that a reader sees the old one or the new one, never a part."""
    with atomic_path(path) as aside:
        aside.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def exit_on_sigterm():
    """While it lasts SIGTERM ends the program by SystemExit, so that nothing half written is left; in the main thread."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
