"""Where a run goes on: the newest whole checkpoint that any group holds, the same one in every group.

All groups hold the same variables at the same step, so one whole copy is enough for all of them. A group
takes its own; if that is missing or damaged, another group's in the same run; if the file system is not
shared, it gets one over the network.
"""

import dataclasses
import pathlib

from hazeheal.runs import checkpoints as checkpoint_files


@dataclasses.dataclass(frozen=True)
class Restored:
    """A checkpoint's content.

    Attributes:
        step: Of the checkpoint.
        values: {name: np.ndarray} of the variables.
        progress, metrics: As they were saved with it.
        source: Where it was read, for a message.
        is_own: Whether it lies among this group's own.
    """

    step: int
    values: dict
    progress: dict
    metrics: dict
    source: str
    is_own: bool


def newest(directory, *, above=-1):
    """The newest whole checkpoint of a run on this file system, this group's own preferred, or None.

    Args:
        directory: The `RunDirectory` of this group.
        above: Only those of a later step are looked at.
    """
    folders = [directory.checkpoints, *directory.other_checkpoints()]
    found = [
        (step, -place, folder)
        for place, folder in enumerate(folders)
        for step in checkpoint_files.list_steps(folder)
    ]
    for step, _, folder in sorted(found, key=lambda entry: entry[:2], reverse=True):
        if (
            step > above
            and checkpoint_files.find_damage(checkpoint_files.checkpoint_path(folder, step)) is None
        ):
            return checkpoint_files.checkpoint_path(folder, step)
    return None


def restore(checkpoints, *, directory, groups) -> Restored | None:
    """Reads the checkpoint that the job goes on from; all groups must call it.

    Own checkpoints that are damaged are named and set aside.

    Args:
        checkpoints: This group's `Checkpoints`.
        directory: Its `RunDirectory`.
        groups: The `Groups`.

    Returns:
        The same content in all groups, or None in all of them: there is none.
    """
    own = checkpoints.find_latest()
    path, step = own or (None, -1)
    later = newest(directory, above=step)
    if later is not None:
        path, step = later, checkpoint_files.checkpoint_step(later)
    agreed = int(groups.gather([step]).max())
    if agreed < 0:
        return None
    if step < agreed:  # of a group that shares no file system with this one
        path = None
    can_read = groups.gather([path is not None])[:, 0]
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
    source = int(can_read.argmax())
    content = (restored.values, [restored.progress, restored.metrics]) if groups.number == source else None
    values, (progress, metrics) = groups.broadcast(content, source=source)
    if path is not None:
        return restored
    where = f"group {source} over the network"
    return Restored(agreed, values, progress, metrics, source=where, is_own=False)


def go_back(checkpoints, *, directory, groups, is_good) -> Restored | None:
    """Like `restore`, but from the newest checkpoint that `is_good(progress)`; later ones are set aside.

    Returns:
        The same content in all groups, or None in all of them: none is good, and nothing was set aside.
    """
    checkpoints.wait()
    good = [
        step
        for step in checkpoint_files.list_steps(directory.checkpoints)
        if is_good(
            checkpoint_files.read_progress(checkpoint_files.checkpoint_path(directory.checkpoints, step))
        )
        and checkpoint_files.find_damage(checkpoint_files.checkpoint_path(directory.checkpoints, step))
        is None
    ]
    agreed = int(groups.gather([max(good, default=-1)]).max())
    if agreed < 0:
        return None
    checkpoints.rewind_to(agreed)
    groups.barrier()  # no group may look at another's before that one has tidied up
    return restore(checkpoints, directory=directory, groups=groups)
