"""Files by which the launchers of several hosts learn that another host's part of the job ended with an error.

Connected groups report errors over the network (`failures.report_error_to_groups`). Before that the other launchers
would wait for the missing group or restart theirs. Therefore a launcher that ends with an error writes a note to the
run directory, and the other launchers poll for it.

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
        self._path = pathlib.Path(workdir) / FOLDER / group_name
        with contextlib.suppress(OSError):
            self._path.unlink()
            self._path.parent.rmdir()
        self._old_ids = {note_id for note_id, _, _ in self._read_others()}

    def write(self, exit_code: int) -> None:
        """Writes that this host's part of the job ended with an error."""
        note = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "code": exit_code}
        # If the directory cannot be written, that is probably what the error is about.
        with contextlib.suppress(OutputError):
            atomic_write(self._path, json.dumps(note))

    def read_new(self) -> tuple[int, str] | None:
        """Returns (exit code, `group_NN on HOST`) of a host whose part ended with an error, or None."""
        new = [(code, name) for note_id, code, name in self._read_others() if note_id not in self._old_ids]
        return new[0] if new else None

    def _read_others(self):
        """Returns (id, exit code, `group_NN on HOST`) of every note of another host."""
        notes = []
        for path in sorted(self._path.parent.glob("group_*")):
            # A file that is being replaced, or that is not a note, is skipped.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                note = json.loads(path.read_text(encoding="utf-8"))
                if path != self._path:
                    notes.append((note["id"], int(note["code"]), one_line(f"{path.name} on {note['host']}")))
        return notes
