"""Sizes, modification times and identities of files, each read once."""

import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from hazeheal.utils.parallel import map_in_threads


class FileState(NamedTuple):
    """Size in bytes, modification time in ns, and device and inode, which are equal for all paths to one file."""

    size: int
    mtime: int
    identity: tuple[int, int] | None


UNREADABLE = FileState(0, 0, None)  # as of a dangling link; reading the file reports the error


def read_states(folder: pathlib.Path, names: Iterable[str]) -> dict[str, FileState]:
    """Returns {name: state} of files with these names relative to a folder."""
    base = os.path.join(folder, "")

    def read_state(name: str) -> FileState:
        try:
            status = os.stat(base + name)
        except OSError:
            return UNREADABLE
        return FileState(status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))

    names = list(names)
    return dict(zip(names, map_in_threads(read_state, names), strict=True))
