"""The files of a directory of caches of decoded images: where it is, what is in it, and how to remove it."""

import os
import pathlib

from hazeheal.utils import file_lock
from hazeheal.utils.atomic import is_temporary

SUFFIX = ".pixels"
LOCK = "lock"  # held by the process that builds a cache in the directory


def default_directory() -> pathlib.Path:
    """Returns this user's directory of caches: `$XDG_CACHE_HOME/hazeheal`, or `~/.cache/hazeheal`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path("~/.cache").expanduser()) / "hazeheal"


def list_caches(directory: pathlib.Path) -> list[pathlib.Path]:
    """Returns the complete caches in a directory, in alphabetical order; none if it does not exist."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.suffix == SUFFIX and not is_temporary(path.name))


def remove_leftovers(directory: pathlib.Path) -> None:
    """Removes what builders that were killed left behind, unless a process builds in the directory now."""
    try:
        with open(directory / LOCK, "ab") as lock:
            if file_lock.try_lock(lock.fileno()):
                remove_leftovers_locked(directory)
    except FileNotFoundError:
        pass  # no directory


def remove_leftovers_locked(directory: pathlib.Path) -> None:
    """`remove_leftovers` for a caller that holds the lock."""
    for path in directory.iterdir():
        if is_temporary(path.name):
            path.unlink(missing_ok=True)
