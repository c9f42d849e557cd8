"""A run's directory: where everything lies, and who may write there.

RUN/config.json  RUN/result.json  RUN/status.json
RUN/group_00/checkpoints/  summaries/{train,val}/  samples/  training_log.csv  log.txt
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import pathlib
import socket
import time

from hazeheal import config as configs
from hazeheal.errors import HazeHealError
from hazeheal.utils.atomic import atomic_write

LOG = logging.getLogger("hazeheal")
LOCK_TRIES, LOCK_PAUSE = 10, 0.03


class RunDirectory:
    """Paths of one replica group in a run, the lock on them, and the run's JSON files.

    Attributes:
        path: RUN.
        group: RUN/group_NN, of this process.
    """

    def __init__(self, path, *, group=0):
        self.path = pathlib.Path(path)
        self.group = self.path / f"group_{group:02d}"
        self.checkpoints = self.group / "checkpoints"
        self.summaries = self.group / "summaries"
        self.samples = self.group / "samples"
        self.training_log = self.group / "training_log.csv"
        self.log = self.group / "log.txt"
        self.result = self.path / "result.json"
        self.config = self.path / "config.json"
        self.status = self.path / "status.json"

    def other_checkpoints(self) -> list:
        """The `checkpoints/` of the run's other groups, as far as this file system shows them."""
        return [p for p in sorted(self.path.glob("group_*/checkpoints")) if p != self.checkpoints]

    @contextlib.contextmanager
    def locked(self):
        """Holds the group's lock, so that two runs cannot write to one directory.

        The lock is the operating system's (flock): that of a process that died stops nobody.

        Raises:
            HazeHealError: Another process holds it, or the directory cannot be written.
        """
        try:
            self.group.mkdir(parents=True, exist_ok=True)
            file = open(self.group / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (held while running)
        except OSError as error:
            raise self._unusable(error) from error
        with file:
            try:
                _lock(file)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    # Some network file systems know no locks; that should not forbid to train there.
                    LOG.warning(
                        "%s cannot be locked (%s); start no second run there", self.path, error.strerror
                    )
                else:
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    raise HazeHealError(
                        f"--workdir={self.path} is in use by {holder}; wait for it, or name another"
                    ) from None
            try:
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
            except OSError as error:
                raise self._unusable(error) from error
            try:
                yield self
            finally:
                os.ftruncate(file.fileno(), 0)

    def _unusable(self, error):
        return HazeHealError(f"--workdir={self.path} cannot be written: {error.strerror}; name another")

    def save_config(self, config, *, step) -> list[str]:
        """Writes config.json; one that differs is kept as config.before-step-N.json.

        Returns:
            What differs, as 'train.epochs: 10 -> 20'.
        """
        new = configs.flat(configs.from_dict(json.loads(configs.to_json(config))))
        changes = []
        if self.config.exists():
            try:
                text = self.config.read_text(encoding="utf-8")
                old = configs.flat(configs.from_dict(json.loads(text)))
            except (OSError, ValueError, TypeError, AttributeError) as error:
                raise HazeHealError(
                    f"{self.config} cannot be read ({error}); move it away to go on"
                ) from error
            keys = dict.fromkeys([*old, *new])
            changes = [f"{k}: {old.get(k)} -> {new.get(k)}" for k in keys if old.get(k) != new.get(k)]
            if not changes:
                return []
            kept = self.path / f"config.before-step-{step}.json"
            if not kept.exists():
                atomic_write(kept, text)
        atomic_write(self.config, configs.to_json(config))
        return changes

    def save_result(self, result: dict) -> None:
        atomic_write(self.result, json.dumps(result, indent=2) + "\n")

    def load_result(self) -> dict:
        """Returns result.json, or {} where there is none that can be read."""
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return result if isinstance(result, dict) else {}


def _lock(file):
    """Takes the lock, also where somebody holds it for a moment who only asks whether it is free (`status.is_held`)."""
    for left in reversed(range(LOCK_TRIES)):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(LOCK_PAUSE)
