"""DehazeTrainer: the outer loop. The inner one, the steps themselves, is one compiled function.

    trainer = DehazeTrainer(config, data_dir="records/rice1", workdir="runs/rice1")
    result = trainer.train()

Between two calls of the inner loop the trainer does what is due: log, validate, sample, save, in that
order, so that a checkpoint is written last and everything before it is on the disk.
"""

import logging

import tensorflow as tf

from hazeheal import config as configs
from hazeheal import records
from hazeheal.data.processor import DehazeDataProcessor
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.models.gan import DehazeGAN
from hazeheal.models.perceptual import check_perceptual_weights
from hazeheal.training import checkpoint, distribute, runlog, samples, step, summaries
from hazeheal.training.intervals import Schedule
from hazeheal.training.meters import Clock, Profile
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
        if restore_from is not None:
            restore_from = checkpoint.resolve(restore_from)
        self.runtime = runtime or distribute.choose(precision=config.train.precision, xla=config.train.xla)
        configs.check_batch(config, replicas=self.runtime.replicas)
        self.config = config
        self._fingerprint = records.load_manifest(data_dir)["fingerprint"]
        self._data = self._open(data_dir, config.data.train_split)
        self._val_data = self._open(data_dir, config.data.val_split) if config.data.val_split else None
        self._directory = RunDirectory(workdir, group=self.runtime.group)
        self._restore_from = restore_from
        self._schedule = Schedule(num_pictures=self._data.num_pictures, batch_size=config.train.batch_size)
        self.total_steps = self._schedule.total_steps(config)
        self._data_dir = data_dir

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
        self._tally = Tally(step.METRICS)
        self._quality = {}  # of the last validation
        self._images_per_second = None

    def _open(self, data_dir, split):
        data, batch = self.config.data, self.config.train.batch_size
        training = split == data.train_split
        devices, group = len(self.runtime.devices), self.runtime.group
        return DehazeDataProcessor(
            data_dir,
            split=split,
            batch_size=batch,
            crop_size=data.crop_size if training else None,
            num_replicas=self.runtime.replicas,
            local_replicas=range(group * devices, (group + 1) * devices),
            seed=self.config.seed,
            flip=data.flip,
            rot90=data.rot90,
            workers=data.workers or None,
            reader=data.reader,
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
            self._open_run()
            try:
                first = self._resume()
                if first >= self.total_steps and self._directory.result.exists():
                    LOG.info("the run in %s is complete (%d steps)", self._directory.path, first)
                    return {**self._directory.load_result(), "complete": True, "signal": None}
                done = self._train_from(first, signals)
            finally:
                self._checkpoints.close()
                self._summaries.close()
            if done < self.total_steps:
                LOG.info("stopped by %s at step %d; the same command goes on there", signals.received, done)
                return {"complete": False, "signal": signals.received, "steps": done}
            result = self._result()
            self._directory.save_result(result)
            return {**result, "complete": True, "signal": None}

    def _open_run(self):
        train = self.config.train
        self._checkpoints = checkpoint.Checkpoints(self._directory.checkpoints, keep=train.keep, log=LOG)
        shown = self.config.samples
        self._summaries = summaries.SummaryWriters(
            self._directory.summaries, max_pictures=max(1, shown.count), max_side=shown.max_side
        )
        self._csv = runlog.TrainingLog(self._directory.training_log)

    def _resume(self) -> int:
        """Restores the newest whole checkpoint, or starts anew; returns the step to go on at."""
        found = self._checkpoints.restore()
        if found is None:
            first = 0
            if self._restore_from is not None:
                source = self._restore_from
                missing = self.state.load_networks(checkpoint.read(source), source=source)
                LOG.info(
                    "networks taken from %s%s", source, f" ({len(missing)} variables new)" * bool(missing)
                )
        else:
            path, first = found
            progress = checkpoint.progress(path)
            if progress["fingerprint"] != self._fingerprint:
                raise UsageError(
                    f"{self._data_dir} is not the data set that the run in {self._directory.path} was trained on; "
                    f"name another --workdir, with --restore_from={self._directory.path} to take over the networks"
                )
            self.state.load(checkpoint.read(path), source=path)
            self._tally.load_json(progress["tally"])
            self._quality = checkpoint.metrics(path)
            self._images_per_second = progress["images_per_second"]
            LOG.info("resumed at step %d from %s", first, path)
        self._csv.set_aside_after(step=first if found else -1)
        self._summaries.set_aside_after(first if found else -1)
        for change in self._directory.save_config(self.config, step=first):
            LOG.info("the configuration has changed: %s", change)
        if found is None:
            self._summaries.text("config", summaries.config_markdown(configs.flat(self.config)))
        return first

    def _train_from(self, first, signals) -> int:
        train, schedule = self.config.train, self._schedule
        log, sample = schedule.every(train.log_every), schedule.every(train.sample_every)
        validate, save = schedule.every(train.validate_every), schedule.every(train.save_every)
        epoch = schedule.every("1 epoch")
        profile = Profile(self.config, self._directory.summaries / "train")
        dataset = self.runtime.strategy.distribute_datasets_from_function(lambda _: self._data.dataset(first))
        iterator = iter(dataset)
        clock = Clock(train.batch_size)
        at = first
        if at == 0:
            self._sample(0)
        with runlog.ProgressLine(self.total_steps, initial_step=first) as progress:
            while at < self.total_steps and not signals.received:
                profile.at(at)
                ends = (log, sample, validate, save, epoch, profile)
                until = min(self.total_steps, at + train.steps_per_loop, *(e.next(at) for e in ends))
                rows, waited = self._run_loop(iterator, until - at)
                at = until
                clock.add(len(rows), waited)
                self._tally.add(rows)
                if self._tally.skipped_in_a_row >= self.config.optimizer.max_skipped:
                    raise HazeHealError(
                        f"{self._tally.skipped_in_a_row} steps in a row were not finite (up to step {at}); the last "
                        "checkpoint is whole; lower --config.optimizer.learning_rate or set clip_norm"
                    )
                last = at == self.total_steps
                if log.due(at) or last:
                    self._log(at, progress, clock)
                validated = self._validator is not None and (validate.due(at) or last)
                if validated:
                    self._validate(at)
                if sample.due(at) or last:
                    self._sample(at)
                if epoch.due(at):
                    self._append_epoch(at, validated)
                if save.due(at) or last or (validated and self._quality["psnr"] > self._checkpoints.best()):
                    self._save(at, validated)
        profile.stop()
        if at < self.total_steps:
            self._save(at, False)
        if not self._checkpoints.wait() and at < self.total_steps:
            raise HazeHealError(f"step {at} could not be saved; the run goes on from the last checkpoint")
        return at

    def _run_loop(self, iterator, count):
        try:
            rows, waited = self._loop(iterator, tf.constant(count))
            return rows.numpy(), float(waited)
        except tf.errors.OpError as error:
            damaged = self._data.translate_error(error)
            if damaged is None:
                raise
            raise DataError(str(damaged)) from error

    def _log(self, at, progress, clock):
        means = self._tally.take("log")
        rates = clock.take()
        self._images_per_second = rates["images_per_second"] or self._images_per_second
        values = {**means, **rates, "skipped_steps": self._tally.skipped}
        values.pop("skipped")
        self._summaries.scalars("train", values, step=at)
        shown = {name: means[name] for name in step.LOSSES if means[name] is not None}
        progress.update(
            at,
            epoch=self._schedule.epochs_done(at),
            losses=shown,
            images_per_second=rates["images_per_second"],
        )

    def _validate(self, at):
        self._quality = self._validator.run()
        self._summaries.scalars("val", self._quality, step=at)
        q = self._quality
        LOG.info(
            "step %d: validation PSNR %.2f dB (hazy input %.2f), SSIM %.4f (%.4f)",
            at,
            q["psnr"],
            q["psnr_input"],
            q["ssim"],
            q["ssim_input"],
        )

    def _sample(self, at):
        count = self.config.samples.count
        if not count or self.runtime.group != 0:
            return
        source = self._val_data or self._data
        rows = list(source.evaluation_dataset().take(count).as_numpy_iterator())
        hazy, clear = [r["hazy"] for r in rows], [r["clear"] for r in rows]
        restored = [self._restore(picture) for picture in hazy]
        path = self._directory.samples / f"step_{at:08d}.png"
        samples.write_sheet(path, hazy, restored, clear, max_side=min(320, self.config.samples.max_side))
        self._summaries.pictures("val", hazy, restored, clear, step=at)

    def _append_epoch(self, at, validated):
        means = self._tally.take("epoch")
        row = {name: means[name] for name in step.LOSSES}
        if validated:
            row |= {f"val_{name}": self._quality[f"val_{name}"] for name in step.LOSSES}
            row |= {"val_psnr": self._quality["psnr"], "val_ssim": self._quality["ssim"]}
        row |= {
            "epoch": self._schedule.epochs_done(at) - 1,
            "step": at,
            "images": at * self.config.train.batch_size,
            "learning_rate": means["learning_rate"],
            "skipped_steps": self._tally.skipped,
        }
        self._csv.append(row)

    def _save(self, at, validated):
        self._summaries.flush()
        progress = {
            "tally": self._tally.to_json(),
            "fingerprint": self._fingerprint,
            "images_per_second": self._images_per_second,
        }
        metrics = self._quality if validated else {}
        self._checkpoints.save(self.state.snapshot(), step=at, metrics=metrics, progress=progress)

    def _result(self) -> dict:
        names = ("psnr_input", "psnr", "ssim_input", "ssim")
        return {
            **{name: self._quality.get(name) for name in names},
            "steps": self.total_steps,
            "images_per_second": self._images_per_second,
            "replicas": self.runtime.replicas,
            "precision": self.runtime.precision,
            "xla": self.runtime.xla,
        }
