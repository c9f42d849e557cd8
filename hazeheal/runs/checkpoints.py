"""The checkpoints of a run: finds, verifies and reads them. `checkpoint_manager` writes them.

    checkpoints/ckpt-00001000/state.index, state.data-00000-of-00001    a TensorFlow checkpoint
    checkpoints/ckpt-00001000/manifest.json                             step, metrics, sizes, hashes

The manifest contains the size and SHA-256 of every file, and its own SHA-256, so that damage is found before a
checkpoint is read. `tf.train.load_checkpoint(".../ckpt-00001000/state")` reads it without HazeHeal.
"""

import hashlib
import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.hashing import sha256_of_file

if TYPE_CHECKING:
    import numpy as np

PREFIX = "state"
MANIFEST = "manifest.json"
_NAME = re.compile(r"ckpt-(\d{8,})")


def list_steps(folder: str | pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints in a `checkpoints/` directory, ascending. Their contents are not verified."""
    folder = pathlib.Path(folder)
    matches = (_NAME.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
    return sorted(int(match[1]) for match in matches if match)


def checkpoint_path(folder: str | pathlib.Path, step: int) -> pathlib.Path:
    """Returns the directory of the checkpoint of a step."""
    return pathlib.Path(folder) / f"ckpt-{step:08d}"


def checkpoint_step(path: str | pathlib.Path) -> int:
    """Returns the step of the checkpoint in a directory, by its name."""
    return int(_NAME.fullmatch(pathlib.Path(path).name)[1])


def find_damage(path: str | pathlib.Path) -> str | None:
    """Compares a checkpoint with its manifest. Returns what is wrong, or None if it is intact."""
    path = pathlib.Path(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest.pop("sha256") != manifest_hash(manifest):
            return f"{MANIFEST} has changed since it was written (SHA-256)"
        for name, expected in manifest["files"].items():
            size = (path / name).stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size} bytes instead of {expected['bytes']}"
            if sha256_of_file(path / name) != expected["sha256"]:
                return f"{name} has changed since it was written (SHA-256)"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def read_metrics(path: str | pathlib.Path) -> dict[str, float]:
    """Returns the validation metrics that were saved with a checkpoint; {} if there are none or it is unreadable."""
    return _manifest_entry(path, "metrics")


def read_progress(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the host's counters that were saved with a checkpoint; {} if it is unreadable."""
    return _manifest_entry(path, "progress")


def follows_finite_step(path: str | pathlib.Path) -> bool:
    """Returns whether the last step before a checkpoint was finite: then a run can be rolled back to it."""
    counts = read_progress(path).get("tally", {})
    return bool(counts.get("last_finite", counts.get("skipped_in_a_row", 1) == 0))  # 0.1.0 saved no `last_finite`


def validation_psnr(path: str | pathlib.Path) -> float:
    """Returns the validation PSNR in dB that was saved with a checkpoint; -inf if there is none, or it is NaN."""
    psnr = read_metrics(path).get("psnr")
    return psnr if isinstance(psnr, float) and not math.isnan(psnr) else -math.inf


def best_saved(folder: str | pathlib.Path) -> tuple[float, int | None]:
    """Returns the highest validation PSNR (dB) in a `checkpoints/` directory, or -inf, and its step, or None."""
    return max(_scores(folder), default=(-math.inf, None))


def find_checkpoint(folder: str | pathlib.Path, *, which: str | int = "newest") -> pathlib.Path | None:
    """Returns an intact checkpoint in a group's `checkpoints/` directory, or None.

    Args:
        folder: The directory.
        which: `newest`, `best` (highest validation PSNR; the newest if none was validated), or a step.

    Raises:
        UsageError: `which` has another value.
    """
    if which == "newest":
        steps = reversed(list_steps(folder))
    elif which == "best":
        steps = [step for _, step in sorted(_scores(folder), reverse=True)]
    elif str(which).isdecimal():
        steps = [int(which)]
    else:
        raise UsageError(f"{which!r} is not a checkpoint; use 'best', 'newest' or a step")
    paths = (checkpoint_path(folder, step) for step in steps)
    return next((path for path in paths if find_damage(path) is None), None)


def resolve_checkpoint(path: str | pathlib.Path, *, which: str | int = "best") -> pathlib.Path:
    """Returns the checkpoint that `--restore_from` names.

    `path` is the directory of a checkpoint, or of a run, a group or its `checkpoints/`, where `which` selects one as in
    `find_checkpoint`.

    Raises:
        HazeHealError: There is no intact checkpoint.
    """
    path = pathlib.Path(path)
    if (path / MANIFEST).is_file() and (path / f"{PREFIX}.index").is_file():
        if reason := find_damage(path):
            raise HazeHealError(f"--restore_from={path}: the checkpoint is damaged ({reason}); use another one")
        return path
    for folder in (path, path / "checkpoints", path / "group_00" / "checkpoints"):
        checkpoint = find_checkpoint(folder, which=which)
        if checkpoint is not None:
            return checkpoint
    raise HazeHealError(
        f"--restore_from={path} has no intact checkpoint; give the directory of a run or of a checkpoint"
    )


def read_variables(path: str | pathlib.Path) -> "dict[str, np.ndarray]":
    """Reads the variables of a checkpoint: {name: array}. Imports TensorFlow."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(pathlib.Path(path) / PREFIX))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def check_data_set(
    progress: Mapping[str, Any],
    fingerprint: str | None,
    *,
    data_dir: str | pathlib.Path,
    workdir: str | pathlib.Path,
) -> None:
    """Checks that a run resumes with the data set it was trained on.

    Args:
        progress: `read_progress` of the run's checkpoint.
        fingerprint: That of the data set in `data_dir`.
        data_dir, workdir: The values of the flags, for the error.

    Raises:
        UsageError: The run was trained on another data set.
    """
    if progress.get("fingerprint") != fingerprint:
        raise UsageError(
            f"--data_dir={data_dir} is not the data set that the run in {workdir} was trained on; use another "
            f"--workdir, and --restore_from={workdir} to start from its networks"
        )


def manifest_hash(manifest: dict[str, Any]) -> str:
    """Returns the SHA-256 of a manifest without its own `sha256` entry."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _scores(folder) -> list[tuple[float, int]]:
    return [(validation_psnr(checkpoint_path(folder, step)), step) for step in list_steps(folder)]


def _manifest_entry(path, name) -> dict:
    try:
        return dict(json.loads((pathlib.Path(path) / MANIFEST).read_text(encoding="utf-8"))[name])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
