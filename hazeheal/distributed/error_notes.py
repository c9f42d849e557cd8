"""What the launchers of several hosts tell each other: that one of them has ended with an error.

A process that meets an error that a person must act on tells the others over the network
(`training.failures`), once they have met. Before that, and where it could tell nothing, its launcher ends
and the others would wait, or start theirs again, for what does not come. So a launcher that ends like
that leaves a note in the run's directory, and the others look for it; on hosts that share no file system nobody
sees it, and they give up by themselves.

No clock tells an old note from a new one. What lies there when a launcher starts is of a job before, and each
note has a name of its own in it; a launcher begins by removing its own.
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
        workdir: The run's directory.
        own: Name of this host's first group, as in `group_02`, under which the others know it.
    """

    def __init__(self, workdir, *, own):
        self._folder = pathlib.Path(workdir) / FOLDER
        self._own = own
        with contextlib.suppress(OSError):
            (self._folder / own).unlink()
            self._folder.rmdir()
        self._old = {note["id"] for note in self._read()}

    def leave(self, code) -> None:
        """Tells the others that this host's part has ended with `code`, an error."""
        note = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "code": code}
        # A directory that cannot be written is most probably what the error is about.
        with contextlib.suppress(OutputError):
            atomic_write(self._folder / self._own, json.dumps(note))

    def news(self) -> tuple | None:
        """Returns (exit code, whose) of the first launcher of this job that has ended with an error, or None."""
        for note in self._read():
            if note["id"] not in self._old:
                return note["code"], f"{note['name']} on {one_line(note['host'])}"
        return None

    def _read(self):
        found = []
        with contextlib.suppress(OSError):
            for path in sorted(self._folder.glob("[!.]*")):
                if path.name != self._own:
                    # One that is being replaced, or is of somebody else.
                    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                        note = json.loads(path.read_text(encoding="utf-8"))
                        code, name = int(note["code"]), one_line(path.name)
                        found.append({"id": note["id"], "host": note["host"], "code": code, "name": name})
        return found
