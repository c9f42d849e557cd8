"""A disk that is full, as a process sees it."""

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
