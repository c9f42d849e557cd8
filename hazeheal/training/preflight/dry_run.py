"""All checks of a training that can be made without starting it, in a second: before data is made, or a job queued."""

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.models.perceptual import check_perceptual_weights
from hazeheal.runs import checkpoints
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training import restore, start
from hazeheal.utils import quiet_import


def check(config, flags, *, group=None) -> str:
    """Checks as `DehazeTrainer` does; TensorFlow is started only where GPUs are asked for.

    Args:
        config: The configuration.
        flags: Those of `hazeheal train`: `data_dir` (None: there is no data set yet, and what depends on it is
            left out), `workdir`, `gpus`, `cpu_replicas`, `restore_from`.
        group: The `cluster.Cluster` of several groups.

    Returns:
        What was found, in two lines.

    Raises:
        HazeHealError: What is wrong, which value, what to do.
    """
    if config.loss.perceptual_weight:
        check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)
    if flags.gpus is not None:
        quiet_import.import_tensorflow()
        from hazeheal.distributed import runtime

        runtime.check_gpus(flags.gpus, found=runtime.count_gpus())
    if flags.cpu_replicas or flags.gpus:
        local = flags.cpu_replicas or len(flags.gpus)
        configs.check_batch(config, replicas=local * (1 if group is None else group.num_groups))
    fingerprint, data = _data_set(config, flags.data_dir)
    found = restore.newest(RunDirectory(flags.workdir))
    if found is not None:
        saved = checkpoints.read_progress(found)
        if fingerprint is not None:
            checkpoints.check_data_set(saved, fingerprint, data_dir=flags.data_dir, workdir=flags.workdir)
    elif flags.restore_from:
        start.find(flags.restore_from, config=config)
    run = f"goes on from {found.name}" if found else "a new run"
    return f"data      {data}\nworkdir   {flags.workdir}: {run}"


def _data_set(config, data_dir):
    """(the data set's fingerprint, words about it)"""
    if data_dir is None:
        return None, "none was given; what depends on it was not checked"
    fingerprint = records.load_manifest(data_dir)["fingerprint"]
    train = records.open_split(data_dir, config.data.train_split)
    configs.check_crop(config, train)
    val = records.open_split(data_dir, config.data.val_split) if config.data.val_split else ()
    return fingerprint, f"{data_dir}: {len(train)} training, {len(val)} validation pairs"
