"""Files that grow by whole appends: a full disk or a killed process leaves no part of one behind."""

import contextlib
import os
import pathlib


def append(path: str | os.PathLike, data: bytes, *, header: bytes = b"", sync: bool = True) -> None:
    """Appends all of `data` or, on an error, nothing.

    Args:
        path: The file. It is created if it does not exist.
        data: The bytes to append.
        header: Written before `data` if the file is empty.
        sync: Whether to wait until the disk has the data.

    Raises:
        OSError: The file could not be written; it is as it was.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        rest = memoryview(data if size else header + data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if sync:
                os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def drop_torn_line(path: pathlib.Path) -> bytes:
    """Truncates a text file after its last line break, where a process was killed while it wrote a line.

    Returns:
        The content of the file; b"" if it does not exist.

    Raises:
        OSError: The file could not be read or truncated.
    """
    if not path.exists():
        return b""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.truncate(path, end)
    return data[:end]
