r"""Reads `--val_keys`: a file that lists the validation split, by any of the names of its images.

A line is a scene, a pair key, or the name of a hazy or clear file: with or without its suffix, relative to its folder or
to a parent of it, or absolute; with `/` or `\`, in quotes or not. A line that begins with `#` is a comment, unless it is
a name. A table whose header has a column `key`, `hazy`, `clear` or `scene` lists that column.
"""

import collections
import csv
import os
import pathlib
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence

from hazeheal.errors import UsageError
from hazeheal.utils.console import first_few, one_line
from hazeheal.utils.text_files import read_text, split_lines
from tfrecords_tools.convert.pair_records import SourcePair

_COLUMNS = ("key", "hazy", "clear", "scene")  # the first that a table has is used


def read_val_keys(
    path: str | pathlib.Path, pairs: Sequence[SourcePair], *, folders: Sequence[str | pathlib.Path] = ()
) -> set[str]:
    """Returns the scenes that a file lists.

    Args:
        path: The file.
        pairs: All pairs of the data set.
        folders: The folders of the hazy and clear images, to recognize names that begin with a part of their paths.

    Raises:
        UsageError: The file cannot be read, is empty, names an unknown image or images of several scenes, or lists
            all scenes. The message quotes the lines that are wrong.
    """
    try:
        lines = split_lines(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--val_keys={path} cannot be read ({error}); give a text file of keys") from error
    names = _Names(pairs, folders)
    chosen, wrong, comments, several = set(), [], [], []
    for number, line in _entries(lines, names):
        scenes = names.find(line)
        quoted = f"line {number} {line!r}"
        if len(scenes) == 1:
            chosen |= scenes
        elif scenes:
            several.append(f"{quoted} ({first_few(sorted(scenes))})")
        elif line.lstrip().startswith("#"):
            comments.append(quoted)
        else:
            wrong.append(quoted)
    if wrong:
        example = pairs[0]
        raise UsageError(
            f"--val_keys={path}: {len(wrong)} lines name no image of the data set: {first_few(wrong)}; a line is a pair "
            f"key ({one_line(example.key)}), or the name of a hazy file ({one_line(example.hazy)}) or of a clear file "
            f"({one_line(example.clear)})"
        )
    if several:
        raise UsageError(
            f"--val_keys={path}: {len(several)} lines name images of several scenes: {first_few(several)}; write their "
            "folders and suffixes too"
        )
    if not chosen:
        read = f" (comments: {first_few(comments)})" if comments else ""
        raise UsageError(f"--val_keys={path} lists no keys{read}; list one on each line, or give --val_fraction=0")
    if chosen >= {pair.scene for pair in pairs}:
        raise UsageError(f"--val_keys={path} lists every scene; nothing is left to train on")
    return chosen


def _entries(lines: list[str], names: "_Names") -> Iterator[tuple[int, str]]:
    """Yields (line number, entry) of each line that is not empty; of a table, the entries of one column."""
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    header = filled[0][1] if filled else ""
    for delimiter in ",;\t":
        columns = [column.strip().strip('"').lower() for column in header.split(delimiter)]
        if len(columns) > 1 and set(columns) <= set(_COLUMNS) and not names.find(header):
            column = min(columns, key=_COLUMNS.index)
            for (number, _), row in zip(
                filled, csv.reader((line for _, line in filled), delimiter=delimiter), strict=False
            ):
                if number != filled[0][0]:
                    yield number, row[columns.index(column)] if len(row) == len(columns) else delimiter.join(row)
            return
    yield from filled


class _Names:
    """Finds the scenes that have a name, in the order of the names' precision."""

    def __init__(self, pairs: Sequence[SourcePair], folders: Sequence[str | pathlib.Path]):
        self._levels = [collections.defaultdict(set) for _ in range(5)]
        for pair in pairs:
            files = pair.hazy, pair.clear
            stems = [posixpath.splitext(name)[0] for name in files]
            ends = [posixpath.basename(name) for name in (*files, *stems)]
            for level, found in zip(
                self._levels, ((pair.scene,), (pair.key, pair.clear), files, stems, ends), strict=True
            ):
                for name in found:
                    level[unicodedata.normalize("NFC", name)].add(pair.scene)
        self._folders = [pathlib.PurePath(os.path.abspath(folder)).parts for folder in folders]

    def find(self, line: str) -> set[str]:
        """Returns the scenes that the most precise reading of a line names; empty if no reading names any."""
        text = unicodedata.normalize("NFC", line)
        quoted = text.strip()
        readings = [text, quoted, quoted.rstrip(",;")]
        if len(quoted) > 2 and quoted[0] == quoted[-1] and quoted[0] in "\"'":
            readings.append(quoted[1:-1])
        readings += [reading.replace("\\", "/") for reading in readings]
        readings += [posixpath.normpath(reading) for reading in readings]
        for reading in dict.fromkeys(readings):
            for name in (reading, *self._below_folders(reading)):
                for level in self._levels:
                    if name in level:
                        return level[name]
        return set()

    def _below_folders(self, name: str) -> Iterator[str]:
        """Yields what remains of `a/hazy/b/1.png` if `.../a/hazy` is a folder of images: `b/1.png`."""
        parts = pathlib.PurePosixPath(name).parts
        for folder in self._folders:
            for count in range(1, len(parts)):
                if parts[:count] == folder[-count:]:
                    yield "/".join(parts[count:])
