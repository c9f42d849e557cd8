"""Which settings made the results in a folder, so that those of other settings are not taken for them.

    record = ResultsRecord("restored", {"model": "best", "strength": 1.0})
    record.check(paths)            # refuses existing files that other settings have made
    record.add(path)

The file `.hazeheal.jsonl` in the folder has a line for each new combination of settings and for each result. The last
line of a result counts. Several processes may append to it.
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hazeheal.errors import OutputError, UsageError

NAME = ".hazeheal.jsonl"


class ResultsRecord:
    """The record of one folder."""

    def __init__(self, folder: str | os.PathLike, settings: Mapping[str, Any]) -> None:
        """Reads the record, if there is one.

        Args:
            folder: The folder of the results, which may not exist yet.
            settings: All that determines the results, by the names of the flags; JSON types.
        """
        self._folder = pathlib.Path(folder)
        self._path = self._folder / NAME
        self._settings = dict(settings)
        self._key = hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode()).hexdigest()[:16]
        self._known: dict[str, dict] = {}  # {key: settings}
        self._files: dict[str, str] = {}  # {relative path: key}
        self._read()

    def _read(self):
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                entry = json.loads(line)
                if "file" in entry:
                    self._files[entry["file"]] = entry["settings"]
                else:
                    self._known[entry["settings"]] = dict(entry["values"])
            except (ValueError, TypeError, KeyError):  # the line that was being written when the machine went down
                continue

    def has(self, path: pathlib.Path) -> bool:
        """Returns whether a file is a result of any settings."""
        return self._name(path) in self._files

    def check(self, paths: Iterable[pathlib.Path]) -> None:
        """Checks that existing results were made with the same settings.

        Raises:
            UsageError: One was made with others, or is not a result.
        """
        for path in paths:
            key = self._files.get(self._name(path))
            if key == self._key or not os.path.lexists(path):
                continue
            advice = "replace it with --overwrite, or name another --output"
            if key is None:
                raise UsageError(f"{path} exists, but {NAME} does not list it as a result; {advice}")
            raise UsageError(f"{path} was made with {self._describe(self._known.get(key, {}))}; {advice}")

    def add(self, path: pathlib.Path) -> None:
        """Records that a result is made with the settings.

        Raises:
            OutputError: The record cannot be written.
        """
        name, lines = self._name(path), []
        if self._known.get(self._key) != self._settings:
            lines.append({"settings": self._key, "values": self._settings})
            self._known[self._key] = self._settings
        if self._files.get(name) != self._key:
            lines.append({"file": name, "settings": self._key})
            self._files[name] = self._key
        if not lines:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab") as file:  # one write appends all or nothing, whoever else appends
                file.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _name(self, path):
        return pathlib.PurePath(os.path.relpath(path, self._folder)).as_posix()

    def _describe(self, other):
        """Returns how other settings differ from these."""
        names = [name for name in {**other, **self._settings} if other.get(name) != self._settings.get(name)]
        texts = [f"{name}={other.get(name)} (now {self._settings.get(name)})" for name in names]
        return ", ".join(texts) or "other settings"


@contextlib.contextmanager
def recorded(record: ResultsRecord | None, path: pathlib.Path) -> Iterator[None]:
    """Context manager around writing a result: adds it to the record.

    A new result is added before it is written, and one that replaces another after that. If the process is killed in
    between, the next one does not take the other result for this one.
    """
    is_new = not os.path.lexists(path)
    if record is not None and is_new:
        record.add(path)
    yield
    if record is not None and not is_new:
        record.add(path)
