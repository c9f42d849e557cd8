"""A worker of Ray Train: it starts one `hazeheal train`, watches it, and reports to Ray. `launch/train_ray.py` uses it.

The training is a process of its own, as under `hazeheal launch`, and not a call in the Ray worker:

- Ray calls the function in a thread. Python handles signals in the main thread only, so no checkpoint would be saved
  on SIGTERM.
- Ray sets TF_USE_LEGACY_KERAS, and other code of the worker may have started TensorFlow. In a new process, nothing
  precedes the distribution strategy.
- If TensorFlow is aborted, by NCCL or for lack of memory, the worker survives, and the exit code says whether the job
  has to be restarted.

Ray replaces all workers if one fails. `run_group` therefore fails only if the training process or another group is
lost; the new processes resume from the newest checkpoint that any group has. Every other end is a result: the exit
code. When Ray ends a worker, it also kills its training process. When a worker is killed, the kernel sends its
training process SIGTERM, and all groups save; the next one of the group waits until it has ended.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hazeheal.distributed.supervisor import Supervisor
from hazeheal.errors import EXIT_GROUP_LOST, EXIT_OK, EXIT_RESTART, HazeHealError, UsageError
from hazeheal.runs.status import is_locked, read_status
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.console import one_line

if TYPE_CHECKING:
    from ray.actor import ActorHandle

FOLDER = "ray"  # in the run's directory, for Ray's files
MARKER = "job_id"
POINTER = "hazeheal_run.json"
POLL_SECONDS = 1.0
REPORT_SECONDS = 10.0
# How long the previous process of a group has to save and end, after its worker was killed.
RELEASE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Job:
    """What all workers of a job need.

    Attributes:
        arguments: Those of `hazeheal train`.
        workdir: The run's directory, which all nodes share.
        cwd: Directory in which relative paths start, where it exists.
        variables: Environment variables of the training processes.
        defaults: The same, for those that the node does not set.
        hang_timeout: Seconds without a heartbeat after which a training process is ended; 0: never.
        id: Written to the run's directory by `mark`.
        board: Handle of the job's `ray_board.Board`.
    """

    arguments: tuple[str, ...]
    workdir: str
    cwd: str
    variables: Mapping[str, str]
    defaults: Mapping[str, str]
    hang_timeout: float
    id: str
    board: "ActorHandle"


class ProcessLostError(Exception):
    """A training process was lost; Ray restarts all workers."""


def mark(workdir: str | pathlib.Path) -> str:
    """Writes a new identifier to the run's directory, by which workers see that they share it, and returns it."""
    identifier = uuid.uuid4().hex
    path = pathlib.Path(workdir) / FOLDER / MARKER
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, identifier)
    return identifier


def metrics(status: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metrics for Ray in a run's status.json: losses, `val_psnr` and the like, step, speed."""
    names = ("step", "epoch", "images_per_second", "best_psnr", "best_step")
    found = {name: status.get(name) for name in names} | dict(status.get("losses") or {})
    for name, value in (status.get("validation") or {}).items():
        found[name if name.startswith("val_") else f"val_{name}"] = value
    return {name: value for name, value in found.items() if value is not None}


def run_group(config: Mapping[str, Job]) -> None:
    """Runs the replica group of this Ray worker to its end; the training function of Ray Train.

    The exit code, 0, 1, 2 or 75, is set on the job's board.

    Args:
        config: `{"job": Job}`.

    Raises:
        ProcessLostError: All workers must be restarted.
    """
    from ray import train
    from ray.train.collective import broadcast_from_rank_zero

    job, rank = config["job"], train.get_context().get_world_rank()
    notes = _Notes(job.board, attempt=broadcast_from_rank_zero(uuid.uuid4().hex), name=f"group_{rank:02d}")
    notes.end(rank, _watch(job, rank, notes))


def _print(line):
    sys.stderr.write(f"worker: {line}\n")  # Ray logs what is printed a second time
    sys.stderr.flush()


class _Notes:
    """The notes of one attempt on the board, as one worker sees them. The supervisor uses it for errors of others."""

    def __init__(self, board, *, attempt, name):
        self._board, self._attempt, self.name = board, attempt, name
        self.add()

    def add(self, **values):
        import ray

        ray.get(self._board.note.remote(self._attempt, **values))

    def end(self, rank, exit_code):
        import ray

        ray.get(self._board.end.remote(self._attempt, rank, exit_code))

    def read(self):
        import ray

        return ray.get(self._board.read.remote(self._attempt))

    def write(self, exit_code):
        self.add(error=(exit_code, f"{self.name} on {socket.gethostname()}"))

    def read_new(self):
        return self.read().get("error")


def _prepare(job, rank):
    """Waits for the previous process of this group, and checks that the run's directory is shared."""
    marker = pathlib.Path(job.workdir) / FOLDER / MARKER
    try:
        is_shared = marker.read_text(encoding="utf-8") == job.id
    except OSError:
        is_shared = False
    if not is_shared:
        raise UsageError(
            f"--workdir={job.workdir} is not the same directory on {socket.gethostname()} as where the job was started; "
            "use a path on storage that all nodes share"
        )
    end = time.monotonic() + RELEASE_SECONDS
    while is_locked(job.workdir, group=rank):
        if time.monotonic() > end:
            raise ProcessLostError(f"the previous process of group {rank} still uses {job.workdir}")
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(OSError):  # not every node needs to have it
        os.chdir(job.cwd)


def _watch(job, rank, notes):
    """Runs the training process and takes part in Ray's reports until all is over; returns the exit code."""
    lines = []

    def report(line):
        lines.append(line)
        _print(line)

    command = [sys.executable, "-m", "hazeheal", "train", *job.arguments]
    defaults = {name: value for name, value in job.defaults.items() if name not in os.environ}
    watched = Supervisor(
        lambda: [(notes.name, command, defaults | job.variables)],
        max_restarts=None,
        hang_timeout=job.hang_timeout,
        notes=notes,
        report=report,
    )

    def run():
        try:
            _prepare(job, rank)
            return watched.run()
        except HazeHealError as error:
            _print(f"error: {one_line(error)}")
            notes.write(error.exit_code)
            return error.exit_code

    reports, is_stopping = _Reports(job.workdir, notes), False
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            while True:
                has_ended = running.done()
                if has_ended and running.result() == EXIT_GROUP_LOST:
                    raise ProcessLostError(lines[-1])
                seen = notes.read()
                if seen["stop"] and not is_stopping:
                    is_stopping = True
                    watched.stop(signal.SIGTERM)
                if rank:
                    reports.follow(seen)
                elif not has_ended or running.result() in (EXIT_OK, EXIT_RESTART):
                    reports.send(is_final=has_ended)
                # Worker 0 needs the others for its reports.
                if has_ended and (rank == 0 or seen["is_over"]):
                    return running.result()
                time.sleep(POLL_SECONDS)
        except BaseException:
            watched.stop(signal.SIGTERM)
            raise


class _Reports:
    """The reports of one worker to Ray Train.

    A report is a barrier of all workers, and Ray uses what worker 0 reports. Worker 0 notes how many reports there are
    before it makes one, and the others follow.
    """

    def __init__(self, workdir, notes):
        self._workdir, self._notes = workdir, notes
        self._count, self._last, self._reported_at = 0, {}, 0.0
        self._checkpoint_step = None
        self._old = self._process(read_status(workdir))

    def follow(self, seen):
        while self._count < seen.get("reports", 0):
            self._report({}, None)

    def send(self, *, is_final):
        status = read_status(self._workdir)
        if status is None or not (is_final or self._is_due(status)):
            return
        self._reported_at, self._last = time.monotonic(), metrics(status)
        # Ray keeps metrics only with a checkpoint.
        step, previous = status.get("checkpoint_step"), self._checkpoint_step
        self._checkpoint_step = step
        self._notes.add(reports=self._count + 1)
        self._report(self._last, step if is_final or step != previous else None)

    def _is_due(self, status):
        is_new = self._process(status) != self._old and status.get("losses") and metrics(status) != self._last
        return is_new and time.monotonic() - self._reported_at >= REPORT_SECONDS

    def _process(self, status):
        return status and [status.get(name) for name in ("host", "pid", "started")]

    def _report(self, values, checkpoint_step):
        from ray import train

        self._count += 1
        with contextlib.ExitStack() as stack:
            checkpoint = None
            if checkpoint_step is not None:
                # A reference: HazeHeal keeps and deletes the checkpoints.
                folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hazeheal-ray-")))
                pointer = {"workdir": self._workdir, "step": checkpoint_step}
                (folder / POINTER).write_text(json.dumps(pointer) + "\n", encoding="utf-8")
                checkpoint = train.Checkpoint.from_directory(str(folder))
            train.report(values, checkpoint=checkpoint)
