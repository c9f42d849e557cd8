"""DehazeTrainer: the outer loop of a training. The inner loop, the steps themselves, is one compiled function.

    trainer = DehazeTrainer(config, data_dir="records/rice1", workdir="runs/rice1")
    result = trainer.train()

`train` reads as the story of a run. Between two calls of the inner loop it does what is due: log, validate, sample,
save. A checkpoint is written last, so that all reports up to its step are on the disk.
"""

import contextlib
import gc
import logging
import pathlib
import time

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.distributed.failures import translate_errors, translate_failures
from hazeheal.distributed.groups import Groups
from hazeheal.distributed.preemption import STOP_SIGNALS, StopSignals
from hazeheal.distributed.runtime import Runtime, choose_runtime
from hazeheal.models.networks import Networks
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training.data import TrainingData
from hazeheal.training.image_restorer import ImageRestorer
from hazeheal.training.preflight.checks import check_run
from hazeheal.training.profiler import Profiler
from hazeheal.training.replica_check import ReplicaCheck
from hazeheal.training.reports.logging_setup import setup_logging
from hazeheal.training.reports.reporter import Reporter
from hazeheal.training.result import complete_result, save_result
from hazeheal.training.sampler import Sampler
from hazeheal.training.schedule import LoopLength, Schedule
from hazeheal.training.session import Session
from hazeheal.training.step.step import make_loop, make_state
from hazeheal.training.validator import Validator

LOG = logging.getLogger("hazeheal")


class DehazeTrainer:
    """One run: networks, data and directory, from its last checkpoint to its end.

    Attributes:
        state: Everything that a checkpoint holds.
    """

    def __init__(
        self,
        config: ConfigDict,
        *,
        data_dir: str | pathlib.Path,
        workdir: str | pathlib.Path,
        runtime: Runtime | None = None,
        restore_from: str | pathlib.Path | None = None,
        on_bad_record: str = "fail",
    ):
        """Checks everything that can be checked, then builds.

        Args:
            config: A configuration, as `hazeheal.config.load` returns it.
            data_dir: A data set made by `hazeheal-tfrecords convert`.
            workdir: The run's directory; an existing run is resumed.
            runtime: The devices to train on; None: all GPUs, or one CPU replica where there is no GPU.
            restore_from: Fine-tuning: a run, a checkpoint, a weights file or the name of a shipped one, whose networks a
                new run starts with.
            on_bad_record: `fail`: a damaged record ends the run. `skip`: the next intact record is used instead. Both
                log its name.

        Raises:
            HazeHealError: Invalid input: what is wrong, which value, what to do.
        """
        gc.unfreeze()  # a previous training in this process may have frozen its objects
        configs.check(config)
        self.runtime = runtime or choose_runtime(precision=config.train.precision, xla=config.train.xla)
        configs.check_batch(config, replicas=self.runtime.replicas)
        self.config = config
        self._data_dir = data_dir
        self._directory = RunDirectory(workdir, group=self.runtime.group)
        found = check_run(config, data_dir=data_dir, directory=self._directory, restore_from=restore_from)
        self._fingerprint, self._networks_from = found.fingerprint, found.networks_from
        self._data = TrainingData(config, data_dir, runtime=self.runtime, on_bad_record=on_bad_record)
        with self._directory.locked():
            pass  # refuses a directory that is in use, before anything is built
        self._schedule = Schedule(config, num_pairs=self._data.train.num_images)
        self._loop_length = LoopLength(config.train.steps_per_loop)
        self._groups = Groups(self.runtime)
        facts = {"the data set": self._fingerprint, "--on_bad_record": on_bad_record}
        self._groups.check_same(self.runtime.facts() | configs.shared(config) | facts)

        self.state = make_state(config, runtime=self.runtime)
        self._loop = self._make_loop()
        self._replica_check = ReplicaCheck(self.state, runtime=self.runtime, groups=self._groups)
        self._restorer = ImageRestorer(self.state, config=config)
        images = self._data.val or self._data.train
        self._sampler = Sampler(self._restorer, count=config.samples.count, processor=images, groups=self._groups)
        self._validation_due = False  # a signal stopped the one at this step
        self._validator = None
        if self._data.val is not None:
            self._validator = Validator(
                self._restorer, config=config, runtime=self.runtime, groups=self._groups, processor=self._data.val
            )

    @property
    def networks(self) -> Networks:
        """The networks with the current parameters."""
        self.state.update_networks()  # training changes the state's vectors
        return self.state.networks

    @property
    def total_steps(self) -> int:
        """The step at which the run is complete."""
        return self._schedule.total_steps

    def _make_loop(self):
        steps = {"total_steps": self.total_steps, "warmup_steps": self._schedule.warmup_steps}
        return make_loop(self.state, config=self.config, runtime=self.runtime, **steps)

    def describe(self) -> str:
        """Returns devices, networks, data and length of the run in a few lines."""
        epochs = float(self.total_steps / self._schedule.steps_per_epoch)
        return "\n".join(
            [
                f"devices   {self.runtime.describe()}",
                f"networks  {self.state.networks.describe()}",
                f"data      {self._data.describe()}",
                f"training  {self.total_steps} steps of {self.config.train.batch_size} images ({epochs:.4g} epochs)",
            ]
        )

    def train(self) -> dict:
        """Trains to the end, or until SIGTERM or SIGINT.

        Returns:
            The contents of result.json, with `complete`: whether the run is, and `signal`: what stopped it. A run that
            was stopped has `complete`, `signal` and `steps` only.

        Raises:
            HazeHealError: A record is damaged, too many steps in a row were not finite, or another process uses the
                directory.
            DeviceFailedError: A device failed, or replicas differ; the same call in a new process resumes the run.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._directory.locked())
            signals = stack.enter_context(StopSignals())
            setup_logging(self._directory.log, group=self._groups.number)
            for line in self.describe().splitlines():
                LOG.info("%s", line)
            reporter = stack.enter_context(self._open_reporter())
            failures = translate_failures(self._groups.count, checkpoints=self._directory.checkpoints)
            stack.enter_context(failures)
            session = stack.enter_context(contextlib.closing(self._open_session()))
            stack.enter_context(self._data.build_caches())

            restored = session.restore(networks_from=self._networks_from)
            step = 0 if restored is None else restored.step
            result = complete_result(self._directory, groups=self._groups, step=step, total_steps=self.total_steps)
            if result is not None:
                LOG.info("the run in %s is complete (%d steps)", self._directory.path, step)
                reporter.complete(step)
                return {**result, "complete": True, "signal": None}
            quality = self._start_from(restored, reporter)
            if restored is None:
                self._sample(step, reporter)
            elif self._validation_due:
                quality = self._report(step, signals, reporter)
                self._save(step, quality, session, reporter, is_last=True)

            due, batches, save_due = self._schedule, self._data.batches_from(step), False
            profiler = Profiler(self.config, self._directory.summaries / "train")
            while step < self.total_steps:
                signal, count = self._agree(signals)
                if signal:
                    break
                profiler.update(step)
                if self._data.open_cache(self._data.train):
                    batches = self._data.batches_from(step)
                stop = min(step + count, due.next_stop(step), profiler.next(step))
                self._run_steps(batches, step, stop, reporter)
                step = stop

                if reporter.longest_skipped >= self.config.optimizer.max_skipped:
                    restored = session.roll_back(step, skipped=reporter.longest_skipped)
                    step, quality = restored.step, self._start_from(restored, reporter)
                    batches, save_due = self._data.batches_from(step), False
                    continue
                if due.log.due(step):
                    with due.log.measured():
                        reporter.log(step, bad_records=len(self._data.train.bad_records))
                quality = self._report(step, signals, reporter)
                if self._validation_due:
                    break
                save_due = save_due or due.save.due(step) or session.is_best(quality)
                # Checkpoints of a series of non-finite steps would take the place of those that a rollback may need.
                if save_due and (not reporter.is_skipping or step == self.total_steps):
                    self._save(step, quality, session, reporter, is_last=step == self.total_steps)
                    save_due = False
                reporter.beat(step)
            profiler.stop()

            is_stopped = step < self.total_steps or self._validation_due
            if is_stopped:
                self._save(step, quality, session, reporter, is_last=True)
            reporter.saving(step)
            session.wait(step)
            if not is_stopped and quality is None:
                # `train.steps` was lowered to a step that is already reached.
                quality = self._validate(step, signals, reporter)
            if is_stopped or self._validation_due:
                signal, _ = self._agree(signals)
                reporter.stopped(step, signal)
                return {"complete": False, "signal": signal, "steps": step}
            facts = {"quality": quality, "rates": reporter.rates, "facts": self._facts()}
            result = save_result(self._directory, groups=self._groups, step=step, **facts)
            reporter.complete(step)
            return {**result, "complete": True, "signal": None}

    def _open_reporter(self):
        # Opened at the start of training, not with this object: until then nothing is written.
        facts = {"data_dir": str(self._data_dir), "groups": self._groups.count, **self._facts()}
        options = {"config": self.config, "schedule": self._schedule, "is_first": self._groups.is_first}
        return Reporter(self._directory, facts=facts, **options)

    def _open_session(self):
        return Session(
            config=self.config,
            state=self.state,
            directory=self._directory,
            groups=self._groups,
            data_dir=self._data_dir,
            fingerprint=self._fingerprint,
        )

    def _start_from(self, restored, reporter):
        """Resumes reports and data from a checkpoint, None for a new run; returns the figures of its validation."""
        self._schedule.start(None if restored is None else restored.progress.get("schedule"))
        self._validation_due = restored is not None and restored.progress.get("validation_due", False)
        if restored is None:
            reporter.start(0, progress=None)
            return None
        self._data.train.note_bad_records(restored.progress.get("bad_records", ()))
        reporter.start(restored.step, progress=restored.progress)
        return restored.metrics or None

    def _agree(self, signals):
        """Returns the signal that any group has received, or None, and how many steps all groups run next.

        Intervals in minutes are over when they are by the clock of group 0.
        """
        names, over = (None, *STOP_SIGNALS), self._schedule.due_by_clock()
        table = self._groups.gather([names.index(signals.received), self._loop_length.wanted(), *over])
        self._schedule.agree(table[0, 2:])
        return names[int(table[:, 0].max())], int(table[:, 1].min())

    def _run_steps(self, batches, step, stop, reporter):
        with translate_errors(processor=self._data.train, devices=self.runtime.devices):
            begin = time.perf_counter()
            metrics, waited = self._loop(batches, tf.constant(stop - step))
            metrics, waited = metrics.numpy(), float(waited)
            end = time.perf_counter()
        self._loop_length.add(stop - step, seconds=end - begin)
        reporter.add(step, metrics, begin=begin, end=end, waited=waited)

    def _report(self, step, signals, reporter):
        """Validates, samples and adds the row of an epoch if that is due; returns the figures of the validation or None.

        If a signal stops the validation, it is due when the run resumes, and the rest follows then.
        """
        due, quality = self._schedule, None
        if self._validation_due or due.validate.due(step):
            with due.validate.measured():
                quality = self._validate(step, signals, reporter)
            if self._validation_due:
                return None
        if due.sample.due(step):
            with due.sample.measured():
                self._sample(step, reporter)
        if due.epoch.due(step):
            reporter.epoch(step)
        return quality

    def _validate(self, step, signals, reporter):
        """Returns the figures of the validation; None if there is no split for it, or if a signal stops it."""
        self._validation_due = False
        if self._validator is None:
            return None
        reporter.validating(step)
        self._data.open_cache(self._data.val)
        with self._translate_errors_of(self._data.val):
            quality = self._validator.run(tick=reporter.beat, is_stopped=lambda: signals.received is not None)
        self._validation_due = quality is None
        if quality is not None:
            reporter.validation(step, quality)
        return quality

    def _sample(self, step, reporter):
        with self._translate_errors_of(self._data.val or self._data.train):
            reporter.samples(step, self._sampler.run(tick=reporter.beat))

    def _translate_errors_of(self, images):
        advice = self._restorer.memory_advice
        return translate_errors(processor=images, devices=self.runtime.devices, memory_advice=advice)

    def _save(self, step, quality, session, reporter, *, is_last):
        if not is_last and not session.can_save(step, quality=quality):
            return
        with self._schedule.save.measured():
            self._replica_check.run(step, checkpoints=self._directory.checkpoints)
            reporter.saving(step, quality)
            bad_records = list(self._data.train.bad_records)
            progress = {**reporter.to_json(), "schedule": self._schedule.to_json(), "bad_records": bad_records}
            progress["validation_due"] = self._validation_due
            self._data.train.log_bad_records()  # A run that resumes from this checkpoint does not log those in it again.
            session.save(step, quality=quality, progress=progress)

    def _facts(self):
        runtime = self.runtime
        return {"replicas": runtime.replicas, "precision": runtime.precision, "xla": runtime.xla}
