"""The checks of a training that need neither TensorFlow nor a device, and `hazeheal train --dry_run`."""

import argparse
import dataclasses
import pathlib

from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.data import records
from hazeheal.distributed.tf_config import Cluster
from hazeheal.models.perceptual import check_perceptual_weights
from hazeheal.runs import checkpoints
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training.restore import find_networks, newest_checkpoint
from hazeheal.utils import quiet_import


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the checks have found."""

    fingerprint: str | None  # of the data set
    newest: pathlib.Path | None  # the checkpoint from which the run resumes
    networks_from: pathlib.Path | None  # for `restore.read_networks`: the networks that a new run starts with


def check_run(
    config: ConfigDict,
    *,
    data_dir: str | pathlib.Path | None,
    directory: RunDirectory,
    restore_from: str | pathlib.Path | None = None,
) -> Checked:
    """Checks perceptual weights, data set and run directory against each other.

    Args:
        config: A configuration.
        data_dir: A data set made by `hazeheal-tfrecords convert`; None: it does not exist yet and is not checked.
        directory: The run's directory.
        restore_from: The networks that a new run starts with, as `find_networks` takes them.

    Raises:
        HazeHealError: Invalid input: what is wrong, which value, what to do.
    """
    if config.loss.perceptual_weight:
        check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)
    fingerprint = networks_from = None
    if data_dir is not None:
        fingerprint = records.load_manifest(data_dir)["fingerprint"]
        train = records.open_split(data_dir, config.data.train_split)
        configs.check_crop(config, train)
        configs.check_mix(config, train)
    newest = newest_checkpoint(directory)
    if newest is None:
        networks_from = find_networks(restore_from, config=config) if restore_from else None
    else:
        # A resumed run does not need the networks that it once started with.
        stored = directory.load_config()
        if stored is not None:
            config_fields.check_model_fields(stored, source=directory.config)
        if fingerprint is not None:
            saved = checkpoints.read_progress(newest)
            checkpoints.check_data_set(saved, fingerprint, data_dir=data_dir, workdir=directory.path)
    return Checked(fingerprint, newest, networks_from)


def dry_run(config: ConfigDict, flags: argparse.Namespace, *, group: Cluster | None = None) -> str:
    """Checks what `DehazeTrainer` checks; starts TensorFlow only where GPUs are named.

    Args:
        config: The configuration.
        flags: The flags of `hazeheal train`; `data_dir` is None if there is no data set yet.
        group: The replica groups of the job; None: this process trains alone.

    Returns:
        The data set and the state of the run, in two lines.

    Raises:
        HazeHealError: Invalid input: what is wrong, which value, what to do.
    """
    if flags.gpus is not None:
        quiet_import.import_tensorflow()
        from hazeheal.distributed import runtime

        runtime.check_gpus(flags.gpus)
    if flags.cpu_replicas or flags.gpus:
        replicas = flags.cpu_replicas or len(flags.gpus)
        configs.check_batch(config, replicas=replicas * (1 if group is None else group.num_groups))
    found = check_run(
        config,
        data_dir=flags.data_dir,
        directory=RunDirectory(flags.workdir),
        restore_from=flags.restore_from,
    )
    data = "no data set was given; what depends on it was not checked"
    if flags.data_dir is not None:
        train = records.open_split(flags.data_dir, config.data.train_split)
        val = records.open_split(flags.data_dir, config.data.val_split) if config.data.val_split else ()
        data = f"{flags.data_dir}: {len(train)} training, {len(val)} validation pairs"
    run = f"resumes from {found.newest.name}" if found.newest else "a new run"
    return f"data      {data}\nworkdir   {flags.workdir}: {run}"
