"""Restores and saves one replica group's part of a run."""

import logging
import pathlib

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.distributed.groups import Groups
from hazeheal.errors import HazeHealError
from hazeheal.runs.checkpoint_manager import CheckpointManager
from hazeheal.runs.checkpoints import check_data_set, checkpoint_path, find_damage, follows_finite_step, list_steps
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training.restore import Restored, read_networks, restore_newest
from hazeheal.training.step.train_state import TrainState, local

LOG = logging.getLogger("hazeheal")


class Session:
    """One process's work on a run, from its start to its end: what it resumes from and what it saves.

    A checkpoint holds the variables of the training state and `progress`: plain JSON values, such as the accumulated
    metrics, so that a resumed run reports what a run that never stopped would report.
    """

    def __init__(
        self,
        *,
        config: ConfigDict,
        state: TrainState,
        directory: RunDirectory,
        groups: Groups,
        data_dir: str,
        fingerprint: str,
    ):
        """Opens the group's checkpoints. The data set's `fingerprint` is saved with them and compared on a restore."""
        self._config = config
        self._state = state
        self._directory = directory
        self._groups = groups
        self._data_dir = data_dir
        self._fingerprint = fingerprint
        self._started_from = None
        self._checkpoints = CheckpointManager(directory.checkpoints, keep=config.train.keep, log=LOG)
        self._best = None
        self._has_skipped = False  # since the last save

    def restore(self, *, networks_from: pathlib.Path | None = None) -> Restored | None:
        """Loads the newest intact checkpoint of the job into the state, or starts a new run.

        Args:
            networks_from: For a new run: a path from `find_networks` whose networks it starts with; None: none.

        Returns:
            The checkpoint; None for a new run.

        Raises:
            HazeHealError: The checkpoint belongs to another data set or another model.
        """
        restored = restore_newest(self._checkpoints, directory=self._directory, groups=self._groups)
        # Over all groups, so that all take the same decision on which validation is the best.
        self._best = float(self._groups.gather([self._checkpoints.best_psnr()]).max())
        if restored is not None:
            check_data_set(restored.progress, self._fingerprint, data_dir=self._data_dir, workdir=self._directory.path)
            self._load(restored)
            LOG.info("resumed at step %d from %s", restored.step, restored.source)
        elif networks_from is not None:
            values, self._started_from = read_networks(networks_from)
            missing = self._state.load_networks(values, source=networks_from)
            average = ", the generator from its moving average" if self._started_from.get("moving_average") else ""
            suffix = f" ({len(missing)} variables keep their initial values)" if missing else ""
            LOG.info("networks loaded from %s%s%s", networks_from, average, suffix)
        self._save_config(0 if restored is None else restored.step)
        return restored

    def _load(self, restored):
        self._state.load(restored.values, source=restored.source)
        self._started_from = restored.progress.get("started_from")
        if not restored.is_own:  # each group keeps a copy of its own
            self._checkpoints.save(
                restored.values, step=restored.step, metrics=restored.metrics, progress=restored.progress
            )

    def _save_config(self, step):
        for group in range(self._groups.count):  # one after another: they may share the file
            if group == self._groups.number:
                for change in self._directory.save_config(self._config, step=step):
                    LOG.info("the configuration has changed: %s", change)
            self._groups.barrier()

    def is_best(self, quality: dict | None) -> bool:
        """Returns whether a validation, None where there was none, is better than that of all saved checkpoints."""
        return quality is not None and quality["psnr"] > self._best

    def can_save(self, step: int, *, quality: dict | None) -> bool:
        """Returns whether a save now would not wait for earlier ones, in any group. All groups must call it.

        A save that would wait is skipped, which is logged once for each write that takes too long. Only the best
        validation so far may queue behind one other save, because its weights cannot be saved later; if it has to be
        skipped, it does not count as the best.
        """
        pending = int(self._groups.gather([self._checkpoints.pending()]).max())
        if pending < (2 if self.is_best(quality) else 1):
            return True
        if not self._has_skipped:
            LOG.warning(
                "step %d is not saved, because an earlier checkpoint is still being written; use a faster disk for "
                "--workdir, or a longer --config.train.save_every",
                step,
            )
        self._has_skipped = True
        return False

    def save(self, step: int, *, quality: dict | None, progress: dict) -> None:
        """Starts to write the checkpoint of `step`. Call it when all reports up to that step are on the disk.

        `quality` are the figures of the validation of the current weights, None if they were not validated; `progress`
        are plain JSON values to save with them.
        """
        # A checkpoint of any group then implies that the reports of all groups are complete.
        self._groups.barrier()
        self._has_skipped = False
        if self._checkpoints.pending() > 1:
            self._checkpoints.wait()  # at most two copies of the state in memory
        if quality is not None:
            self._best = max(self._best, quality["psnr"])
        self._checkpoints.save(
            self._state.snapshot(),
            step=step,
            metrics=quality,
            progress={**progress, "fingerprint": self._fingerprint, "started_from": self._started_from},
        )

    def roll_back(self, step: int, *, skipped: int) -> Restored:
        """Returns to the last checkpoint before a series of non-finite steps, once, and halves the learning rates.

        The last `skipped` of `step` steps were not finite. Returns the checkpoint, which is loaded into the state.

        Raises:
            HazeHealError: The run was rolled back before, or no checkpoint is older than the non-finite steps.
        """
        problem = f"{skipped} steps in a row were not finite (up to step {step})"
        advice = "lower --config.optimizer.learning_rate or set --config.optimizer.clip_norm"
        factor = float(local(self._state.rate_factor, 0).numpy())
        if factor < 1:
            raise HazeHealError(
                f"{problem}, again after a rollback with half the learning rate; the last checkpoint is intact; {advice}"
            )
        agreed = int(self._groups.gather([self._last_finite_step()]).max())
        if agreed < 0:
            raise HazeHealError(f"{problem}, and no checkpoint is older than these steps; {advice}")
        self._checkpoints.rewind_to(agreed)
        self._groups.barrier()  # no group may look at another's checkpoints before that one has renamed its own
        restored = restore_newest(self._checkpoints, directory=self._directory, groups=self._groups)
        self._load(restored)
        self._state.rate_factor.assign(tf.constant(factor / 2))
        LOG.warning("%s: rolled back to step %d, with half the learning rate", problem, restored.step)
        return restored

    def _last_finite_step(self):
        """Returns the step of this group's newest intact checkpoint that was saved after a finite step, or -1."""
        self._checkpoints.wait()
        for step in reversed(list_steps(self._directory.checkpoints)):
            path = checkpoint_path(self._directory.checkpoints, step)
            if follows_finite_step(path) and find_damage(path) is None:
                return step
        return -1

    def wait(self, step: int) -> None:
        """Waits until the last checkpoint, of `step`, is on the disk.

        Raises:
            HazeHealError: It could not be written.
        """
        if not self._checkpoints.wait():
            raise HazeHealError(
                f"step {step} could not be saved in {self._directory.checkpoints}; free some space and rerun the "
                "command to resume from the checkpoint before it"
            )

    def close(self) -> None:
        """Waits for the last checkpoint and ends the thread that writes."""
        self._checkpoints.close()
