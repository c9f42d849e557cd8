"""Advisory file locks (flock) that name the process which holds them.

The operating system releases a lock when its holder exits or dies, so a lock left by a crash blocks nobody. The
functions that lock raise OSError if the file system does not support locks.
"""

import fcntl
import os
import socket


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Locks an open file without waiting. Returns False if another process holds the lock.

    Args:
        descriptor: File descriptor. Network file systems require one that is open for writing.
        shared: Take a shared lock, which other shared locks do not conflict with.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, depending on the file system
        return False
    return True


def wait_for_lock(descriptor: int) -> None:
    """Locks an open file exclusively; blocks while another process holds it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def write_holder(descriptor: int) -> None:
    """Replaces the contents of a locked file with this process's number and host."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def read_holder(descriptor: int) -> str:
    """Returns the holder that a lock file names, or `another process` if it names none."""
    return os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "another process"
