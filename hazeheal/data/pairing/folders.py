"""The image files in a folder: sub-folders are walked, links followed, and names are relative, with `/`."""

import collections
import os
import pathlib

from hazeheal.data.images.image_io import IMAGE_SUFFIXES
from hazeheal.errors import DataError, UsageError

# To one folder, through links: where many folders link to each other, there is no end of ways.
MOST_WAYS = 1000


def find_folder(folder, flag: str) -> pathlib.Path:
    """The path of a folder that must be there; UsageError where it is not, which names the flag."""
    path = pathlib.Path(folder)
    try:
        state = "does not exist" if not os.path.lexists(path) or not path.exists() else "is not a folder"
        if os.fspath(folder) and path.is_dir():
            return path
    except OSError as error:
        state = f"cannot be reached ({error.strerror})"
    raise UsageError(f"{flag}={os.fspath(folder)!r} {state}; give the folder that holds the images")


def list_images(
    folder: pathlib.Path, flag: str, *, other: pathlib.Path | None = None
) -> tuple[list[str], list[str]]:
    """Relative names of all image files under `folder`, sorted; notes on what was passed over.

    Args:
        folder: It is there.
        flag: What errors and notes call it.
        other: Left out where it lies inside `folder`: its files have the other role.

    Raises:
        DataError: It holds no images, cannot be read, or a name is no valid text.
    """
    names, passed_over, notes = [], collections.Counter(), []
    other_identity, ways = other and identity(other), collections.Counter()
    pending = [(os.fspath(folder), "", frozenset([identity(folder)]))]
    while pending:  # no recursion: folders can lie deeper than Python calls
        path, prefix, above = pending.pop()
        try:
            with os.scandir(path) as opened:
                entries = list(opened)
        except OSError as error:
            raise DataError(f"{flag}: folder {path} cannot be read ({error.strerror}); check it") from error
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                passed_over["hidden"] += 1
            elif _is_folder(entry):  # through links too, but never in a circle
                this = identity(entry.path)
                ways[this] += this not in above
                if this in above:
                    passed_over["circular link"] += 1
                elif this == other_identity:
                    notes.append(f"{flag}: left out {prefix}{entry.name}/, which is the other folder")
                elif ways[this] > MOST_WAYS:
                    raise DataError(
                        f"{flag}: links lead to folder {entry.path} in more than {MOST_WAYS} ways; remove some of them"
                    )
                else:
                    pending.append((entry.path, f"{prefix}{entry.name}/", above | {this}))
            elif suffix in IMAGE_SUFFIXES:
                names.append(prefix + entry.name)
            else:
                passed_over[suffix or "without suffix"] += 1
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{flag}: the name {os.fsencode(name)!r} is no valid UTF-8; rename it") from None
    kinds = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{count} {kind}" for kind, count in kinds[:6]) + (", ..." if len(kinds) > 6 else "")
    text = text.encode("utf-8", "backslashreplace").decode()
    if not names:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(
            f"{flag}={folder} holds no images (found: {text or 'nothing'}); looked for {suffixes}"
        )
    if text:
        notes.append(f"{flag}: passed over {sum(passed_over.values())} that are no images ({text})")
    return sorted(names), sorted(notes)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: named when it is read
        return False


def identity(path) -> tuple[int, int]:
    """What is equal for two paths of one folder or file."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
