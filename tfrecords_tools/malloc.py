"""Keeps memory that images free for the next images."""

import contextlib
import ctypes

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_ALLOCATION = 32 << 20  # bytes; larger allocations are mapped. The maximum of glibc
_FREE_BYTES = 128 << 20  # free bytes at the top of the heap that are not returned to the system


def keep_freed_memory() -> None:
    """Makes glibc keep the memory that this process frees. Does nothing with another C library.

    By default glibc maps an array of a megabyte from the system, page by page, at each allocation. For images of
    620x460 pixels this took more than half of the decoding time: a JPEG took 4.0 ms instead of 1.7 ms.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_ALLOCATION)
        mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES)
