"""DehazeTrainer: the outer loop. The inner one, the steps themselves, is one compiled function.

    trainer = DehazeTrainer(config, data_dir="records/rice1", workdir="runs/rice1")
    result = trainer.train()

Between two calls of the inner loop the trainer does what is due: log, validate, sample, save, in that
order, so that a checkpoint is written last and everything before it is on the disk.
"""

import logging
import time

import tensorflow as tf

from hazeheal import config as configs
from hazeheal import records
from hazeheal.data.processor import DehazeDataProcessor
from hazeheal.errors import HazeHealError
from hazeheal.models.gan import DehazeGAN
from hazeheal.models.perceptual import check_perceptual_weights
from hazeheal.training import checkpoint, distribute, runlog, step
from hazeheal.training.failures import explained
from hazeheal.training.intervals import Schedule
from hazeheal.training.meters import Clock, Profile
from hazeheal.training.reports import Reports
from hazeheal.training.run_dir import RunDirectory
from hazeheal.training.signals import StopSignals
from hazeheal.training.state import TrainState
from hazeheal.training.tally import Tally
from hazeheal.training.validate import Validator, make_restore

LOG = logging.getLogger("hazeheal")


class DehazeTrainer:
    """One run: networks, data and directory, from its last checkpoint to its end.

    Attributes:
        gan: The networks.
        state: Everything that is saved.
        total_steps: At which the run is complete.
    """

    def __init__(self, config, *, data_dir, workdir, runtime=None, restore_from=None):
        """Checks everything that can be checked, then builds.

        Args:
            config: A configuration, as `hazeheal.config.load` returns it.
            data_dir: A data set made by `hazeheal-tfrecords convert`.
            workdir: The run's directory; a run that is there already goes on.
            runtime: What to compute on (`distribute.choose`); by default all GPUs, else one CPU.
            restore_from: A run or a checkpoint whose networks a new run starts with (fine-tuning).

        Raises:
            HazeHealError: What is wrong, which value, what to do.
        """
        configs.check(config)
        if config.loss.perceptual_weight:
            check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)
        self.runtime = runtime or distribute.choose(precision=config.train.precision, xla=config.train.xla)
        configs.check_batch(config, replicas=self.runtime.replicas)
        self.config = config
        self._fingerprint = records.load_manifest(data_dir)["fingerprint"]
        configs.check_crop(config, records.open_split(data_dir, config.data.train_split))
        self._data_dir = data_dir
        self._data = self._open(config.data.train_split)
        self._val_data = self._open(config.data.val_split) if config.data.val_split else None
        self._directory = RunDirectory(workdir, group=self.runtime.group)
        with self._directory.locked():
            found = checkpoint.find(self._directory.checkpoints)
        if found is not None:
            self._check_data_set(found)
        # A run that goes on needs it no more; it may be gone by then.
        self._restore_from = checkpoint.resolve(restore_from) if restore_from and found is None else None
        self._schedule = Schedule(num_pictures=self._data.num_pictures, batch_size=config.train.batch_size)
        self.total_steps = self._schedule.total_steps(config)

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
                self.state, config=config, runtime=self.runtime, processor=self._val_data
            )

    def _open(self, split):
        data, devices, group = self.config.data, len(self.runtime.devices), self.runtime.group
        return DehazeDataProcessor(
            self._data_dir,
            split=split,
            batch_size=self.config.train.batch_size,
            crop_size=data.crop_size if split == data.train_split else None,
            num_replicas=self.runtime.replicas,
            local_replicas=range(group * devices, (group + 1) * devices),
            seed=self.config.seed,
            flip=data.flip,
            rot90=data.rot90,
            workers=data.workers or None,
            reader=data.reader,
        )

    def _check_data_set(self, path):
        checkpoint.check_data_set(
            path, self._fingerprint, data_dir=self._data_dir, workdir=self._directory.path
        )

    def describe(self) -> str:
        """What was decided, in a few lines."""
        counts = self.gan.parameter_counts()
        validation = f"{self._validator.num_pictures} validation" if self._validator else "no validation"
        return "\n".join(
            [
                f"devices   {self.runtime.describe()}",
                f"networks  generator {counts['generator']:,} parameters, "
                f"discriminator {counts['discriminator']:,}; perceptual loss "
                + ("on" if self.gan.perceptual is not None else "off"),
                f"data      {self._data_dir}: {self._data.num_pictures} training, {validation} pairs",
                f"training  {self.total_steps} steps of {self.config.train.batch_size} pictures "
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
            runlog.setup_logging(self._directory.log)
            for line in self.describe().splitlines():
                LOG.info("%s", line)
            if self.config.model.norm == "batch" and self.runtime.replicas > 1:
                LOG.warning(
                    "--config.model.norm=batch has statistics of its own on each of %d replicas: losses will not "
                    "be those of one replica",
                    self.runtime.replicas,
                )
            self._open_run()
            try:
                first, is_new = self._resume()
                result = self._directory.load_result()
                # Of this step: the run may have been made longer and stopped since.
                if first >= self.total_steps and result.get("steps") == first:
                    LOG.info("the run in %s is complete (%d steps)", self._directory.path, first)
                    return {**result, "complete": True, "signal": None}
                if is_new:
                    self._sample(0)
                done = self._train_from(first, signals)
            finally:
                self._checkpoints.close()
                self._reports.close()
            if done < self.total_steps:
                LOG.info("stopped by %s at step %d; the same command goes on there", signals.received, done)
                return {"complete": False, "signal": signals.received, "steps": done}
            result = self._result(done)
            self._directory.save_result(result)
            return {**result, "complete": True, "signal": None}

    def _open_run(self):
        train = self.config.train
        self._tally = Tally(step.METRICS)
        self._clock = Clock(train.batch_size)
        self._quality = None  # of the weights of this step, where they were validated
        self._shown_from = self._val_data or self._data
        self._shown = self._shown_from.evaluation_dataset().take(self.config.samples.count)
        self._checkpoints = checkpoint.Checkpoints(self._directory.checkpoints, keep=train.keep, log=LOG)
        self._reports = Reports(self._directory, config=self.config, schedule=self._schedule)

    def _resume(self):
        """Restores the newest whole checkpoint, or starts anew; returns (first step, whether it is new)."""
        found = self._checkpoints.restore()
        if found is None:
            first = 0
            if self._restore_from is not None:
                self._take_networks(self._restore_from)
        else:
            path, first = found
            self._check_data_set(path)
            self.state.load(checkpoint.read(path), source=path)
            progress = checkpoint.progress(path)
            self._tally.load_json(progress["tally"])
            self._clock.load_json(progress["clock"])
            self._quality = checkpoint.metrics(path) or None
            LOG.info("resumed at step %d from %s", first, path)
        self._reports.begin(restored=None if found is None else first)
        for change in self._directory.save_config(self.config, step=first):
            LOG.info("the configuration has changed: %s", change)
        return first, found is None

    def _take_networks(self, source):
        missing = self.state.load_networks(checkpoint.read(source), source=source)
        LOG.info("networks taken from %s%s", source, f" ({len(missing)} variables new)" * bool(missing))

    def _train_from(self, first, signals) -> int:
        train, schedule = self.config.train, self._schedule
        log, sample = schedule.every(train.log_every), schedule.every(train.sample_every)
        validate, save = schedule.every(train.validate_every), schedule.every(train.save_every)
        epoch = schedule.every("1 epoch")
        profile = Profile(self.config, self._directory.summaries / "train")
        dataset = self.runtime.strategy.distribute_datasets_from_function(lambda _: self._data.dataset(first))
        iterator = iter(dataset)
        at = first
        with runlog.ProgressLine(self.total_steps, initial_step=first) as line:
            while at < self.total_steps and not signals.received:
                profile.at(at)
                ends = (log, sample, validate, save, epoch, profile)
                until = min(self.total_steps, at + train.steps_per_loop, *(e.next(at) for e in ends))
                self._run_loop(iterator, until - at)
                at, last = until, until == self.total_steps
                if self._tally.skipped_in_a_row >= self.config.optimizer.max_skipped:
                    raise HazeHealError(
                        f"{self._tally.skipped_in_a_row} steps in a row were not finite (up to step {at}); the last "
                        "checkpoint is whole; lower --config.optimizer.learning_rate or set clip_norm"
                    )
                if log.due(at) or last:
                    means, rates = self._tally.take("log"), self._clock.take()
                    self._reports.log(at, means=means, rates=rates, skipped=self._tally.skipped, line=line)
                self._quality = None
                if validate.due(at) or last:
                    self._validate(at)
                if sample.due(at) or last:
                    self._sample(at)
                if epoch.due(at):
                    means = self._tally.take("epoch")
                    self._reports.epoch(at, means=means, skipped=self._tally.skipped, quality=self._quality)
                is_best = self._quality is not None and self._quality["psnr"] > self._checkpoints.best()
                if save.due(at) or last or is_best:
                    self._save(at)
        profile.stop()
        if at < self.total_steps:
            self._save(at)
        if not self._checkpoints.wait():
            raise HazeHealError(
                f"step {at} could not be saved in {self._directory.checkpoints}; make room, and the same command "
                "goes on from the checkpoint before it"
            )
        return at

    def _run_loop(self, iterator, count):
        with explained(processor=self._data, devices=self.runtime.devices):
            begin = time.perf_counter()
            rows, waited = self._loop(iterator, tf.constant(count))
            rows, waited = rows.numpy(), float(waited)
            self._clock.add(count, seconds=time.perf_counter() - begin, waited=waited)
        self._tally.add(rows)

    def _validate(self, at):
        if self._validator is None:
            return
        with explained(processor=self._val_data, devices=self.runtime.devices):
            self._quality = self._validator.run()
        self._reports.validation(at, self._quality)

    def _sample(self, at):
        if not self.config.samples.count or self.runtime.group != 0:
            return
        with explained(processor=self._shown_from, devices=self.runtime.devices):
            rows = list(self._shown.as_numpy_iterator())
            restored = [self._restore(row["hazy"]) for row in rows]
        self._reports.samples(at, [r["hazy"] for r in rows], restored, [r["clear"] for r in rows])

    def _save(self, at):
        self._reports.flush()
        progress = {
            "tally": self._tally.to_json(),
            "clock": self._clock.to_json(),
            "fingerprint": self._fingerprint,
        }
        self._checkpoints.save(self.state.snapshot(), step=at, metrics=self._quality, progress=progress)

    def _result(self, steps) -> dict:
        names = ("psnr_input", "psnr", "ssim_input", "ssim")
        if self._quality is None and self._validator is not None:
            self._quality = self._validator.run()  # a run that was made shorter than it was already
        return {
            **{name: (self._quality or {}).get(name) for name in names},
            "steps": steps,
            "images_per_second": self._clock.images_per_second(),
            "replicas": self.runtime.replicas,
            "precision": self.runtime.precision,
            "xla": self.runtime.xla,
        }
