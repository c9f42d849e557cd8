"""Shared by the tests of complete runs: a tiny data set, a tiny configuration, and readers of a run's files."""

import contextlib
import io
import pathlib
import shutil
import subprocess
import sys

import event_reading
import processes
from disks import flip

from hazeheal import config as configs
from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.runs import checkpoints
from hazeheal.training.reports import accumulators
from tfrecords_tools import __main__ as tools

# 11 training pairs in batches of 4: an epoch is no whole number of steps, and no interval a multiple of a loop.
OVERRIDES = {
    "data.crop_size": 16,
    "data.workers": 2,
    "data.cache": "off",  # a cache would hide damage to copies of the data set; its own tests switch it on
    "model.width": 4,
    "model.depth": 1,
    "model.disc_width": 4,
    "model.se_ratio": 0.0,
    "loss.perceptual_weight": 0.0,
    "optimizer.learning_rate": 1e-3,
    "optimizer.warmup": "4 steps",
    "train.epochs": 0.0,
    "train.batch_size": 4,
    "train.steps_per_loop": 3,
    "train.precision": "float32",
    "train.log_every": "5 steps",
    "train.save_every": "4 steps",
    "samples.count": 2,
    "samples.max_side": 64,
}
# Scalars that depend on the clock: two equal runs differ in them.
OF_THE_CLOCK = {f"speed/{name}" for name in accumulators.RATES}


def data_set(folder, *, name="tiny", seed=0, size=40):
    """Converts 14 synthetic pairs of `size` pixels with the real tool, once per folder; 11 train, 3 val."""
    data = pathlib.Path(folder) / name
    if not (data / "manifest.json").is_file():
        images = data.with_name(f"{name}-images")
        synthetic_pairs.write_dataset(images, pairs=14, size=size, seed=seed, progress=False)
        flags = {"hazy_dir": images / "hazy", "gt_dir": images / "GT", "output_dir": data}
        arguments = ["convert", "--val_fraction=0.2", "--workers=1"]
        arguments += [f"--{key}={value}" for key, value in flags.items()]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = tools.main(arguments)
        assert code == 0, said.getvalue()
    return data


def arguments(**overrides):
    """`--config` flags of a tiny run; names with two underscores: train__steps=22."""
    fields = OVERRIDES | {key.replace("__", "."): value for key, value in overrides.items()}
    return ["--config=default", *(f"--config.{key}={value}" for key, value in fields.items())]


def config(**overrides):
    return configs.load(arguments(**overrides))


def start(*argv, stderr=subprocess.PIPE):
    """Starts `hazeheal ARGV` as a process of its own."""
    return processes.start(sys.executable, "-m", "hazeheal", *argv, stderr=stderr)


def files(run):
    """{relative name: bytes} of everything in a run."""
    run = pathlib.Path(run)
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def steps(run, *, group=0):
    """The steps of a group's checkpoints, in order."""
    return checkpoints.list_steps(pathlib.Path(run) / f"group_{group:02d}/checkpoints")


def newest(run, *, group=0):
    return max(steps(run, group=group), default=-1)


def tensors(run, step):
    """{name: (dtype, shape, bytes)} of one checkpoint."""
    values = checkpoints.read_variables(checkpoints.checkpoint_path(pathlib.Path(run) / "group_00/checkpoints", step))
    return {name: (str(v.dtype), v.shape, v.tobytes()) for name, v in values.items()}


def events(run, *, group=0):
    """Everything TensorBoard shows: a sorted list of (split, tag, step, value).

    A scalar's value is a float, an image's or text's its bytes.
    """
    found = []
    summaries = pathlib.Path(run) / f"group_{group:02d}/summaries"
    for folder in event_reading.folders(summaries):
        for tag, values in event_reading.read(folder).items():
            for step, array in values:
                is_scalar = array.dtype.kind == "f" and not array.ndim
                content = float(array) if is_scalar else tuple(array.ravel().tolist())
                found.append((folder.name, tag, step, content))
    return sorted(found, key=lambda e: e[:3])


def timeless(run, *, group=0):
    """The events of `run` less those that depend on the clock."""
    return [event for event in events(run, group=group) if event[1] not in OF_THE_CLOCK]


def damage_record(data, copy, *, split, record=1):
    """Copies the data set `data` and flips one bit of an image in it; returns the copy."""
    from hazeheal.data import records

    shutil.copytree(data, copy)
    opened = records.open_split(copy, split)
    row = opened.index[record]
    path = opened.shards[row["shard"]]
    flip(path, int(row["offset"]) + int(row["length"]) // 2)
    return copy
