"""A run's directory: the paths of its files, the lock on it, and its configuration and result.

RUN/config.json  RUN/result.json  RUN/status.json  RUN/xla_cache/
RUN/group_00/checkpoints/  summaries/{train,val}/  samples/  training_log.csv  log.txt
"""

import contextlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hazeheal import config as configs
from hazeheal.errors import HazeHealError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.file_lock import read_holder, try_lock, write_holder

if TYPE_CHECKING:
    from ml_collections import ConfigDict

LOG = logging.getLogger("hazeheal")
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 10, 0.03


class RunDirectory:
    """Paths and JSON files of a run, as one replica group sees them.

    Attributes:
        path: RUN; it need not exist.
        group: RUN/group_NN.
        checkpoints, summaries, samples: Directories in `group`.
        training_log, log: training_log.csv and log.txt in `group`.
        result, config, status: The JSON files in `path`.
    """

    def __init__(self, path: str | pathlib.Path, *, group: int = 0):
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

    def other_checkpoints(self) -> list[pathlib.Path]:
        """Returns the `checkpoints/` of the other groups that are visible in this file system."""
        return [p for p in sorted(self.path.glob("group_*/checkpoints")) if p != self.checkpoints]

    @contextlib.contextmanager
    def locked(self) -> Iterator["RunDirectory"]:
        """Holds the group's lock within the block, so that two runs cannot write to one directory.

        Raises:
            HazeHealError: Another process holds the lock, or the directory cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.group.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(self.group / ".lock", "a+", encoding="utf-8"))
                if not self._try_lock(file.fileno()):
                    raise HazeHealError(
                        f"--workdir={self.path} is in use by {read_holder(file.fileno())}; wait until it ends, or use "
                        "another directory"
                    )
                write_holder(file.fileno())
            except OSError as error:
                raise HazeHealError(
                    f"--workdir={self.path} cannot be written: {error.strerror}; use another directory"
                ) from error
            try:
                yield self
            finally:
                os.ftruncate(file.fileno(), 0)

    def _try_lock(self, descriptor):
        """Returns whether the lock is held. Tries several times, as `status.is_locked` takes it for a moment."""
        try:
            for _ in range(_LOCK_TRIES):
                if try_lock(descriptor):
                    return True
                time.sleep(_LOCK_PAUSE_SECONDS)
        except OSError as error:
            # Some network file systems have no locks. Training there is allowed.
            LOG.warning("%s cannot be locked (%s); start no second run there", self.path, error.strerror)
            return True
        return False

    def load_config(self) -> "ConfigDict | None":
        """Returns the configuration in config.json, or None if the run has none.

        Raises:
            HazeHealError: config.json cannot be read.
        """
        if not self.config.exists():
            return None
        try:
            return configs.from_dict(json.loads(self.config.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise HazeHealError(f"{self.config} cannot be read ({error}); move or delete it") from error

    def save_config(self, config: "ConfigDict", *, step: int) -> list[str]:
        """Writes config.json. If an existing one differs, it is kept as config.before-step-N.json.

        Args:
            config: The configuration.
            step: The step N from which the run continues with it.

        Returns:
            The differences, as `train.epochs: 10 -> 20`.
        """
        new = configs.flat(configs.from_dict(json.loads(configs.to_json(config))))
        changes = []
        stored = self.load_config()
        if stored is not None:
            old = configs.flat(stored)
            keys = dict.fromkeys([*old, *new])
            changes = [f"{k}: {old.get(k)} -> {new.get(k)}" for k in keys if old.get(k) != new.get(k)]
            if not changes:
                return []
            backup = self.path / f"config.before-step-{step}.json"
            if not backup.exists():
                atomic_write(backup, self.config.read_text(encoding="utf-8"))
        atomic_write(self.config, configs.to_json(config))
        return changes

    def save_result(self, result: dict[str, Any]) -> None:
        """Writes result.json."""
        atomic_write(self.result, json.dumps(result, indent=2) + "\n")

    def load_result(self) -> dict[str, Any]:
        """Returns the contents of result.json, or {} if it does not exist or cannot be read."""
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return result if isinstance(result, dict) else {}
