"""Everything that a run reports: TensorBoard, training_log.csv, sample sheets, status.json, the progress line."""

import contextlib
import logging
from collections.abc import Iterable

import numpy as np
from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.data.images import image_io
from hazeheal.distributed.heartbeat import Heartbeat
from hazeheal.errors import OutputError
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.runs.status import Status, failure_reason
from hazeheal.training.reports import tensorboard_plugins
from hazeheal.training.reports.accumulators import Accumulators, Clock
from hazeheal.training.reports.progress import ProgressLine
from hazeheal.training.reports.sample_sheets import psnr_captions, sample_sheet, shrink
from hazeheal.training.reports.tags import tag
from hazeheal.training.reports.tensorboard import SummaryWriters
from hazeheal.training.reports.training_log import TrainingLog
from hazeheal.training.schedule import Schedule
from hazeheal.training.step.step import LOSSES, METRICS

LOG = logging.getLogger("hazeheal")
CSV_SECONDS = 1.0  # at least between two writes of training_log.csv
SHEET_SIDE = 320  # longer side of one image on a sample sheet, in pixels


class Reporter:
    """Accumulates metrics and reports them for one replica group.

    As a context manager it closes the progress line at the end, and writes to status.json why the block ended. All
    reports of a step are on the disk before its checkpoint is written (`saving`), so that a run that was killed and
    resumed reports each step once.

    Attributes:
        longest_skipped: Length of the longest series of non-finite steps in the last call of the loop, with those that
            precede it.
    """

    def __init__(self, directory: RunDirectory, *, config: ConfigDict, schedule: Schedule, facts: dict, is_first: bool):
        """Opens the files; writes nothing yet.

        Args:
            directory: The run's directory.
            config: The configuration.
            schedule: The steps of the run.
            facts: For status.json and TensorBoard's table of runs: `data_dir`, `groups`, `replicas`, `precision`, `xla`.
            is_first: Whether this is group 0, which reports for the job where one group must.
        """
        self._directory = directory
        self._config = config
        self._schedule = schedule
        self._facts = facts
        self._is_first = is_first
        self._accumulators = Accumulators(METRICS)
        self._clock = Clock(config.train.batch_size)
        self._heartbeat = Heartbeat()
        self._status = Status(
            directory,
            total_steps=schedule.total_steps,
            steps_per_epoch=schedule.steps_per_epoch,
            facts=facts,
            enabled=is_first,
        )
        self._summaries = SummaryWriters(directory.summaries, max_side=config.samples.max_side)
        self._csv = TrainingLog(directory.training_log, min_seconds=CSV_SECONDS)
        self._line = None
        self._validated = None  # the figures of the last validation in this epoch
        self.longest_skipped = 0
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> "Reporter":
        self._exits.enter_context(self._status.record_failure())
        self._status.begin()
        return self

    def __exit__(self, *error) -> bool | None:
        if isinstance(error[1], Exception):
            # The program prints it too.
            LOG.error("ended by an error: %s", failure_reason(error[1]), extra={"in_console": False})
        self._csv.flush()
        return self._exits.__exit__(*error)

    @property
    def is_skipping(self) -> bool:
        """Whether a series of non-finite steps is in progress."""
        return self._accumulators.skipped_in_a_row > 0

    @property
    def rates(self) -> dict[str, float | None]:
        """The speed over the whole run, see `Clock`."""
        return self._clock.total()

    def to_json(self) -> dict:
        """Returns what a checkpoint must hold so that a resumed run reports the same means."""
        return {
            "tally": self._accumulators.to_json(),
            "clock": self._clock.to_json(),
            "validated": self._validated,
        }

    def start(self, step: int, *, progress: dict | None) -> None:
        """Begins or resumes reporting at `step`; reports of later steps are superseded.

        Args:
            step: The step of the restored checkpoint; 0 for a new run.
            progress: What `to_json` returned when that checkpoint was saved; None for a new run.
        """
        if progress is not None:
            self._accumulators.load_json(progress["tally"])
            self._clock.load_json(progress["clock"])
        self._validated = None if progress is None else progress.get("validated")
        restored_step = -1 if progress is None else step
        self._csv.rewind_to(restored_step)
        self._summaries.rewind_to(restored_step)
        config = configs.flat(self._config)
        if progress is None:
            self._summaries.config(config)
        self._describe_run(config)
        self._status.restored(step)
        if self._line is None:
            self._line = ProgressLine(self._schedule.total_steps, initial_step=step, enabled=self._is_first)
            self._exits.callback(self._line.close)

    def _describe_run(self, config):
        """Writes TensorBoard's charts and the row of its table of runs, unless this version has written them."""
        summaries = [tensorboard_plugins.layout()]
        if self._summaries.contains("", summaries[0]):
            return
        if self._is_first:  # one row per job: all groups have the same figures
            values = tensorboard_plugins.hyperparameters(config, self._facts)
            summaries += [
                tensorboard_plugins.experiment(values),
                tensorboard_plugins.trial(values, run=self._directory.path),
            ]
        self._summaries.set_aside("")  # what another version has written has other tags
        self._summaries.write("", summaries, step=0)

    def add(self, step: int, metrics: np.ndarray, *, begin: float, end: float, waited: float) -> None:
        """Accumulates the metrics of one call of the loop, and appends the rows of the epochs that end within it.

        An epoch that ends with the last of the steps is left to `epoch`: it may be validated first.

        Args:
            step: Number of steps before the call.
            metrics: `[steps, len(METRICS)]` float32.
            begin, end, waited: As for `Clock.add`.
        """
        self._clock.add(len(metrics), begin=begin, end=end, waited=waited)
        stop, self.longest_skipped = step + len(metrics), 0
        while step < stop:
            epoch_end = min(stop, self._schedule.epoch.next(step))
            self._accumulators.add(metrics[: epoch_end - step])
            self.longest_skipped = max(self.longest_skipped, self._accumulators.longest_skipped)
            step, metrics = epoch_end, metrics[epoch_end - step :]
            if step < stop:
                self.epoch(step)

    def beat(self, step: int | None = None) -> None:
        """Signals to the launcher and to status.json that the run is alive, with `step` steps done."""
        self._heartbeat.beat(step)
        self._status.beat(step)

    def log(self, step: int, *, bad_records: int) -> None:
        """Reports the means and rates since the last call, and the number of damaged records skipped so far."""
        means, rates = self._accumulators.take("log"), self._clock.take()
        losses = {name: means[name] for name in LOSSES}
        counts = {"skipped_steps": self._accumulators.skipped}
        if bad_records:
            counts["bad_records"] = bad_records
        values = {name: value for name, value in means.items() if name != "skipped"}
        self._scalars("train", {**values, **rates, **counts}, step=step)
        self._line.update(
            step,
            epoch=self._schedule.epochs_done(step),
            losses={name: value for name, value in losses.items() if value is not None},
            images_per_second=rates["images_per_second"],
        )
        self._status.log(step, losses=losses, rates=rates)

    def epoch(self, step: int) -> None:
        """Appends the row of the epoch that ends at `step`, with the last validation during the epoch."""
        means = self._accumulators.take("epoch")
        row = {
            "epoch": self._schedule.epochs_done(step) - 1,
            "step": step,
            "images": step * self._config.train.batch_size,
            "learning_rate": means["learning_rate"],
            "skipped_steps": self._accumulators.skipped,
        }
        row |= {name: means[name] for name in LOSSES}
        quality, self._validated = self._validated, None
        if quality is not None:
            row |= {f"val_{name}": quality[f"val_{name}"] for name in LOSSES}
            row |= {"val_psnr": quality["psnr"], "val_ssim": quality["ssim"]}
        self._csv.append(row)

    def _scalars(self, split, values, *, step):
        self._summaries.scalars(split, {tag(name): value for name, value in values.items()}, step=step)

    def validating(self, step: int) -> None:
        """Records that a validation has started."""
        self._status.enter("validating", step=step)

    def validation(self, step: int, quality: dict[str, float]) -> None:
        """Reports the figures of `Validator.run`."""
        self._validated = quality
        self._scalars("val", quality, step=step)
        LOG.info(
            "step %d: validation PSNR %.2f dB (hazy input %.2f), SSIM %.4f (%.4f)",
            step,
            *(quality[name] for name in ("psnr", "psnr_input", "ssim", "ssim_input")),
        )
        self._status.validated(step, quality)

    def samples(self, step: int, rows: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """Writes a sample sheet and TensorBoard's images; nothing if there are no rows.

        Args:
            step: The step.
            rows: (hazy, restored, clear), uint8 `[H, W, 3]`; only one row at a time is held at full size.
        """
        most = self._config.samples.max_side
        side = min(SHEET_SIDE, most)
        captions, on_sheet, in_summary = [], [], []
        for row in rows:
            captions.append(psnr_captions(*row))
            on_sheet.append([shrink(image, side) for image in row])
            in_summary.append([shrink(image, most) for image in row])
        if not captions:
            return
        path = self._directory.samples / f"step_{step:08d}.png"
        try:
            image_io.save(sample_sheet(on_sheet, captions=captions, max_side=side), path)
        except OutputError as error:
            LOG.warning("the sample sheet %s could not be written (%s); training continues", path, error)
        self._summaries.images("val", in_summary, step=step)

    def saving(self, step: int, quality: dict[str, float] | None = None) -> None:
        """Records that a checkpoint is about to be saved, and puts all reports up to `step` on the disk.

        `quality` are the figures of the validation that are saved with it.
        """
        self._status.saving(step, quality)
        self._csv.flush()
        self._summaries.flush()

    def stopped(self, step: int, signal: str) -> None:
        """Records that `signal` has stopped the run, with a checkpoint saved at `step`."""
        LOG.info("stopped by %s at step %d; rerun the command to resume", signal, step)
        self._status.stopped(signal, step)

    def complete(self, step: int) -> None:
        """Records that the run is complete."""
        self._status.complete(step)
