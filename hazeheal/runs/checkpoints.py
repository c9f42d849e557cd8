"""Checkpoints that are complete or absent, written beside the training and checked when they are read.

    checkpoints/ckpt-00001000/state.index, state.data-00000-of-00001    a TensorFlow checkpoint
    checkpoints/ckpt-00001000/manifest.json                             step, metrics, sizes, hashes

A checkpoint is written to a temporary directory, flushed to the disk and renamed; the manifest, and
all else by its hashes, is checked before it is read.
`tf.train.load_checkpoint(".../ckpt-00001000/state")` opens it anywhere.
"""

import concurrent.futures
import hashlib
import json
import math
import os
import pathlib
import re
import shutil

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.hashing import sha256_of_file

PREFIX = "state"
MANIFEST = "manifest.json"
BEST_BY = "psnr"


def list_steps(folder) -> list[int]:
    """Steps of the checkpoints in `folder`, whole or not, in ascending order."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return []
    matches = (re.fullmatch(r"ckpt-(\d{8,})", entry.name) for entry in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def checkpoint_path(folder, step: int) -> pathlib.Path:
    return pathlib.Path(folder) / f"ckpt-{step:08d}"


def checkpoint_step(path) -> int:
    return int(re.fullmatch(r"ckpt-(\d{8,})", pathlib.Path(path).name)[1])


def find_damage(path) -> str | None:
    """Says what is wrong with the checkpoint at `path`, or None where sizes and hashes are as written."""
    path = pathlib.Path(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest.pop("sha256") != _manifest_hash(manifest):
            return f"{MANIFEST} has changed since it was written (SHA-256)"
        for name, written in manifest["files"].items():
            size = (path / name).stat().st_size
            if size != written["bytes"]:
                return f"{name} has {size} bytes, written were {written['bytes']}"
            if sha256_of_file(path / name) != written["sha256"]:
                return f"{name} has changed since it was written (SHA-256)"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def read_metrics(path) -> dict:
    """The metrics that were saved with a checkpoint ({} where it has none or cannot be read)."""
    return _manifest_entry(path, "metrics")


def validation_psnr(path) -> float:
    """The validation PSNR that was saved with a checkpoint; -inf where it has none that is a number."""
    psnr = read_metrics(path).get(BEST_BY)
    return psnr if isinstance(psnr, float) and not math.isnan(psnr) else -math.inf


def read_progress(path) -> dict:
    """What the host had added up when a checkpoint was saved ({} where it cannot be read)."""
    return _manifest_entry(path, "progress")


def _manifest_entry(path, name) -> dict:
    try:
        return dict(json.loads((pathlib.Path(path) / MANIFEST).read_text(encoding="utf-8"))[name])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def find_checkpoint(folder, *, which="newest"):
    """Returns the directory of a whole checkpoint, or None.

    Args:
        folder: A group's `checkpoints/`.
        which: `newest`, `best` (highest validation PSNR; the newest where none was validated) or a step.

    Raises:
        UsageError: `which` is none of these.
    """
    if which == "newest":
        order = reversed(list_steps(folder))
    elif which == "best":
        order = sorted(
            list_steps(folder), key=lambda s: (validation_psnr(checkpoint_path(folder, s)), s), reverse=True
        )
    elif str(which).isdecimal():
        order = [int(which)]
    else:
        raise UsageError(f"{which!r} names no checkpoint; use 'best', 'newest' or a step")
    return next((p for p in (checkpoint_path(folder, s) for s in order) if find_damage(p) is None), None)


def read_variables(path) -> dict:
    """Reads a checkpoint: {name: np.ndarray}."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(pathlib.Path(path) / PREFIX))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


class Checkpoints:
    """One replica group's checkpoints: the newest `keep`, and the best one by validation PSNR."""

    def __init__(self, folder, *, keep, log):
        """Opens `folder` and clears away what a killed process left unfinished.

        Args:
            folder: The group's `checkpoints/`; made if it is missing.
            keep: How many of the newest stay.
            log: A `logging.Logger`.
        """
        self._folder = pathlib.Path(folder)
        self._keep = keep
        self._log = log
        self._writer = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending = None
        self._saved = True
        self._folder.mkdir(parents=True, exist_ok=True)
        for entry in self._folder.glob(".writing-*"):
            shutil.rmtree(entry, ignore_errors=True)

    def find_latest(self):
        """Finds the newest whole checkpoint; damaged ones are named and set aside.

        Returns:
            (path, step), or None where there is none.
        """
        for step in reversed(list_steps(self._folder)):
            path = checkpoint_path(self._folder, step)
            reason = find_damage(path)
            if reason is None:
                return path, step
            aside = _free_name(path.with_name(path.name + ".damaged"))
            path.rename(aside)
            self._log.warning("checkpoint %s is damaged (%s); kept aside as %s", path, reason, aside.name)
        return None

    def rewind_to(self, step: int) -> None:
        """Renames the checkpoints past `step`, so that they are neither restored nor in the way of new ones."""
        self._settle()
        for later in (s for s in list_steps(self._folder) if s > step):
            path = checkpoint_path(self._folder, later)
            path.rename(_free_name(path.with_name(path.name + ".set_aside")))

    def best_psnr(self) -> float:
        """The highest validation PSNR among the saved checkpoints; -inf where none has one."""
        self._settle()
        return max(
            (validation_psnr(checkpoint_path(self._folder, s)) for s in list_steps(self._folder)),
            default=-math.inf,
        )

    def save(
        self, snapshot: dict, *, step: int, metrics: dict | None = None, progress: dict | None = None
    ) -> None:
        """Starts writing `snapshot` (name -> np.ndarray); training goes on meanwhile.

        `metrics` and `progress`, both of plain JSON values, go into the manifest. A checkpoint that cannot
        be written (a full disk) costs a warning; those before it stay whole.
        """
        self._settle()
        self._pending = self._writer.submit(self._write, snapshot, step, metrics or {}, progress or {})

    def wait(self) -> bool:
        """Waits until the last save is on the disk; says whether it got there."""
        self._settle()
        return self._saved

    def _settle(self):
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._saved = pending.result()

    def close(self) -> None:
        """Waits for the last save and ends the writing thread."""
        try:
            self._settle()
        finally:
            self._writer.shutdown()

    def _write(self, snapshot, step, metrics, progress):
        import tensorflow as tf

        final = checkpoint_path(self._folder, step)
        if final.exists():
            return True
        aside = self._folder / f".writing-{final.name}-{os.getpid()}"
        try:
            aside.mkdir()
            with tf.device("CPU:0"):
                tf.raw_ops.SaveV2(
                    prefix=str(aside / PREFIX),
                    tensor_names=list(snapshot),
                    shape_and_slices=[""] * len(snapshot),
                    tensors=[tf.convert_to_tensor(value) for value in snapshot.values()],
                )
            files = {
                p.name: {"bytes": p.stat().st_size, "sha256": sha256_of_file(p)}
                for p in sorted(aside.iterdir())
            }
            manifest = {"step": step, "metrics": metrics, "progress": progress, "files": files}
            manifest["sha256"] = _manifest_hash(manifest)
            (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            for entry in [*aside.iterdir(), aside]:
                _fsync(entry)
            aside.rename(final)
            _fsync(self._folder)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            reason = str(error).splitlines()[0]
            self._log.warning(
                "checkpoint of step %d could not be written: %s; training goes on", step, reason
            )
            return False
        self._retain()
        return True

    def _retain(self):
        present = list_steps(self._folder)
        keep = set(present[-self._keep :])
        best = max(present, key=lambda s: (validation_psnr(checkpoint_path(self._folder, s)), s))
        if validation_psnr(checkpoint_path(self._folder, best)) > -math.inf:
            keep.add(best)
        for step in set(present) - keep:
            shutil.rmtree(checkpoint_path(self._folder, step), ignore_errors=True)


def check_data_set(saved: dict, fingerprint, *, data_dir, workdir) -> None:
    """Raises UsageError where the run whose checkpoint was saved with the progress `saved` has other data."""
    if saved.get("fingerprint") != fingerprint:
        raise UsageError(
            f"--data_dir={data_dir} is not the data set that the run in {workdir} was trained on; name "
            f"another --workdir, with --restore_from={workdir} to take over the networks"
        )


def resolve_checkpoint(path, *, which="best") -> pathlib.Path:
    """Finds the checkpoint that `--restore_from` means: one's directory, a run's, or a `checkpoints/`.

    Raises:
        HazeHealError: There is no whole checkpoint.
    """
    path = pathlib.Path(path)
    if (path / MANIFEST).is_file() and (path / f"{PREFIX}.index").is_file():
        reason = find_damage(path)
        if reason is not None:
            raise HazeHealError(f"--restore_from={path}: the checkpoint is damaged ({reason}); name another")
        return path
    for folder in (path, path / "checkpoints", path / "group_00" / "checkpoints"):
        found = find_checkpoint(folder, which=which)
        if found is not None:
            return found
    raise HazeHealError(
        f"--restore_from={path}: no whole checkpoint there; name a run or a checkpoint's directory"
    )


def _manifest_hash(manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _fsync(path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_name(path) -> pathlib.Path:
    names = (path if not i else path.with_name(f"{path.name}.{i}") for i in range(10**6))
    return next(name for name in names if not name.exists())
