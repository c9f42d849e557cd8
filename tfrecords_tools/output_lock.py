"""Lets one process at a time write into an output directory.

A second process that converts into the same directory waits, and reports which process it waits for. The lock is an
advisory lock (flock) on a file in the directory, so a process that died, on this host or another, blocks nobody. The
directory itself is not locked because network file systems lock only files that are open for writing.
"""

import contextlib
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from hazeheal.errors import UsageError
from hazeheal.utils import file_lock
from hazeheal.utils.console import one_line

LOCK = ".convert.lock"
_TRIES = 20


@contextlib.contextmanager
def lock_output_dir(
    output_dir: pathlib.Path, *, before_waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Creates the directory and locks it within the block; waits while another process holds the lock.

    Directories that this call created are removed at the end if they are still empty.

    Args:
        output_dir: The directory.
        before_waiting: Called if another process holds the lock. It may raise to refuse to wait.

    Raises:
        UsageError: The directory cannot be created.
    """
    created, descriptor = [], None
    try:
        descriptor = _acquire(output_dir, created, before_waiting)
        yield
    finally:
        if descriptor is not None:
            (output_dir / LOCK).unlink(missing_ok=True)  # while locked: nobody else can hold this file
            os.close(descriptor)
        remove_empty(created)


def make_directories(path: pathlib.Path) -> list[pathlib.Path]:
    """Creates a directory and its missing parents.

    Returns:
        The created directories, innermost first.

    Raises:
        OSError: The directory cannot be created. Then none of its parents is created either.
    """
    missing = []
    for directory in (path, *path.parents):
        if directory.exists():
            break
        missing.append(directory)
    created = []
    try:
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            created.insert(0, directory)
        path.mkdir(exist_ok=True)  # raises if `path` is a file
    except OSError:
        remove_empty(created)
        raise
    return created


def remove_empty(directories: Iterable[pathlib.Path]) -> None:
    """Removes those of the directories that are empty."""
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()


def _acquire(output_dir: pathlib.Path, created: list, before_waiting: Callable[[], None]) -> int | None:
    """Creates the directory and locks it.

    Returns:
        The lock file's descriptor; None if the file cannot be written. Whoever writes into the directory reports why.
    """
    path = output_dir / LOCK
    tries = 0
    while True:
        try:
            created[:0] = make_directories(output_dir)
        except OSError as error:
            tries += 1
            if isinstance(error, FileNotFoundError) and tries < _TRIES:
                time.sleep(0.01)  # the previous holder is removing its empty directories
                continue
            raise UsageError(
                f"--output_dir={output_dir} cannot be created ({error.strerror or error}); choose another directory"
            ) from error
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the previous holder has just removed the directory
            continue
        except OSError:
            return None
        try:
            if not _lock(descriptor, path, before_waiting) or _is_same_file(descriptor, path):
                file_lock.write_holder(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: pathlib.Path, before_waiting: Callable[[], None]) -> bool:
    """Returns true when this process holds the lock, false if the file system has no locks."""
    try:
        if not file_lock.try_lock(descriptor):
            before_waiting()
            holder = one_line(file_lock.read_holder(descriptor))
            _report(f"{path.parent} is being written by {holder}: waiting for it to finish")
            file_lock.wait_for_lock(descriptor)
    except OSError as error:
        _report(
            f"{path.parent} cannot be locked ({error.strerror}); do not start a second conversion into it"
        )
        return False
    return True


def _is_same_file(descriptor: int, path: pathlib.Path) -> bool:
    """Returns whether the locked file is still in the directory: the previous holder removed its own."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _report(line: str) -> None:
    print(f"hazeheal-tfrecords: {line}", file=sys.stderr, flush=True)
