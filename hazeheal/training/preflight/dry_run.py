"""`hazeheal train --dry_run`: all checks that are possible without starting a training."""

import argparse

from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.distributed.tf_config import Cluster
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training.preflight.checks import check_run
from hazeheal.utils import quiet_import


def check(config: ConfigDict, flags: argparse.Namespace, *, group: Cluster | None = None) -> str:
    """Checks what `DehazeTrainer` checks; starts TensorFlow only where GPUs are named.

    Args:
        config: The configuration.
        flags: The flags of `hazeheal train`: `data_dir` (None: there is no data set yet), `workdir`, `gpus`,
            `cpu_replicas`, `restore_from`.
        group: The replica groups of the job; None: this process trains alone.

    Returns:
        The data set and the state of the run, in two lines.

    Raises:
        HazeHealError: Invalid input: what is wrong, which value, what to do.
    """
    if flags.gpus is not None:
        quiet_import.import_tensorflow()
        from hazeheal.distributed import runtime

        runtime.check_gpus(flags.gpus, num_gpus=runtime.count_gpus())
    if flags.cpu_replicas or flags.gpus:
        replicas = flags.cpu_replicas or len(flags.gpus)
        configs.check_batch(config, replicas=replicas * (1 if group is None else group.num_groups))
    found = check_run(
        config,
        data_dir=flags.data_dir,
        directory=RunDirectory(flags.workdir),
        restore_from=flags.restore_from,
    )
    run = f"resumes from {found.newest.name}" if found.newest else "a new run"
    return f"data      {_describe(config, flags.data_dir)}\nworkdir   {flags.workdir}: {run}"


def _describe(config, data_dir):
    if data_dir is None:
        return "no data set was given; what depends on it was not checked"
    train = records.open_split(data_dir, config.data.train_split)
    val = records.open_split(data_dir, config.data.val_split) if config.data.val_split else ()
    return f"{data_dir}: {len(train)} training, {len(val)} validation pairs"
