"""RUN/status.json: what a run is doing, for schedulers, scripts and people.

    status = Status(directory, total_steps=2000, facts={"replicas": 2})
    with status.record_failure():
        status.begin()
        status.log(60, losses={"gen_l1_loss": 0.1}, rates={"images_per_second": 41.0})
    read_status("RUN")                                  # {"state": "killed", ...}

A killed process cannot write its final state. `read_status` checks the lock of the run (`run_dir`), which the
operating system releases when the process dies. Does not import TensorFlow.
"""

import contextlib
import datetime
import fractions
import json
import logging
import math
import os
import pathlib
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from hazeheal.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, HazeHealError, OutputError
from hazeheal.runs import checkpoints
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.console import one_line
from hazeheal.utils.file_lock import try_lock

LOG = logging.getLogger("hazeheal")

RATES = ("images_per_second", "images_per_second_wall", "overhead_share")
# In the order of the file; `facts` follow. A value that is not known is null.
_FIELDS = (
    *("state", "reason", "exit_code", "step", "steps", "epoch", *RATES, "eta_seconds"),
    *("best_psnr", "best_step", "losses", "validation", "checkpoint_step"),
    *("host", "boot", "pid", "started", "updated"),
)
ACTIVE = ("starting", "training", "validating", "saving")
# Least time between two writes of new figures. A new state is written at once.
WRITE_SECONDS = 1.0
# After this long without a write a run counts as silent. The first step takes longer, as it is compiled.
SILENT_SECONDS, SILENT_STARTING_SECONDS = 600.0, 1800.0


class Status:
    """Writes the status.json of one run. If a write fails, it logs one warning and training continues.

    Args:
        directory: The run.
        total_steps: Number of steps after which the run is complete.
        steps_per_epoch: Need not be an integer; None: epochs are not reported.
        facts: Further constant entries, of JSON values.
        enabled: Whether to write. Only the first of several replica groups does.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        total_steps: int,
        steps_per_epoch: fractions.Fraction | float | None = None,
        facts: Mapping[str, Any] | None = None,
        enabled: bool = True,
    ):
        self._directory = directory
        self._enabled = enabled
        self._steps_per_epoch = steps_per_epoch
        self._written_at = -math.inf
        # (step, time) after the first steps, so that the pace does not include the compilation.
        self._pace_start = None
        self._has_warned = False
        self._facts = dict.fromkeys(_FIELDS) | {
            "state": "starting",
            "step": 0,
            "steps": total_steps,
            "losses": {},
        }
        self._facts |= {
            "host": socket.gethostname(),
            "boot": boot_id(),
            "pid": os.getpid(),
            "started": _now(),
        }
        self._facts |= facts or {}

    def begin(self) -> None:
        """Writes the first status, unless the run is already complete; then its final status stays."""
        if self._directory.load_result().get("steps") != self._facts["steps"]:
            self._write()

    def restored(self, step: int) -> None:
        """Records that training starts from `step`: that of the restored checkpoint, or 0."""
        self._pace_start = None
        self._find_best_checkpoint()
        self.enter("starting", step=step)

    def enter(self, state: str, *, step: int | None = None) -> None:
        """Changes the state, and the step unless it is None."""
        self._facts["state"] = state
        self._set_step(step)
        self._write()

    def beat(self, step: int | None = None) -> None:
        """Records that the process is alive, and that `step` steps are done unless it is None."""
        if step is not None:
            self._facts["state"] = "training"
            self._pace_start = self._pace_start or (step, time.monotonic())
            self._set_step(step)
        self._write(min_seconds=WRITE_SECONDS)

    def log(self, step: int, *, losses: Mapping[str, float | None], rates: Mapping[str, float | None]) -> None:
        """Records the mean losses and the rates (`RATES`; others are ignored) since the last log interval."""
        self._facts["losses"] = {name: _finite(value) for name, value in losses.items()}
        self._facts |= {name: _finite(rates.get(name)) for name in RATES}
        self._set_step(step)
        self._write(min_seconds=WRITE_SECONDS)

    def validated(self, step: int, quality: Mapping[str, float]) -> None:
        """Records the figures of a validation."""
        self._facts["validation"] = {"step": step} | {name: _finite(v) for name, v in quality.items()}
        self.enter("training", step=step)

    def saving(self, step: int, quality: Mapping[str, float] | None = None) -> None:
        """Records that a checkpoint is being saved, with the figures of a validation or None.

        The `psnr` (dB) among them decides which step is best: a step that was not saved cannot be used.
        """
        psnr, best = (quality or {}).get("psnr"), self._facts["best_psnr"]
        if _finite(psnr) is not None and (best is None or psnr > best):
            self._facts |= {"best_psnr": psnr, "best_step": step}
        self.enter("saving", step=step)

    def stopped(self, signal: str, step: int) -> None:
        """Records that the run saved a checkpoint at `step` and ends because of `signal`, SIGINT or SIGTERM."""
        state, code = ("preempted", EXIT_RESTART) if signal == "SIGTERM" else ("stopped", EXIT_INTERRUPTED)
        self._end(state, f"{signal} at step {step}; rerun the command to resume", code, step=step)

    def complete(self, step: int) -> None:
        """Records that all steps are done and all files are written."""
        recorded = _load(self._directory.path) or {}
        self._find_best_checkpoint()
        if (recorded.get("state"), recorded.get("step"), recorded.get("steps")) != ("complete", step, step):
            self._end("complete", None, EXIT_OK, step=step)

    @contextlib.contextmanager
    def record_failure(self) -> Iterator[None]:
        """Context manager: if an exception leaves the block, writes it as the final status and raises it again."""
        try:
            yield
        except KeyboardInterrupt:
            self._end("stopped", "second SIGINT: stopped without saving", EXIT_INTERRUPTED)
            raise
        except BaseException as error:
            self._end("failed", failure_reason(error), getattr(error, "exit_code", EXIT_ERROR))
            raise

    def _end(self, state, reason, exit_code, *, step=None):
        self._facts |= {"reason": reason, "exit_code": exit_code, "eta_seconds": None}
        self.enter(state, step=step)

    def _find_best_checkpoint(self):
        """Takes the best PSNR from the saved checkpoints, as a lost one with a better PSNR cannot be used."""
        psnr, step = checkpoints.best_saved(self._directory.checkpoints)
        if math.isfinite(psnr):
            self._facts |= {"best_psnr": psnr, "best_step": step}

    def _set_step(self, step):
        if step is None:
            return
        epoch = math.floor(step / self._steps_per_epoch) if self._steps_per_epoch else None
        self._facts |= {"step": step, "epoch": epoch, "eta_seconds": None}
        first_step, start = self._pace_start or (step, None)
        if step > first_step and self._facts["state"] in ACTIVE:
            seconds_per_step = (time.monotonic() - start) / (step - first_step)
            self._facts["eta_seconds"] = round(seconds_per_step * max(0, self._facts["steps"] - step), 1)

    def _write(self, *, min_seconds=0.0):
        now = time.monotonic()
        if not self._enabled or now - self._written_at < min_seconds:
            return
        self._written_at = now
        try:
            # Listed each time, because checkpoints are written in the background.
            saved = checkpoints.list_steps(self._directory.checkpoints)
            self._facts |= {"checkpoint_step": max(saved, default=None), "updated": _now()}
            atomic_write(self._directory.status, json.dumps(self._facts, indent=1, allow_nan=False) + "\n")
        except (OSError, OutputError) as error:
            if not self._has_warned:
                self._has_warned = True
                LOG.warning("%s; training continues, and further failures are not logged", error)


def failure_reason(error: BaseException) -> str:
    """Returns why a run failed, in one line: the message of an error, with its type if that is not for the user."""
    reason = str(error)
    if not isinstance(error, HazeHealError | OSError):
        reason = f"{type(error).__name__}: {reason.strip()}".splitlines()[0]
    return one_line(reason)


def read_status(run: str | pathlib.Path) -> dict[str, Any] | None:
    """Returns a run's status.json with these changes, or None if it cannot be read.

    `state`: `killed` if the process died without a final status (SIGKILL, a lost host), or `silent` if nothing was
    written for long, because the process hangs or its host is down.
    `alive`: whether a process holds the run's lock; None if that cannot be determined.
    `age_seconds`: time since the last write.
    """
    before = _load(run)
    if before is None:
        return None
    alive = is_locked(run)
    # Read again after the lock: a run writes its final status before it releases the lock, and its first one after
    # it takes the lock.
    status = _load(run) or before
    state, age = status["state"], _age_seconds(status["updated"])
    if state in ACTIVE:
        same_boot = status.get("boot") is not None and status.get("boot") == boot_id()
        limit = SILENT_STARTING_SECONDS if state == "starting" else SILENT_SECONDS
        if alive is False and same_boot and status == before:
            done = RunDirectory(run).load_result().get("steps") == status["steps"] == status["step"]
            state = "complete" if done else "killed"
        elif age > limit:
            state = "silent"
        if alive is False and not same_boot:
            alive = None  # some file systems do not share locks between hosts
    return status | {"state": state, "alive": alive, "age_seconds": round(age, 1)}


def is_locked(run: str | pathlib.Path, *, group: int = 0) -> bool | None:
    """Returns whether a process holds the lock of a group, or None if the file system does not support locks."""
    try:
        with open(RunDirectory(run, group=group).group / ".lock", encoding="utf-8") as file:
            # Shared, so that two readers do not take each other for the run.
            return not try_lock(file.fileno(), shared=True)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def boot_id() -> str | None:
    """Returns an identifier of this boot of this machine. Processes with the same identifier share their locks."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _load(run):
    try:
        status = json.loads(RunDirectory(run).status.read_text(encoding="utf-8"))
        datetime.datetime.fromisoformat(status["updated"])
        return status if {"state", "step", "steps"} <= status.keys() else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _age_seconds(updated):
    age = datetime.datetime.now().astimezone() - datetime.datetime.fromisoformat(updated)
    return max(0.0, age.total_seconds())  # negative if clocks differ


def _now():
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _finite(value):
    """Returns None for NaN and infinity, which JSON does not have."""
    return None if value is None or not math.isfinite(value) else float(value)
