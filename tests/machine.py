"""One trainer for many short runs, and readers of the files that a run writes.

Building the compiled functions takes most of a small run's time, so the runs share one trainer, set back to its
initial weights and pointed at another directory. Processes of their own are in test_train_command.py.
"""

import csv
import json
import signal
import time

import tensorflow as tf
import tiny
from trainings import graphs_as_they_are

from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training.result import RATES
from hazeheal.training.schedule import Schedule
from hazeheal.training.trainer import DehazeTrainer

TOTAL = 22
EPOCH_ENDS = [3, 6, 9, 11, 14, 17, 20, 22]  # ceil(11 e / 4)
EVERY = {"train__validate_every": "10 steps", "train__sample_every": "16 steps", "train__steps": TOTAL}
LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")
KEYS = [
    "psnr_input",
    "psnr",
    "ssim_input",
    "ssim",
    "steps",
    *RATES,
    "replicas",
    "precision",
    "xla",
]


class Machine:
    """One trainer for many runs.

    Attributes:
        rows: The metrics of every step of the last run, in order.
        seconds: What the calls of the loop in the last run took.
    """

    def __init__(self, data, runtime, workdir):
        self.trainer = DehazeTrainer(tiny.config(**EVERY), data_dir=data, workdir=workdir, runtime=runtime)
        self.initial = self.trainer.state.snapshot()
        loop, open_session = self.trainer._loop, self.trainer._open_session

        def opened():
            self.session = open_session()
            return self.session

        def recorded(iterator, count):
            if self.waits_for_writes:
                self.session._checkpoints.wait()
            for action in self.before.pop(self.at, []):
                action()
            begin = time.perf_counter()
            rows, waited = loop(iterator, count)
            rows = rows.numpy()
            self.seconds.append(time.perf_counter() - begin)
            self.rows.extend(rows)
            self.at += len(rows)
            for number in [n for n in self.after if n <= self.at]:
                for action in self.after.pop(number):
                    action()
            return tf.constant(rows), waited

        self.trainer._loop, self.trainer._open_session = recorded, opened

    def run(self, workdir, *, resumed_at=0, before=(), after=(), restore_from=None, waits_for_writes=True, **overrides):
        """Trains in `workdir` with overrides that do not change what is compiled.

        Args:
            workdir: The run's directory.
            resumed_at: The step at which it begins.
            before, after: {step: action}, called before the loop goes on at that step, or when it is done (`after`: or
                is past it).
            restore_from: Networks that a new run starts with.
            waits_for_writes: Whether every checkpoint is on the disk before the next step, so that no save is skipped.
            overrides: Of the configuration.
        """
        self.waits_for_writes = waits_for_writes
        trainer = self.trainer
        trainer.state.load(self.initial, source="the test")
        trainer.config = tiny.config(**EVERY | overrides)
        trainer._schedule = Schedule(trainer.config, num_pairs=trainer._data.train.num_images)
        trainer._directory = RunDirectory(workdir)
        trainer._networks_from = restore_from
        self.rows, self.seconds, self.at = [], [], resumed_at
        self.before = {n: [action] for n, action in dict(before).items()}
        self.after = {n: [action] for n, action in dict(after).items()}
        # TensorFlow's optimization of the graphs would take longer than all the rest; processes of their own have it.
        with graphs_as_they_are():
            return trainer.train()

    def stopped(self, workdir, at, number=signal.SIGTERM, **options):
        """Trains until the loop has passed step `at` and stops by a signal."""
        result = self.run(workdir, after={at: lambda: signal.raise_signal(number)}, **options)
        assert result == {"complete": False, "signal": signal.Signals(number).name, "steps": self.at}
        return result


def csv_rows(run):
    with open(run / "group_00/training_log.csv", newline="") as file:
        return list(csv.DictReader(file))


def log_of(run):
    return (run / "group_00/log.txt").read_text()


def same_run(run, other, *, step=TOTAL):
    """Asserts that two runs have the same log, final checkpoint, TensorBoard contents and result."""
    for name in ("training_log.csv", f"samples/step_{step:08d}.png"):
        assert (run / "group_00" / name).read_bytes() == (other / "group_00" / name).read_bytes()
    assert tiny.tensors(run, step) == tiny.tensors(other, step)
    # The text of the configuration names the profile that one of them wrote.
    ours, theirs = ([e for e in tiny.timeless(r) if e[1] != "config"] for r in (run, other))
    assert [e[:3] for e in ours] == [e[:3] for e in theirs]
    assert ours == theirs
    figures = [json.loads((r / "result.json").read_text()) for r in (run, other)]
    for result in figures:
        for name in RATES:
            result.pop(name)
    assert figures[0] == figures[1]
