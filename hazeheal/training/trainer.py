"""DehazeTrainer: the outer loop. The inner one, the steps themselves, is one compiled function.

    trainer = DehazeTrainer(config, data_dir="records/rice1", workdir="runs/rice1")
    result = trainer.train()

Between two calls of the inner loop the trainer does what is due: log, validate, sample, save, in that
order, so that a checkpoint is written last and everything before it is on the disk.
"""

import contextlib
import gc
import logging
import time

import tensorflow as tf

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.failures import translate_errors, translate_lost_groups
from hazeheal.distributed.groups import Groups
from hazeheal.distributed.heartbeat import Heartbeat
from hazeheal.distributed.preemption import StopSignals
from hazeheal.distributed.runtime import choose_runtime
from hazeheal.inference.gan import DehazeGAN
from hazeheal.models.perceptual import check_perceptual_weights
from hazeheal.runs import checkpoints
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training import restore, start
from hazeheal.training.profiler import Profile
from hazeheal.training.reports.logging_setup import setup_logging
from hazeheal.training.reports.progress import ProgressLine
from hazeheal.training.schedule import Schedule
from hazeheal.training.session import Session
from hazeheal.training.step import step
from hazeheal.training.step.train_state import TrainState
from hazeheal.training.validator import Validator, make_restore

LOG = logging.getLogger("hazeheal")


class DehazeTrainer:
    """One run: networks, data and directory, from its last checkpoint to its end.

    Attributes:
        gan: The networks.
        state: Everything that is saved.
        total_steps: At which the run is complete.
    """

    def __init__(self, config, *, data_dir, workdir, runtime=None, restore_from=None, on_bad_record="fail"):
        """Checks everything that can be checked, then builds.

        Args:
            config: A configuration, as `hazeheal.config.load` returns it.
            data_dir: A data set made by `hazeheal-tfrecords convert`.
            workdir: The run's directory; a run that is there already goes on.
            runtime: What to compute on (`distribute.choose`); by default all GPUs, else one CPU.
            restore_from: A run, a checkpoint, a file of weights, or the name of one that ships, whose networks a new
                run starts with (fine-tuning).
            on_bad_record: `fail`: a damaged record ends the run, which names it. `skip`: the next whole one
                in the order takes its place; it is named, and counted in the summaries.

        Raises:
            HazeHealError: What is wrong, which value, what to do.
        """
        gc.unfreeze()  # what a training before in this process has left
        configs.check(config)
        if config.loss.perceptual_weight:
            check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)
        self.runtime = runtime or choose_runtime(precision=config.train.precision, xla=config.train.xla)
        configs.check_batch(config, replicas=self.runtime.replicas)
        self.config = config
        self._fingerprint = records.load_manifest(data_dir)["fingerprint"]
        configs.check_crop(config, records.open_split(data_dir, config.data.train_split))
        self._data_dir = data_dir
        self._on_bad_record = on_bad_record
        self._data = self._open(config.data.train_split)
        self._val_data = self._open(config.data.val_split) if config.data.val_split else None
        self._directory = RunDirectory(workdir, group=self.runtime.group)
        with self._directory.locked():
            found = restore.newest(self._directory)
        if found is not None:
            self._check_data_set(checkpoints.read_progress(found))
        # A run that goes on needs it no more; it may be gone by then.
        self._restore_from = (
            start.find(restore_from, config=config) if restore_from and found is None else None
        )
        self._schedule = Schedule(num_images=self._data.num_images, batch_size=config.train.batch_size)
        self.total_steps = self._schedule.total_steps(config)
        self._heartbeat = Heartbeat()
        self._groups = Groups(self.runtime)
        facts = {"the data set": self._fingerprint, "--on_bad_record": on_bad_record}
        self._groups.check_same(self.runtime.facts() | configs.shared(config) | facts)

        with self.runtime.strategy.scope():
            self.gan = DehazeGAN(config, precision=self.runtime.precision)
            self.state = TrainState(self.gan, use_ema=config.optimizer.ema_half_life > 0)
        self._loop = step.make_loop(
            self.state,
            config=config,
            runtime=self.runtime,
            total_steps=self.total_steps,
            warmup_steps=self._schedule.steps(config.optimizer.warmup),
        )
        self._restore = make_restore(self.state)
        self._validator = None
        if self._val_data is not None:
            self._validator = Validator(
                self.state,
                config=config,
                runtime=self.runtime,
                processor=self._val_data,
                tick=self._beat,
            )

    def _open(self, split):
        devices, group = len(self.runtime.devices), self.runtime.group
        return DehazeDataProcessor.from_config(
            self.config,
            self._data_dir,
            split=split,
            num_replicas=self.runtime.replicas,
            local_replicas=range(group * devices, (group + 1) * devices),
            on_bad_record=self._on_bad_record,
        )

    def _check_data_set(self, saved):
        checkpoints.check_data_set(
            saved, self._fingerprint, data_dir=self._data_dir, workdir=self._directory.path
        )

    def describe(self) -> str:
        """What was decided, in a few lines."""
        counts = self.gan.parameter_counts()
        validation = f"{self._validator.num_images} validation" if self._validator else "no validation"
        return "\n".join(
            [
                f"devices   {self.runtime.describe()}",
                f"networks  generator {counts['generator']:,} parameters, "
                f"discriminator {counts['discriminator']:,}; perceptual loss "
                + ("on" if self.gan.perceptual is not None else "off"),
                f"data      {self._data_dir}: {self._data.num_images} training, {validation} pairs",
                f"training  {self.total_steps} steps of {self.config.train.batch_size} images "
                f"({float(self.total_steps / self._schedule.steps_per_epoch):.4g} epochs)",
            ]
        )

    def train(self) -> dict:
        """Trains to the end, or until SIGTERM or SIGINT.

        Returns:
            What result.json holds, with `complete`: whether the run is, and `signal`: what stopped it.

        Raises:
            HazeHealError: Damaged data (named), too many non-finite steps in a row, or a directory in use.
        """
        with self._directory.locked(), StopSignals() as signals:
            setup_logging(self._directory.log, group=self._groups.number)
            for line in self.describe().splitlines():
                LOG.info("%s", line)
            if self.config.model.norm == "batch" and self.runtime.replicas > 1:
                LOG.warning(
                    "--config.model.norm=batch has statistics of its own on each of %d replicas: losses will not "
                    "be those of one replica",
                    self.runtime.replicas,
                )
            # Made at the start of training, not of this object: until then nothing is written.
            self._session = Session(
                config=self.config,
                state=self.state,
                directory=self._directory,
                groups=self._groups,
                schedule=self._schedule,
                data=self._data,
                data_set=(self._data_dir, self._fingerprint),
                facts=self._facts(),
            )
            status, count = self._session.status, self._groups.count
            with status.record_failure(), translate_lost_groups(count), contextlib.closing(self._session):
                status.begin()
                first, is_new = self._session.begin(restore_from=self._restore_from)
                complete = self._complete_result(first)
                if complete is not None:
                    LOG.info("the run in %s is complete (%d steps)", self._directory.path, first)
                    status.complete(first)
                    return {**complete, "complete": True, "signal": None}
                status.restored(first)
                if is_new:
                    self._sample(0)
                done, signal = self._train_from(first, signals)
                if done < self.total_steps:
                    LOG.info("stopped by %s at step %d; the same command goes on there", signal, done)
                    status.stopped(signal, done)
                    return {"complete": False, "signal": signal, "steps": done}
                result = self._save_result(done)
                status.complete(done)
                return {**result, "complete": True, "signal": None}

    def _train_from(self, first, signals):
        """Trains from step `first` on; returns (the step reached, the signal that stopped it or None)."""
        train, schedule, session = self.config.train, self._schedule, self._session
        log, sample = schedule.every(train.log_every), schedule.every(train.sample_every)
        validate, save = schedule.every(train.validate_every), schedule.every(train.save_every)
        epoch = schedule.every("1 epoch")
        profile = Profile(self.config, self._directory.summaries / "train")
        progress = ProgressLine(self.total_steps, initial_step=first, enabled=self._groups.is_first)
        at, iterator, signal = first, self._batches_from(first), session.stopped_by(signals)
        with progress as line:
            while at < self.total_steps and not signal:
                profile.at(at)
                ends = (log, sample, validate, save, epoch, profile)
                until = min(self.total_steps, at + train.steps_per_loop, *(e.next(at) for e in ends))
                self._run_loop(iterator, until - at)
                if not gc.get_freeze_count():
                    # The graphs traced by now are a million objects that stay: the collector need not go through
                    # them again and again, for seconds each time where their pages were reclaimed meanwhile.
                    gc.freeze()
                at, last = until, until == self.total_steps
                if session.tally.skipped_in_a_row >= self.config.optimizer.max_skipped:
                    at = session.go_back(at)
                    iterator = self._batches_from(at)
                    continue
                if log.due(at) or last:
                    session.report(at, line=line)
                session.quality = None
                if validate.due(at) or last:
                    self._validate(at)
                if sample.due(at) or last:
                    self._sample(at)
                if epoch.due(at):
                    session.report_epoch(at)
                if save.due(at) or last or session.is_best():
                    session.save(at)
                self._beat(at)
                signal = session.stopped_by(signals)
        profile.stop()
        if at < self.total_steps:
            session.save(at)
        session.end(at)
        return at, signal

    def _beat(self, step=None):
        self._heartbeat.beat(step)
        self._session.status.beat(step)

    def _batches_from(self, at):
        return iter(self.runtime.strategy.distribute_datasets_from_function(lambda _: self._data.dataset(at)))

    def _run_loop(self, iterator, count):
        with translate_errors(processor=self._data, devices=self.runtime.devices):
            begin = time.perf_counter()
            rows, waited = self._loop(iterator, tf.constant(count))
            rows, waited = rows.numpy(), float(waited)
            self._session.clock.add(count, seconds=time.perf_counter() - begin, waited=waited)
        self._session.tally.add(rows)

    def _validate(self, at):
        if self._validator is None:
            return
        self._session.status.enter("validating", step=at)
        with translate_errors(processor=self._val_data, devices=self.runtime.devices):
            self._session.quality = self._validator.run()
        self._session.reports.validation(at, self._session.quality)
        self._session.status.validated(at, self._session.quality)

    def _sample(self, at):
        count, data = self.config.samples.count, self._val_data or self._data
        if not count:
            return
        # Every group shows other images, as far as there are.
        skipped = self._groups.number * count % data.num_images
        shown = data.evaluation_dataset().repeat().skip(skipped).take(min(count, data.num_images))
        with translate_errors(processor=data, devices=self.runtime.devices):
            rows = list(shown.as_numpy_iterator())
            restored = [self._restore(row["hazy"]) for row in rows]
        self._session.reports.samples(at, [r["hazy"] for r in rows], restored, [r["clear"] for r in rows])

    def _facts(self):
        runtime = self.runtime
        return {"replicas": runtime.replicas, "precision": runtime.precision, "xla": runtime.xla}

    def _complete_result(self, first):
        """The result of a run that is complete at step `first`, or None; group 0 decides."""
        result = self._directory.load_result()
        # Of this step: the run may have been made longer and stopped since.
        complete = first >= self.total_steps and result.get("steps") == first
        return result if self._groups.gather([complete])[0, 0] else None

    def _save_result(self, steps) -> dict:
        """Writes result.json, in every directory that the groups have."""
        quality = self._session.quality
        if quality is None and self._validator is not None:
            quality = self._validator.run()  # a run that was made shorter than it was already
        names = ("psnr_input", "psnr", "ssim_input", "ssim")
        result = {
            **{name: (quality or {}).get(name) for name in names},
            "steps": steps,
            "images_per_second": self._session.clock.images_per_second(),
            **self._facts(),
        }
        if self._groups.is_first:
            self._directory.save_result(result)
        self._groups.barrier()
        if self._directory.load_result().get("steps") != steps:  # no file system shared with group 0
            self._directory.save_result(result)
        return result
