"""RUN/status.json: what a run is doing, for schedulers and people who do not look over its shoulder.

    status = Status(directory, total_steps=2000, facts={"replicas": 2})
    with status.record_failure():                        # an error of the block becomes the run's last words
        status.begin()
        status.log(60, losses={"gen_l1_loss": 0.1}, images_per_second=41.0)
    read_status("RUN")                                         # {"state": "killed", ...}

A process that is killed cannot write that it was. So whoever reads must not take the file's word that a run goes on:
the run holds a lock (`run_dir`), which the operating system takes from a process that dies, and `read` asks for it.
No TensorFlow.
"""

import contextlib
import datetime
import json
import logging
import math
import os
import pathlib
import socket
import time

from hazeheal.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, HazeHealError, OutputError
from hazeheal.runs import checkpoints
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.console import one_line
from hazeheal.utils.file_lock import try_lock

LOG = logging.getLogger("hazeheal")

ACTIVE = ("starting", "training", "validating", "saving")
STOPPED_BY = {"SIGINT": ("stopped", EXIT_INTERRUPTED), "SIGTERM": ("preempted", EXIT_RESTART)}
# Between two writes that only bring newer figures; a change of the state is written at once.
WRITE_SECONDS = 1.0
# Longest time between two writes while steps are done, however far apart two log lines are.
BEAT_SECONDS = 30.0
# A run that writes nothing for so long hangs, or is compiling its first step: then it may take longer.
SILENT_SECONDS, SILENT_STARTING_SECONDS = 600.0, 1800.0


class Status:
    """Writes the status of one run; a full disk costs a warning, not the training.

    Args:
        directory: The `RunDirectory`.
        total_steps: At which the run is complete.
        epochs_done: Function of a step, the number of whole epochs.
        facts: More that does not change, of plain JSON values.
        shown: Whether anything is written: of several groups the first one does.
    """

    def __init__(self, directory, *, total_steps, epochs_done=lambda step: None, facts=None, shown=True):
        self._directory = directory
        self._shown = shown
        self._epochs_done = epochs_done
        self._written = -math.inf
        self._pace_from = None  # (step, time) when the first steps were done: before it lies the compilation
        self._warned = False
        self._facts = {
            "state": "starting",
            "reason": None,
            "exit_code": None,
            "step": 0,
            "steps": total_steps,
            "epoch": None,
            "images_per_second": None,
            "eta_seconds": None,
            "best_psnr": None,
            "best_step": None,
            "losses": {},
            "validation": None,
            "checkpoint_step": None,
            **(facts or {}),
            "host": socket.gethostname(),
            "boot": boot_id(),
            "pid": os.getpid(),
            "started": _now(),
            "updated": None,
        }

    def begin(self) -> None:
        """The run is open. One that is complete already stays as it is (`complete` says so, once it is known)."""
        if self._directory.load_result().get("steps") != self._facts["steps"]:
            self._write()

    def restored(self, step) -> None:
        """The run stands at `step`: of a checkpoint, or 0."""
        self._pace_from = None
        self._look_for_best()
        self.enter("starting", step=step)

    def enter(self, state, *, step=None) -> None:
        """Changes the state; `step` as before where it is None."""
        self._facts["state"] = state
        self._set_step(step)
        self._write()

    def beat(self, step=None) -> None:
        """Tells that the run goes on, `step` steps being done."""
        if step is not None:
            self._facts["state"] = "training"
            self._pace_from = self._pace_from or (step, time.monotonic())
            self._set_step(step)
        # The first steps are news: a scheduler may wait for them.
        first = self._pace_from is not None and self._pace_from[0] == step
        self._write(least_seconds=WRITE_SECONDS if first else BEAT_SECONDS)

    def log(self, step, *, losses, images_per_second) -> None:
        """The means since the last log line."""
        self._facts["losses"] = {name: _finite(value) for name, value in losses.items()}
        self._facts["images_per_second"] = _finite(images_per_second)
        self._set_step(step)
        self._write(least_seconds=WRITE_SECONDS)

    def validated(self, step, quality) -> None:
        """The figures of a validation, {name: float}."""
        self._facts["validation"] = {"step": step} | {name: _finite(v) for name, v in quality.items()}
        best = self._facts["best_psnr"]
        if math.isfinite(quality["psnr"]) and (best is None or quality["psnr"] > best):
            self._facts |= {"best_psnr": quality["psnr"], "best_step": step}
        self.enter("training", step=step)

    def stopped(self, signal, step) -> None:
        """The run has saved itself and ends, as SIGINT or SIGTERM asked it to."""
        state, code = STOPPED_BY[signal]
        self._end(state, f"{signal} at step {step}; the same command goes on there", code, step=step)

    def complete(self, step) -> None:
        """All steps are done, and everything is written."""
        recorded = _load(self._directory.path) or {}
        self._look_for_best()
        if (recorded.get("state"), recorded.get("step"), recorded.get("steps")) != ("complete", step, step):
            self._end("complete", None, EXIT_OK, step=step)

    @contextlib.contextmanager
    def record_failure(self):
        """Writes why the block ended, if an error ended it."""
        try:
            yield
        except KeyboardInterrupt:
            self._end("stopped", "SIGINT, a second time: nothing was saved", EXIT_INTERRUPTED)
            raise
        except BaseException as error:
            ours = isinstance(error, HazeHealError | OSError)
            line = next(iter(str(error).strip().splitlines()), "")
            reason = str(error) if ours else f"{type(error).__name__}: {line}"
            self._end("failed", one_line(reason), getattr(error, "exit_code", EXIT_ERROR))
            raise

    def _end(self, state, reason, exit_code, *, step=None):
        self._facts |= {"reason": reason, "exit_code": exit_code, "eta_seconds": None}
        self.enter(state, step=step)

    def _look_for_best(self):
        folder = self._directory.checkpoints
        scores = [
            (checkpoints.validation_psnr(checkpoints.checkpoint_path(folder, s)), s)
            for s in checkpoints.list_steps(folder)
        ]
        best, step = max(scores, default=(-math.inf, None))
        if math.isfinite(best):  # of a saved one, as it is the one that will be used
            self._facts |= {"best_psnr": best, "best_step": step}

    def _set_step(self, step):
        if step is None:
            return
        total = self._facts["steps"]
        self._facts |= {"step": step, "epoch": self._epochs_done(step), "eta_seconds": None}
        if self._pace_from is not None and self._facts["state"] in ACTIVE:
            first, begin = self._pace_from
            if step > first:
                pace = (time.monotonic() - begin) / (step - first)
                self._facts["eta_seconds"] = round(pace * max(0, total - step), 1)

    def _write(self, *, least_seconds=0.0):
        now = time.monotonic()
        if not self._shown or now - self._written < least_seconds:
            return
        self._written = now
        try:
            saved = checkpoints.list_steps(
                self._directory.checkpoints
            )  # of the disk: they are written meanwhile
            self._facts |= {"checkpoint_step": max(saved, default=None), "updated": _now()}
            atomic_write(self._directory.status, json.dumps(self._facts, indent=1, allow_nan=False) + "\n")
        except (OSError, OutputError) as error:
            if not self._warned:
                self._warned = True
                LOG.warning("%s; training goes on, and later ones are tried without further warnings", error)


def read_status(run) -> dict | None:
    """What can be known of a run from outside.

    Args:
        run: The run's directory.

    Returns:
        status.json, with `state` also `killed`: its process is gone without a word (SIGKILL, a lost host), or
        `silent`: it has written nothing for long, and either hangs or its host is gone. With `alive`: whether a
        process holds the run, None where that cannot be asked; and `age_seconds` of the last sign of life. None
        where there is no status.json that can be read.
    """
    status = _load(run)
    if status is None:
        return None
    alive = is_locked(run)
    again = _load(run) or status
    age = _age(again["updated"])
    state = again["state"]
    if state in ACTIVE:
        # Read before the lock was asked for and after it: one that ends writes so before it lets go, and one that
        # begins anew writes so as it begins.
        unchanged = again == status
        here = again.get("boot") is not None and again.get("boot") == boot_id()
        limit = SILENT_STARTING_SECONDS if state == "starting" else SILENT_SECONDS
        if alive is False and here and unchanged:
            done = RunDirectory(run).load_result().get("steps") == again["steps"] == again["step"]
            state = "complete" if done else "killed"
        elif age > limit:
            # Of another host: some file systems keep locks to each host.
            state = "silent"
        alive = None if alive is False and not here else alive
    return again | {"state": state, "alive": alive, "age_seconds": round(age, 1)}


def is_locked(run) -> bool | None:
    """Whether a process of this host (or of all, as the file system has it) trains in `run`; None: it cannot be told."""
    try:
        with open(RunDirectory(run).group / ".lock", encoding="utf-8") as file:
            # Shared: of two readers none takes the other for the run. Gone before a run that begins gives up.
            return not try_lock(file.fileno(), shared=True)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def boot_id() -> str | None:
    """Names this start of this machine: processes that see the same one share their locks."""
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


def _age(moment):
    then = datetime.datetime.fromisoformat(moment)
    # 0 where the clock was set back, or the other host's is ahead.
    return max(0.0, (datetime.datetime.now().astimezone() - then).total_seconds())


def _now():
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _finite(value):
    """A number for JSON, which has no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)
