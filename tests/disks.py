"""What disks do to a process and its files: they are full, flip a bit, lose the end of a file."""

import contextlib
import resource


@contextlib.contextmanager
def full_disk(largest):
    """While this lasts, no file of this process grows past `largest` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def flip(path, at=None, *, bits=1):
    """Flips bits of one byte of a file: of byte `at`, or of that in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= bits
    path.write_bytes(content)


def truncate(path):
    """Cuts off the last byte of a file."""
    path.write_bytes(path.read_bytes()[:-1])
