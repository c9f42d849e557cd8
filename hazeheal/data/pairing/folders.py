"""Lists the image files of a folder and its subfolders, following links, with relative names and `/`.

`is_system` is the one rule for what is never an image of the user's: hidden files and folders, and the folders in which
operating systems, file servers and archives keep thumbnails, deleted files and metadata.
"""

import collections
import itertools
import os
import pathlib
from collections.abc import Callable

from hazeheal.data.images.image_io import IMAGE_SUFFIXES
from hazeheal.data.images.plugins import RAW_SUFFIXES, describe_raw
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few, progress_bar

# Maximum number of paths to one folder through links. If many folders link to each other, the number explodes.
MAX_PATHS = 1000

# In lower case. Hidden ones (.Trash, .snapshot, .@__thumb, ._name.png, ...) need no entry.
SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "@sharebin", "@synoresource", "#recycle", "#snapshot"),
        *("~snapshot", "lost+found", "lost.dir", "found.000", "$recycle.bin", "recycler"),
        *("system volume information", "__macosx", "network trash folder", "temporary items"),
    )
)


def is_system(name: str) -> bool:
    """Returns whether a file or folder of this name is hidden, or is a folder of a file server or operating system."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def find_folder(folder: str | os.PathLike, flag: str) -> pathlib.Path:
    """Returns the path of a folder; raises UsageError, with the name of the flag, if it is not a folder."""
    if not os.path.isdir(folder):
        raise UsageError(
            f"{flag}={os.fspath(folder)!r} is not an existing folder; give the folder that holds the images"
        )
    return pathlib.Path(folder)


def list_images(folder: pathlib.Path, flag: str, *, other: pathlib.Path | None = None) -> tuple[list[str], list[str]]:
    """Returns the relative names of all image files under a folder, sorted, and notes on ignored files.

    Args:
        folder: An existing folder.
        flag: Name of the folder in errors and notes.
        other: The folder of the other role. It is not listed if it is inside `folder`.

    Raises:
        DataError: The folder has no images or cannot be read, or a name is not valid UTF-8.
    """
    with progress_bar(lines=True, desc=f"scanning {flag}", unit="file", leave=False, delay=1) as bar:
        names, notes, ignored, raw = _scan(folder, flag, other, advance=bar.update)
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{flag}: the name {os.fsencode(name)!r} is not valid UTF-8; rename the file") from None
    kinds = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    text = first_few([f"{count} {kind}" for kind, count in kinds], 6)
    if not names:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        found = f"{text or 'nothing'}" + (f"; {describe_raw(sorted(raw))}" if raw else "")
        raise DataError(f"{flag}={folder} has no images (found: {found}); image suffixes are {suffixes}")
    if raw:
        notes.append(f"{flag}: {describe_raw(sorted(raw))}")
    if text:
        notes.append(f"{flag}: ignored {sum(ignored.values())} entries that are not images ({text})")
    return sorted(names), sorted(notes)


def _scan(
    folder: pathlib.Path, flag: str, other: pathlib.Path | None, *, advance: Callable[[int], object]
) -> tuple[list[str], list[str], collections.Counter, list[str]]:
    """Returns the names of the images in any order, notes, the number of other entries by kind, and camera raw files."""
    names, notes, raw, ignored, paths = [], [], [], collections.Counter(), collections.Counter()
    other_identity = other and identity(other)
    pending = [(os.fspath(folder), "", frozenset([identity(folder)]))]
    while pending:  # No recursion: folders can be nested deeper than Python calls.
        path, prefix, parents = pending.pop()
        entries = []
        try:
            with os.scandir(path) as opened:
                while block := list(itertools.islice(opened, 1000)):
                    entries += block
                    advance(len(block))
        except OSError as error:
            raise DataError(f"{flag}: folder {path} cannot be read ({error.strerror}); check it") from error
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if is_system(entry.name):
                ignored["hidden" if entry.name.startswith(".") else entry.name] += 1
            elif _is_folder(entry):  # through links too, but never in a cycle
                this = identity(entry.path)
                paths[this] += this not in parents
                if this in parents:
                    ignored["circular link"] += 1
                elif this == other_identity:
                    notes.append(f"{flag}: ignored {prefix}{entry.name}/, which is the other folder")
                elif paths[this] > MAX_PATHS:
                    raise DataError(
                        f"{flag}: more than {MAX_PATHS} paths lead to folder {entry.path} through links; remove some links"
                    )
                else:
                    pending.append((entry.path, f"{prefix}{entry.name}/", parents | {this}))
            elif suffix in IMAGE_SUFFIXES:
                names.append(prefix + entry.name)
            else:
                ignored[suffix or "without suffix"] += 1
                if suffix in RAW_SUFFIXES:
                    raw.append(prefix + entry.name)
    return names, notes, ignored, raw


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself. Reading it reports the error.
        return False


def identity(path: str | os.PathLike) -> tuple[int, int]:
    """Returns the device and inode of a file or folder, which are equal for all paths to it."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
