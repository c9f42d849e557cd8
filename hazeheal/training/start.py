"""Whose networks a new run starts with (`--restore_from`): a run's, one checkpoint's, or those of a file of weights.

source = start.find("best", config=config)      # before anything is built
values, note = start.read(source)               # for TrainState.load_networks
"""

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.models import pretrained, weights
from hazeheal.runs import checkpoints

# Fields of `config.model` that say nothing of the variables in a file of weights: it holds no discriminator, and a view of
# another size, or none, has the same variables.
WITHOUT_VARIABLES = ("disc_width", "view_size")


def find(source, *, config):
    """Looks whether the networks are there, and fit.

    Args:
        source: A run's directory, one checkpoint's, a `checkpoints/`, a file of weights, or the name of one that ships.
        config: The configuration of the new run.

    Returns:
        The path of a whole checkpoint or file, for `read`.

    Raises:
        UsageError: The file is of a generator of another configuration.
        HazeHealError: There is none of these, or it is damaged.
    """
    if not pretrained.is_name(source) and not str(source).endswith(pretrained.SUFFIX):
        return checkpoints.resolve_checkpoint(source)
    try:
        found = pretrained.load(source)
    except HazeHealError as error:
        raise HazeHealError(f"--restore_from={source}: {error}") from error
    theirs, ours = found.metadata["config"]["model"], config.model.to_dict()
    for name in sorted(theirs.keys() | ours):
        if name not in WITHOUT_VARIABLES and theirs.get(name) != ours.get(name):
            raise UsageError(
                f"--restore_from={source} is of --config.model.{name}={theirs.get(name)}, and the configuration has "
                f"{ours.get(name)}; train with the former, or start anew"
            )
    return found.path


def read(path):
    """Reads what `find` has found.

    Returns:
        ({name: np.ndarray} as a checkpoint holds them, what a run notes of where it began, of plain JSON values).
    """
    if path.suffix != pretrained.SUFFIX:
        return checkpoints.read_variables(path), {"checkpoint": str(path)}
    found = weights.read(path)
    values = {f"generator/{name}": value.astype("float32") for name, value in found.values.items()}
    noted = {name: found.metadata[name] for name in ("run", "checkpoint", "step", "sha256")}
    return values, {"weights": str(path), **noted}
