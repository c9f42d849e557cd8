"""Atomic writes: a file or directory appears under its name complete, or not at all.

Everything is written under a temporary name in the same directory and renamed at the end.
"""

import contextlib
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Iterator

from hazeheal.errors import OutputError

_TEMPORARY_NAME = re.compile(r"\.\d+-[0-9a-f]+\.part(\..+)?")


@contextlib.contextmanager
def atomic_path(path: pathlib.Path, *, overwrite: bool = True, durable: bool = False) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`. It is renamed to `path` at the end, or removed after an error.

    Args:
        path: The file or directory to write. Missing parent directories are created.
        overwrite: Whether an existing file may be replaced. A directory can replace only an empty directory.
        durable: Whether to flush the file to the disk before the rename, so that `path` is complete after a
            power failure too.

    Raises:
        OutputError: `path` cannot be written, or exists and `overwrite` is false.
    """
    # The random part differs between hosts that write to one file system. The suffix tells programs the format.
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(6)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if not overwrite and path.exists():
            raise OutputError(f"{path} exists and was not overwritten; use --overwrite to replace it")
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink()


def atomic_write(path: pathlib.Path, content: str | bytes, *, durable: bool = False) -> None:
    """Writes a small file through `atomic_path`: a reader sees the old content or the new content, never a part."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def is_temporary(name: str) -> bool:
    """Returns whether a file name is one of `atomic_path`, left behind by a process that was killed."""
    return _TEMPORARY_NAME.fullmatch(name) is not None
