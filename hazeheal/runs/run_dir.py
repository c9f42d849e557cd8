"""A run's directory: where everything lies, and who may write there.

RUN/config.json  RUN/result.json  RUN/status.json
RUN/group_00/checkpoints/  summaries/{train,val}/  samples/  training_log.csv  log.txt
"""

import contextlib
import json
import logging
import os
import pathlib
import time

from hazeheal import config as configs
from hazeheal.errors import HazeHealError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.file_lock import read_holder, try_lock, write_holder

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
                locked = _lock(file.fileno())
            except OSError as error:
                # Some network file systems have no locks; training there is allowed.
                LOG.warning("%s cannot be locked (%s); start no second run there", self.path, error.strerror)
                locked = True
            if not locked:
                raise HazeHealError(
                    f"--workdir={self.path} is in use by {read_holder(file.fileno())}; wait for it, or name another"
                )
            try:
                write_holder(file.fileno())
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


def _lock(descriptor: int) -> bool:
    """Tries several times, because `status.is_locked` takes the lock for a moment when it checks a run."""
    for _ in range(LOCK_TRIES):
        if try_lock(descriptor):
            return True
        time.sleep(LOCK_PAUSE)
    return False
