"""The configuration of `hazeheal benchmark --model`, read without TensorFlow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.inference.locate_model import locate_model
from hazeheal.models import pretrained
from hazeheal.runs import checkpoints
from hazeheal.runs.run_dir import RunDirectory

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def load(model: str, overrides: Sequence[str]) -> "ConfigDict":
    """Returns the configuration with which a model was trained.

    Args:
        model: The name of a pretrained network, or the path of a weights file, a run directory or a checkpoint directory.
        overrides: `--config.x.y=v`.

    Raises:
        UsageError: An override is unknown or invalid, or the model is an export.
        HazeHealError: The model does not exist, or this version cannot build its networks.
    """
    located = locate_model(model)
    path = located.path
    if located.kind == "weights":
        stored = configs.from_dict(pretrained.load(path).metadata["config"])
    elif located.kind == "run":
        run = path.absolute().parents[2] if (path / checkpoints.MANIFEST).is_file() else path
        stored = RunDirectory(run).load_config()
    else:
        raise UsageError(f"--model={model} is an export; name the run or the weights file that it was made from")
    if stored is None:
        raise HazeHealError(f"{model} is not a run directory: it has no config.json; {pretrained.listed()}")
    config_fields.check_model_fields(stored, source=model)
    return configs.load_stored(stored, overrides)
