"""The checks of a training that need neither TensorFlow nor a device, so that they take a second."""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.data import records
from hazeheal.models.perceptual import check_perceptual_weights
from hazeheal.runs import checkpoints
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training.restore import find_networks, newest_checkpoint


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the checks have found.

    Attributes:
        fingerprint: Of the data set; None without one.
        newest: The checkpoint from which the run resumes; None for a new run.
        networks_from: The path, for `restore.read_networks`, whose networks a new run starts with; None: none.
    """

    fingerprint: str | None
    newest: pathlib.Path | None
    networks_from: pathlib.Path | None


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
        configs.check_crop(config, records.open_split(data_dir, config.data.train_split))
    newest = newest_checkpoint(directory)
    if newest is None:
        networks_from = find_networks(restore_from, config=config) if restore_from else None
    else:
        # A resumed run does not need the networks that it once started with.
        stored = directory.load_config()
        if stored is not None:
            config_fields.check_removed_values(stored, source=directory.config)
        if fingerprint is not None:
            saved = checkpoints.read_progress(newest)
            checkpoints.check_data_set(saved, fingerprint, data_dir=data_dir, workdir=directory.path)
    return Checked(fingerprint, newest, networks_from)
