"""What a run starts from: its own last checkpoint, the same one in every group, or the networks of another run.

All groups hold the same variables at the same step, so one intact copy is enough for all of them. A group reads its own
copy; if that is missing or damaged, it reads another group's copy in the same run directory; without a shared file
system, it receives one over the network.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.models import pretrained, weights
from hazeheal.runs import checkpoints as checkpoint_files
from hazeheal.runs.checkpoint_manager import CheckpointManager
from hazeheal.runs.run_dir import RunDirectory

if TYPE_CHECKING:
    from hazeheal.distributed.groups import Groups  # imports TensorFlow, which a dry run does without

# Fields of `config.model` that do not affect the variables in a weights file: it holds no discriminator, and a view of
# any size has the same variables as none.
WITHOUT_VARIABLES = ("disc_width", "view_size")


@dataclasses.dataclass(frozen=True)
class Restored:
    """The contents of a checkpoint."""

    step: int  # at which it was saved
    values: dict[str, np.ndarray]  # the variables by name
    progress: dict  # plain JSON values that were saved with it
    metrics: dict  # the figures of the validation at that step; empty if there was none
    source: str  # where it was read, for messages
    is_own: bool  # whether it is one of this group's own checkpoints


def newest_checkpoint(directory: RunDirectory, *, above: int = -1) -> pathlib.Path | None:
    """Returns the newest intact checkpoint on this file system after step `above`, this group's own preferred."""
    folders = [directory.checkpoints, *directory.other_checkpoints()]
    candidates = [
        (step, -place, folder) for place, folder in enumerate(folders) for step in checkpoint_files.list_steps(folder)
    ]
    for step, _, folder in sorted(candidates, key=lambda entry: entry[:2], reverse=True):
        path = checkpoint_files.checkpoint_path(folder, step)
        if step > above and checkpoint_files.find_damage(path) is None:
            return path
    return None


def restore_newest(checkpoints: CheckpointManager, *, directory: RunDirectory, groups: Groups) -> Restored | None:
    """Reads the checkpoint from which the job resumes. All groups must call it.

    Damaged checkpoints of this group are renamed and logged. Returns the same contents in all groups, or None in all
    groups if there is no checkpoint.
    """
    path, step = checkpoints.find_latest() or (None, -1)
    later = newest_checkpoint(directory, above=step)
    if later is not None:
        path, step = later, checkpoint_files.checkpoint_step(later)
    agreed = int(groups.gather([step]).max())
    if agreed < 0:
        return None
    if step < agreed:  # the newest one belongs to a group on another file system
        path = None
    can_read = groups.gather([path is not None])[:, 0]
    restored = None
    if path is not None:
        restored = Restored(
            step=agreed,
            values=checkpoint_files.read_variables(path),
            progress=checkpoint_files.read_progress(path),
            metrics=checkpoint_files.read_metrics(path),
            source=str(path),
            is_own=pathlib.Path(path).parent == directory.checkpoints,
        )
    if can_read.all():
        return restored
    sender = int(can_read.argmax())
    content = (restored.values, [restored.progress, restored.metrics]) if groups.number == sender else None
    values, (progress, metrics) = groups.broadcast(content, source=sender)
    if restored is not None:
        return restored
    source = f"group {sender} over the network"
    return Restored(agreed, values, progress, metrics, source=source, is_own=False)


def find_networks(source: str | pathlib.Path, *, config: ConfigDict) -> pathlib.Path:
    """Finds the networks that `--restore_from` names, and checks that they fit the configuration.

    Args:
        source: A run's directory, a checkpoint, a `checkpoints/` folder, a weights file, or the name of a shipped one.
        config: The configuration of the new run.

    Returns:
        The path of an intact checkpoint or weights file, for `read_networks`.

    Raises:
        UsageError: The weights file belongs to a generator of another configuration.
        HazeHealError: `source` does not exist, or is damaged.
    """
    if not pretrained.is_name(source) and not str(source).endswith(pretrained.SUFFIX):
        return checkpoint_files.resolve_checkpoint(source)
    try:
        file = pretrained.load(source)
    except HazeHealError as error:
        raise HazeHealError(f"--restore_from={source}: {error}") from error
    config_fields.check_model_fields(configs.from_dict(file.metadata["config"]), source=f"--restore_from={source}")
    stored, wanted = file.metadata["config"]["model"], config.model.to_dict()
    for name in sorted(stored.keys() | wanted):
        if name not in WITHOUT_VARIABLES and stored.get(name) != wanted.get(name):
            raise UsageError(
                f"--restore_from={source} has model.{name}={stored.get(name)}, but the configuration has "
                f"{wanted.get(name)}; use --config.model.{name}={stored.get(name)}, or train without --restore_from"
            )
    return file.path


def read_networks(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict]:
    """Reads the checkpoint or weights file that `find_networks` has found.

    From a checkpoint with a moving average, the generator is that average: it is what was validated, and a new average
    forgets the values that it starts from within a few steps.

    Returns:
        ({name: array} as in a checkpoint, plain JSON values that record where the run started from).
    """
    if path.suffix != pretrained.SUFFIX:
        values = checkpoint_files.read_variables(path)
        average = {name.removeprefix("ema/"): value for name, value in values.items() if name.startswith("ema/")}
        return values | average, {"checkpoint": str(path), "moving_average": bool(average)}
    file = weights.read(path)
    values = {f"generator/{name}": value.astype("float32") for name, value in file.values.items()}
    record = {name: file.metadata[name] for name in ("run", "checkpoint", "step", "sha256")}
    return values, {"weights": str(path), **record}
