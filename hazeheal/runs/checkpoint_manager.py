"""Writes a replica group's checkpoints in the background, and removes old ones.

A checkpoint is written to a temporary directory, flushed to the disk and renamed, so that it is complete or absent.
"""

import collections
import concurrent.futures
import itertools
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hazeheal.errors import OutputError
from hazeheal.runs import checkpoints
from hazeheal.runs.checkpoints import best_saved, checkpoint_path, follows_finite_step, list_steps
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.hashing import sha256_of_file

if TYPE_CHECKING:
    import numpy as np


class CheckpointManager:
    """Saves one replica group's checkpoints, and keeps the newest ones and the best one by validation PSNR.

    The newest one that follows a finite step is kept too, however many were saved since: a rollback needs it.

    Args:
        folder: The group's `checkpoints/` directory. It is created if it is missing, and the incomplete checkpoint
            of a killed process is removed.
        keep: How many of the newest checkpoints to keep.
        log: Receives warnings.
    """

    def __init__(self, folder: str | pathlib.Path, *, keep: int, log: logging.Logger):
        self._folder = pathlib.Path(folder)
        self._keep = keep
        self._log = log
        self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._saves = collections.deque()  # futures of the saves whose result was not taken yet
        self._last_succeeded = True
        self._folder.mkdir(parents=True, exist_ok=True)
        for entry in self._folder.glob(".writing-*"):
            shutil.rmtree(entry, ignore_errors=True)

    def find_latest(self) -> tuple[pathlib.Path, int] | None:
        """Returns (path, step) of the newest intact checkpoint, or None. Renames damaged ones to `*.damaged`."""
        for step in reversed(list_steps(self._folder)):
            path = checkpoint_path(self._folder, step)
            reason = checkpoints.find_damage(path)
            if reason is None:
                return path, step
            renamed = path.rename(_free_name(path, "damaged"))
            self._log.warning("checkpoint %s is damaged (%s); renamed to %s", path, reason, renamed.name)
        return None

    def rewind_to(self, step: int) -> None:
        """Renames the checkpoints after `step` to `*.set_aside`, so that they are not restored again."""
        self.wait()
        for later in (s for s in list_steps(self._folder) if s > step):
            path = checkpoint_path(self._folder, later)
            path.rename(_free_name(path, "set_aside"))

    def best_psnr(self) -> float:
        """Returns the highest validation PSNR in dB among the saved checkpoints; -inf if none was validated."""
        self.wait()
        return best_saved(self._folder)[0]

    def save(
        self,
        variables: "Mapping[str, np.ndarray]",
        *,
        step: int,
        metrics: Mapping[str, float] | None = None,
        progress: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts writing a checkpoint in the background, when those before it are written; returns at once.

        If it cannot be written (a full disk), a warning is logged and the earlier checkpoints stay intact.

        Args:
            variables: {name: array}; must not change until the write has finished.
            step: Number of completed steps. A checkpoint that exists already is not written again, but gets the metrics
                and the progress if it has no metrics.
            metrics, progress: Validation metrics, and the host's counters, of JSON values.
        """
        self._saves.append(self._executor.submit(self._write, variables, step, metrics or {}, progress or {}))

    def pending(self) -> int:
        """Returns the number of saves that have not finished."""
        while self._saves and self._saves[0].done():
            self._last_succeeded = self._saves.popleft().result()
        return len(self._saves)

    def wait(self) -> bool:
        """Waits until all saves have finished. Returns whether the last one succeeded."""
        while self._saves:
            self._last_succeeded = self._saves.popleft().result()
        return self._last_succeeded

    def close(self) -> None:
        """Waits until all saves have finished, and ends the writer thread."""
        self._executor.shutdown()
        self.wait()

    def _write(self, variables, step, metrics, progress):
        import tensorflow as tf

        final = checkpoint_path(self._folder, step)
        if final.exists():
            return not metrics or bool(checkpoints.read_metrics(final)) or self._add_metrics(final, metrics, progress)
        temporary = self._folder / f".writing-{final.name}-{os.getpid()}"
        try:
            temporary.mkdir()
            with tf.device("CPU:0"):
                tf.raw_ops.SaveV2(
                    prefix=str(temporary / checkpoints.PREFIX),
                    tensor_names=list(variables),
                    shape_and_slices=[""] * len(variables),
                    tensors=[tf.convert_to_tensor(value) for value in variables.values()],
                )
            files = {
                file.name: {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
                for file in sorted(temporary.iterdir())
            }
            manifest = {"step": step, "metrics": metrics, "progress": progress, "files": files}
            _write_manifest(temporary / checkpoints.MANIFEST, manifest)
            for entry in [*temporary.iterdir(), temporary]:
                _fsync(entry)
            temporary.rename(final)
            _fsync(self._folder)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            reason = str(error).splitlines()[0]
            self._log.warning("checkpoint of step %d could not be written: %s; training continues", step, reason)
            return False
        self._remove_old()
        return True

    def _add_metrics(self, path, metrics, progress):
        """Adds what a repeated validation gave. Only the manifest is replaced, so that the checkpoint is always complete."""
        manifest_path = path / checkpoints.MANIFEST
        try:
            manifest = json.loads(manifest_path.read_text(encoding="utf-8")) | {
                "metrics": metrics,
                "progress": progress,
            }
            del manifest["sha256"]
            with atomic_path(manifest_path, durable=True) as temporary:
                _write_manifest(temporary, manifest)
        except (OSError, OutputError) as error:
            self._log.warning("the metrics could not be added to %s: %s; training continues", path, error)
            return False
        return True

    def _remove_old(self):
        steps = list_steps(self._folder)
        finite = (step for step in reversed(steps) if follows_finite_step(checkpoint_path(self._folder, step)))
        keep = {*steps[-self._keep :], best_saved(self._folder)[1], next(finite, None)}
        for step in set(steps) - keep:
            shutil.rmtree(checkpoint_path(self._folder, step), ignore_errors=True)


def _write_manifest(path, manifest) -> None:
    manifest["sha256"] = checkpoints.manifest_hash(manifest)
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _fsync(path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_name(path, suffix) -> pathlib.Path:
    """Returns the first of path.suffix, path.suffix.1, path.suffix.2, ... that does not exist."""
    new = path.with_name(f"{path.name}.{suffix}")
    for number in itertools.count(1):
        if not new.exists():
            return new
        new = path.with_name(f"{path.name}.{suffix}.{number}")
