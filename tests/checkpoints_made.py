"""Small checkpoints for tests, whose values depend on the step, and a logger that records its lines."""

import logging

import numpy as np
import tiny

from hazeheal import config as configs
from hazeheal.inference.gan import DehazeGAN
from hazeheal.runs.checkpoint_manager import CheckpointManager


def snapshot(step, size=1000):
    values = np.random.default_rng(step).normal(size=size).astype(np.float32)
    return {"generator/a/kernel": values, "step": np.array(step, np.int64), "b": np.float32(step / 3)}


class Log(logging.Logger):
    """A logger that records its lines."""

    def __init__(self):
        super().__init__("test")
        self.lines = []
        self.addHandler(logging.Handler())
        self.handlers[0].emit = lambda record: self.lines.append(record.getMessage())


def write(folder, *entries, log, keep=10):
    """Writes checkpoints [(step, psnr or None), ...] and returns their folder."""
    checkpoints = CheckpointManager(folder, keep=keep, log=log)
    for step, psnr in entries:
        metrics = {} if psnr is None else {"psnr": psnr, "ssim": 0.5}
        checkpoints.save(snapshot(step), step=step, metrics=metrics, progress={"fingerprint": "f", "n": step})
    assert checkpoints.wait()
    checkpoints.close()
    return folder


def write_run(path, *entries, **fields):
    """Writes a run directory with checkpoints [(step, psnr), ...] of random weights.

    Args:
        path: The directory, a `pathlib.Path`.
        entries: (step, psnr) of each checkpoint.
        fields: Overrides of the configuration for `tiny.config`.
    """
    config = tiny.config(train__steps=entries[-1][0], **fields)
    gan, random = DehazeGAN(config, for_training=False), np.random.default_rng(0)
    path.mkdir()
    (path / "config.json").write_text(configs.to_json(config))
    checkpoints = CheckpointManager(path / "group_00/checkpoints", keep=3, log=None)
    for step, psnr in entries:
        values = {f"generator/{v.path}": _value(v, random) for v in gan.generator.variables}
        checkpoints.save(values, step=step, metrics={"psnr": psnr}, progress={"fingerprint": "f"})
    checkpoints.close()
    return path


def _value(variable, random):
    value = random.normal(0, 0.2, variable.shape).astype("f4")
    # The square root of a negative variance is NaN.
    return np.abs(value) + 0.5 if variable.path.endswith("moving_variance") else value


def equal(a, b):
    return a.keys() == b.keys() and all(
        np.asarray(a[k]).dtype == np.asarray(b[k]).dtype and np.array_equal(a[k], b[k]) for k in a
    )
