"""One stretch of a run in one process: where it goes on, what it counts on the way, what it saves.

A run is a directory; a session is what happens in it from the start of a process to its end. What a
session has counted is saved with every checkpoint, so that the next one goes on as if there had been one.
"""

import logging

import tensorflow as tf

from hazeheal.distributed.preemption import STOP_SIGNALS
from hazeheal.errors import HazeHealError
from hazeheal.runs import checkpoints
from hazeheal.runs.checkpoint_manager import CheckpointManager
from hazeheal.runs.status import Status
from hazeheal.training import restore, start
from hazeheal.training.profiler import Clock
from hazeheal.training.reports.accumulators import Accumulators
from hazeheal.training.reports.reporter import Reports
from hazeheal.training.step import step
from hazeheal.training.step.train_state import primary

LOG = logging.getLogger("hazeheal")


class Session:
    """Opens a run's files and keeps state, counts and files in step with each other.

    Attributes:
        tally: Sums of the metrics.
        clock: Rates.
        quality: Figures of the validation of the weights of the moment; None where they were not validated.
        checkpoints, reports: The group's files.
        status: The `Status`, which others read.
    """

    def __init__(self, *, config, state, directory, groups, schedule, data, data_set, facts):
        """Args: as of the trainer; `data` reads the training split of `data_set`, (path, fingerprint).

        `facts`: what status.json shall tell besides, of plain JSON values.
        """
        self._config = config
        self._state = state
        self._directory = directory
        self._groups = groups
        self._data = data
        self._data_dir, self._fingerprint = data_set
        self.tally = Accumulators(step.METRICS)
        self.clock = Clock(config.train.batch_size)
        self.quality = self._started_from = None
        facts = {"data_dir": str(self._data_dir), "groups": groups.count, **facts}
        self.status = Status(
            directory,
            total_steps=schedule.total_steps(config),
            epochs_done=schedule.epochs_done,
            facts=facts,
            enabled=groups.is_first,
        )
        self.checkpoints = CheckpointManager(directory.checkpoints, keep=config.train.keep, log=LOG)
        self.reports = Reports(
            directory, config=config, schedule=schedule, facts=facts, is_first=groups.is_first
        )

    def begin(self, *, restore_from=None):
        """Restores the newest whole checkpoint of the job, or starts anew.

        Args:
            restore_from: Path whose networks a new run starts with, of `start.find`.

        Returns:
            (first step, whether the run is new).
        """
        restored = restore.restore(self.checkpoints, directory=self._directory, groups=self._groups)
        # Of all groups, as they must decide alike what is worth saving.
        self._best = float(self._groups.gather([self.checkpoints.best_psnr()]).max())
        if restored is None:
            first = 0
            if restore_from is not None:
                values, self._started_from = start.read(restore_from)
                missing = self._state.load_networks(values, source=restore_from)
                new = f" ({len(missing)} variables new)" * bool(missing)
                LOG.info("networks taken from %s%s", restore_from, new)
            self.reports.begin(restored=None)
        else:
            first = restored.step
            checkpoints.check_data_set(
                restored.progress, self._fingerprint, data_dir=self._data_dir, workdir=self._directory.path
            )
            self._go_on_from(restored)
            LOG.info("resumed at step %d from %s", first, restored.source)
        for group in range(self._groups.count):  # one after another: they may share the file
            if group == self._groups.number:
                for change in self._directory.save_config(self._config, step=first):
                    LOG.info("the configuration has changed: %s", change)
            self._groups.barrier()
        return first, restored is None

    def _go_on_from(self, restored):
        self._state.load(restored.values, source=restored.source)
        self.tally.load_json(restored.progress["tally"])
        self.clock.load_json(restored.progress["clock"])
        self._data.note_bad_records(restored.progress.get("bad_records", ()))
        self._started_from = restored.progress.get("started_from")
        self.quality = restored.metrics or None
        self.reports.begin(restored=restored.step)
        if not restored.is_own:
            self._write(restored.step)

    def stopped_by(self, signals):
        """Name of the signal that any group has received, or None: all stop at the same step, or none does."""
        names = (None, *STOP_SIGNALS)
        return names[int(self._groups.gather([names.index(signals.received)]).max())]

    def report(self, at, *, line) -> None:
        """The means and the rates since the last time, to TensorBoard and the progress line."""
        means, rates = self.tally.take("log"), self.clock.take()
        counts = {"skipped_steps": self.tally.skipped}
        if self._data.bad_records:
            counts["bad_records"] = len(self._data.bad_records)
        self.reports.log(at, means=means, rates=rates, counts=counts, line=line)
        losses = {name: means[name] for name in step.LOSSES}
        self.status.log(at, losses=losses, images_per_second=rates["images_per_second"])

    def report_epoch(self, at) -> None:
        """The row of the epoch that ends at step `at`."""
        means = self.tally.take("epoch")
        self.reports.epoch(at, means=means, skipped=self.tally.skipped, quality=self.quality)

    def is_best(self) -> bool:
        """Whether the weights of the moment were validated, and better than all that were saved."""
        return self.quality is not None and self.quality["psnr"] > self._best

    def save(self, at) -> None:
        """Starts writing the checkpoint of step `at`, all reports up to it being on the disk."""
        self.status.enter("saving", step=at)
        self.reports.flush()
        # A checkpoint of any group then stands for the reports of all of them.
        self._groups.barrier()
        if self.quality is not None:
            self._best = max(self._best, self.quality["psnr"])
        self._write(at)

    def _write(self, at):
        progress = {
            "tally": self.tally.to_json(),
            "clock": self.clock.to_json(),
            "bad_records": list(self._data.bad_records),
            "fingerprint": self._fingerprint,
            "started_from": self._started_from,
        }
        self.checkpoints.save(self._state.snapshot(), step=at, metrics=self.quality, progress=progress)

    def go_back(self, at) -> int:
        """After too many steps that were not finite: the last checkpoint before them, once, at half the rates.

        Args:
            at: The step reached.

        Returns:
            The step to go on from.

        Raises:
            HazeHealError: It has gone back before, or there is nothing to go back to.
        """
        row = f"{self.tally.skipped_in_a_row} steps in a row were not finite (up to step {at})"
        advice = "lower --config.optimizer.learning_rate or set --config.optimizer.clip_norm"
        factor = float(primary(self._state.rate_factor).numpy())
        if factor < 1:
            raise HazeHealError(
                f"{row}, again after going back with half the learning rate; the last checkpoint is whole; {advice}"
            )
        restored = restore.go_back(
            self.checkpoints,
            directory=self._directory,
            groups=self._groups,
            is_good=lambda saved: not saved.get("tally", {}).get("skipped_in_a_row", 1),
        )
        if restored is None:
            raise HazeHealError(f"{row}, and no checkpoint is from before them; {advice}")
        self._go_on_from(restored)
        self.status.restored(restored.step)
        self._state.rate_factor.assign(tf.constant(factor / 2))
        LOG.warning("%s: back to step %d, with half the learning rate", row, restored.step)
        return restored.step

    def end(self, at) -> None:
        """Waits for the last checkpoint.

        Raises:
            HazeHealError: It could not be written.
        """
        self.status.enter("saving", step=at)
        if not self.checkpoints.wait():
            raise HazeHealError(
                f"step {at} could not be saved in {self._directory.checkpoints}; make room, and the same command "
                "goes on from the checkpoint before it"
            )

    def close(self) -> None:
        self.checkpoints.close()
