"""One conversion at a time writes into a directory; another one of the same waits, and is told for whom.

The lock is the operating system's (flock) on a file in the directory: that of a process that died, on this
host or another one, keeps nobody out. Not on the directory itself, as a network file system locks only what
is open for writing.
"""

import contextlib
import os
import pathlib
import sys
import time

from hazeheal.errors import UsageError
from hazeheal.utils import file_lock
from hazeheal.utils.console import one_line
from tfrecords_tools.convert.output_dir import LOCK, make_directories, remove_empty

TRIES = 20  # to make directories that the one before may be removing, from the inside out


@contextlib.contextmanager
def claimed(output_dir: pathlib.Path, *, before_waiting):
    """Makes the directory and holds the claim on it, for which it waits if it must.

    What was made here, with the directories above it, is removed again if it is still empty at the end.

    Args:
        output_dir: The directory.
        before_waiting: Called where another conversion holds the claim; may raise.

    Raises:
        UsageError: The directory cannot be made.
    """
    made, tries = [], 0
    while True:
        try:
            made = [*make_directories(output_dir), *made]
        except OSError as error:
            tries += 1
            if isinstance(error, FileNotFoundError) and tries < TRIES:
                time.sleep(0.01)
                continue
            remove_empty(made)
            raise UsageError(
                f"--output_dir={output_dir} cannot be made ({error.strerror or error})"
            ) from error
        path = output_dir / LOCK
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the one before has just removed what it had made in vain
            continue
        except OSError:  # it cannot be written: whoever has to write there will be told
            file = None
        try:
            if (
                file is not None
                and _lock(file, path, before_waiting=before_waiting)
                and not _is_same(file, path)
            ):
                continue
            try:
                if file is not None:
                    file_lock.write_holder(file)
                yield
            finally:
                if file is not None:
                    path.unlink(missing_ok=True)  # while it is held: nobody else can hold this very file
            return
        finally:
            if file is not None:
                os.close(file)
            remove_empty(made)


def _lock(file, path, *, before_waiting) -> bool:
    """Returns when the file is this process's; False where the file system has no locks."""
    try:
        if not file_lock.try_lock(file):
            before_waiting()
            holder = one_line(file_lock.read_holder(file))
            _say(f"{path.parent} is being written by {holder}: waiting until that is done")
            file_lock.wait_for_lock(file)
    except OSError as error:
        _say(f"{path.parent} cannot be locked ({error.strerror}); start no second conversion into it")
        return False
    return True


def _is_same(file, path) -> bool:
    """Whether the locked file is still the one that others find; the holder before removed its own."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), os.stat(path))
    return False


def _say(line):
    print(f"hazeheal-tfrecords: {line}", file=sys.stderr, flush=True)
