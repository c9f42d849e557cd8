"""A run's directory: where everything lies, and who may write there.

RUN/config.json  RUN/result.json
RUN/group_00/checkpoints/  summaries/{train,val}/  samples/  training_log.csv  log.txt
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket

from hazeheal import config as configs
from hazeheal.errors import HazeHealError


class RunDirectory:
    """Paths of one replica group in a run, the lock on them, and the run's two JSON files.

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
            raise HazeHealError(
                f"--workdir={self.path} cannot be written: {error.strerror}; name another"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise HazeHealError(
                    f"--workdir={self.path} is in use by {holder}; wait for it, or name another"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield self

    def save_config(self, config, *, step) -> list[str]:
        """Writes config.json; one that differs is kept as config.before-step-N.json.

        Returns:
            What differs, as 'train.epochs: 10 -> 20'.
        """
        new = configs.flat(config)
        changes = []
        if self.config.exists():
            try:
                old = configs.flat(configs.from_dict(json.loads(self.config.read_text(encoding="utf-8"))))
            except (OSError, ValueError) as error:
                raise HazeHealError(
                    f"{self.config} cannot be read ({error}); move it away to go on"
                ) from error
            keys = dict.fromkeys([*old, *new])
            changes = [f"{k}: {old.get(k)} -> {new.get(k)}" for k in keys if old.get(k) != new.get(k)]
            if not changes:
                return []
            kept = self.path / f"config.before-step-{step}.json"
            if not kept.exists():
                os.link(self.config, kept)
        write_aside(self.config, configs.to_json(config))
        return changes

    def save_result(self, result: dict) -> None:
        write_aside(self.result, json.dumps(result, indent=2) + "\n")

    def load_result(self) -> dict:
        """Returns result.json, or {} where there is none."""
        try:
            return json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def write_aside(path, text: str) -> None:
    """Writes a small file so that a reader sees the old one or the new one, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise HazeHealError(f"{path} cannot be written: {error.strerror}") from error
