"""Lets one process at a time write into an output directory; a second one waits.

The lock is an advisory lock (flock) on a file in the directory, so a process that died, on this host or another, blocks
nobody. The directory itself is not locked because network file systems lock only files that are open for writing.
"""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator

from hazeheal.errors import UsageError
from hazeheal.utils import file_lock
from hazeheal.utils.console import one_line

LOCK = ".convert.lock"


@contextlib.contextmanager
def lock_output_dir(output_dir: pathlib.Path) -> Iterator[None]:
    """Creates the directory and locks it within the block; waits while another process holds the lock.

    Raises:
        UsageError: The directory cannot be created or written.
    """
    path = output_dir / LOCK
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except OSError as error:
        raise UsageError(
            f"--output_dir={output_dir} cannot be written ({error.strerror or error}); choose another directory"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while locked: nobody else can hold this file
        os.close(descriptor)


def _acquire(path: pathlib.Path) -> int:
    """Locks a file and returns its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not file_lock.try_lock(descriptor):
                holder = one_line(file_lock.read_holder(descriptor))
                _report(f"{path.parent} is being written by {holder}: waiting for it to finish")
                file_lock.wait_for_lock(descriptor)
        except OSError as error:  # the file system has no locks
            _report(f"{path.parent} cannot be locked ({error.strerror}); do not start a second conversion into it")
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                file_lock.write_holder(descriptor)
                return descriptor
        os.close(descriptor)  # the previous holder has removed this file


def _report(line: str) -> None:
    print(f"hazeheal-tfrecords: {line}", file=sys.stderr, flush=True)
