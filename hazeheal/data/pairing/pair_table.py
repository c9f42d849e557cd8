r"""Reads a table of pairs: a CSV file with the columns `hazy` and `clear`, and optionally `split` and `scene`.

hazy,clear,split
tianjin/fog/tianjin_01.png,tianjin/gt/tianjin_clear.png,train
beijing/fog/beijing_01.png,beijing/gt/beijing_clear.png,val

A table expresses any layout of folders. The names are relative to the folder of the table, or to the folders that are
given, and have `/` or `\`. The separator is a comma, a semicolon or a tab.
"""

import csv
import dataclasses
import io
import os
import pathlib
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator

from hazeheal.data.pairing.file_states import UNREADABLE, FileState, read_states
from hazeheal.data.pairing.folders import find_folder, is_system
from hazeheal.data.pairing.pairing import Pairing, PairName, refuse_same_file, unique_keys
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few
from hazeheal.utils.text_files import read_text

RULE = "table"  # the name of this way of pairing
COLUMNS = ("hazy", "clear", "split", "scene")
SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
_SPLIT_NAMES |= {split: split for split in SPLITS}
_DELIMITERS = ",;\t"


@dataclasses.dataclass(frozen=True)
class PairTable:
    """The contents of a table.

    Attributes:
        pairing: The pairs, without leftovers. The scene of a pair is that of the table, or its clear file.
        splits: {pair key: split}; empty if the table has no column `split`.
        has_scenes: Whether the table has a column `scene`.
        hazy_dir, gt_dir: The folders that the names in `pairing` are relative to.
    """

    pairing: Pairing
    splits: dict[str, str]
    has_scenes: bool
    hazy_dir: pathlib.Path
    gt_dir: pathlib.Path


def read_pair_table(
    path: str | os.PathLike, *, hazy_dir: str | os.PathLike | None = None, gt_dir: str | os.PathLike | None = None
) -> PairTable:
    """Reads a table of pairs, and finds its files. No image is opened.

    Args:
        path: The CSV file.
        hazy_dir, gt_dir: Folders that the names in the columns `hazy` and `clear` are relative to; by default, the
            folder of the table.

    Raises:
        UsageError: The table cannot be read or has invalid rows, which the message quotes; a folder does not exist.
        DataError: Files do not exist, or both names of a pair lead to the same file.
    """
    columns, rows = _read_rows(path)
    here = pathlib.Path(path).parent
    folders = {
        "hazy": find_folder(here if hazy_dir is None else hazy_dir, "hazy_dir"),
        "clear": find_folder(here if gt_dir is None else gt_dir, "gt_dir"),
    }
    problems, found = [], {}
    for side, folder in folders.items():
        names = [row[side] for _, row in rows]
        found[side] = files = _find_files(folder, dict.fromkeys(names))
        problems += [
            f"line {number}: {side} {name!r} {_explain_missing(folder, name)}"
            for (number, _), name in zip(rows, names, strict=True)
            if name not in files
        ]
    _refuse(problems, path, DataError)
    lines = {}
    for number, row in rows:
        name = found["hazy"][row["hazy"]][0]
        if name in lines:
            problems.append(f"line {number}: hazy {name!r} is in line {lines[name]} too")
        lines.setdefault(name, number)
        if "split" in columns and row["split"].strip().lower() not in _SPLIT_NAMES:
            problems.append(f"line {number}: split {row['split']!r} is none of {', '.join(SPLITS)}")
    _refuse(problems, path, UsageError)
    pairs, splits, keys = [], {}, unique_keys(lines)
    for _, row in rows:
        (hazy, _), (clear, _) = (found[side][row[side]] for side in folders)
        scene = row["scene"].strip() if "scene" in columns else ""
        pairs.append(PairName(keys[hazy], hazy, clear, scene or clear))
        if "split" in columns:
            splits[keys[hazy]] = _SPLIT_NAMES[row["split"].strip().lower()]
    states = {side: dict(files.values()) for side, files in found.items()}
    pairing = Pairing(
        rule=RULE,
        pairs=sorted(pairs, key=lambda pair: pair.key),
        orphans_hazy=[],
        orphans_clear=[],
        ambiguous=[],
        hazy_states=states["hazy"],
        clear_states=states["clear"],
    )
    refuse_same_file(pairing, folders["hazy"], folders["clear"])
    return PairTable(pairing, splits, "scene" in columns, folders["hazy"], folders["clear"])


def _read_rows(path: str | os.PathLike) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Returns the columns of a table, and the line number and values of each row."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--pairs={os.fspath(path)} cannot be read ({error}); give a CSV file") from error
    head = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, row) for row in map(_strip_end, reader) if row]
    except csv.Error as error:
        raise UsageError(f"--pairs={os.fspath(path)}: line {reader.line_num}: {error}; give a CSV file") from error
    columns = [column.strip().lower() for column in lines[0][1]] if lines else []
    if not {"hazy", "clear"} <= set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
        raise UsageError(
            f"--pairs={os.fspath(path)}: the first line {head!r} must be a header with the columns hazy and clear, and "
            "optionally split and scene"
        )
    problems = [
        f"line {number} {delimiter.join(row)!r} has {len(row)} values for {len(columns)} columns"
        for number, row in lines[1:]
        if len(row) > len(columns)
    ]
    _refuse(problems, path, UsageError)
    if len(lines) < 2:
        raise UsageError(f"--pairs={os.fspath(path)} lists no pairs")
    rows = [(number, [*row, *[""] * (len(columns) - len(row))]) for number, row in lines[1:]]
    return columns, [(number, dict(zip(columns, row, strict=True))) for number, row in rows]


def _strip_end(row: list[str]) -> list[str]:
    """Drops empty values at the end of a row, which spreadsheets add."""
    while row and not row[-1].strip():
        row = row[:-1]
    return row


def _refuse(problems: list[str], path: str | os.PathLike, error: type[Exception]) -> None:
    if problems:
        raise error(f"--pairs={os.fspath(path)}: {len(problems)} rows are wrong: {first_few(problems)}")


def _find_files(folder: pathlib.Path, names: Iterable[str]) -> dict[str, tuple[str, FileState]]:
    """Returns {name in the table: (name relative to the folder, state)} of the files that exist and may be used."""
    readings = {name: list(dict.fromkeys(_readings(folder, name))) for name in names}
    candidates = {reading for all_of_one in readings.values() for reading in all_of_one}
    states = {name: state for name, state in read_states(folder, candidates).items() if state != UNREADABLE}
    found = {name: next((r for r in all_of_one if r in states), None) for name, all_of_one in readings.items()}
    return {name: (reading, states[reading]) for name, reading in found.items() if reading is not None}


def _readings(folder: pathlib.Path, text: str) -> Iterator[str]:
    """Yields the names of files below `folder` that a value of the table may mean, the literal one first."""
    for name in (text, text.strip(), text.strip().replace("\\", "/")):
        if os.path.isabs(name):
            name = os.path.relpath(name, os.path.abspath(folder))
        name = posixpath.normpath(name)
        if name not in (".", "..") and not name.startswith("../") and not any(map(is_system, name.split("/"))):
            yield from (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))


def _explain_missing(folder: pathlib.Path, name: str) -> str:
    if not name.strip():
        return "is empty"
    path = posixpath.normpath(name.strip().replace("\\", "/"))
    if any(is_system(part) and part != ".." for part in path.split("/")):
        return "is hidden, or is in a folder of the system"
    if path.startswith("..") or (os.path.isabs(path) and not pathlib.Path(path).is_relative_to(folder.absolute())):
        return f"leads out of {folder}; give the folder that holds all images with --hazy_dir and --gt_dir"
    return f"does not exist in {folder}"
