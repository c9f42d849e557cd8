"""Files by which the launchers of several hosts learn that another host's part of the job ended with an error.

A training process reports an error to the other groups over the network (`failures.report_error_to_groups`) once they
are connected. Before that, or if the report fails, the other launchers would wait for the missing group or restart
theirs. Therefore a launcher that ends with an error writes a note to the run directory, and the other launchers poll
for it. Without a shared file system the notes are not seen, and the other launchers give up by themselves.

No clocks are compared: every note has a random id, and the notes that exist when a launcher starts are from an earlier
job. A launcher removes its own old note when it starts.
"""

import contextlib
import json
import pathlib
import socket
import uuid

from hazeheal.errors import OutputError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.console import one_line

FOLDER = ".errors"


class ErrorNotes:
    """The notes of one job.

    Args:
        workdir: The run directory.
        group_name: Name of this host's first group, such as `group_02`. Identifies this host to the others.
    """

    def __init__(self, workdir: str | pathlib.Path, *, group_name: str):
        self._folder = pathlib.Path(workdir) / FOLDER
        self._group_name = group_name
        with contextlib.suppress(OSError):
            (self._folder / group_name).unlink()
            self._folder.rmdir()
        self._old_ids = {note["id"] for note in self._read_others()}

    def write(self, exit_code: int) -> None:
        """Writes that this host's part of the job ended with an error."""
        note = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "code": exit_code}
        # If the directory cannot be written, that is probably what the error is about.
        with contextlib.suppress(OutputError):
            atomic_write(self._folder / self._group_name, json.dumps(note))

    def read_new(self) -> tuple[int, str] | None:
        """Returns (exit code, `group_NN on HOST`) of a host whose part ended with an error, or None."""
        for note in self._read_others():
            if note["id"] not in self._old_ids:
                return note["code"], f"{note['name']} on {one_line(note['host'])}"
        return None

    def _read_others(self):
        notes = []
        with contextlib.suppress(OSError):
            for path in sorted(self._folder.glob("[!.]*")):
                if path.name != self._group_name:
                    # A file that is being replaced, or that is not a note, is skipped.
                    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                        note = json.loads(path.read_text(encoding="utf-8"))
                        code, name = int(note["code"]), one_line(path.name)
                        notes.append({"id": note["id"], "host": note["host"], "code": code, "name": name})
        return notes
