"""XLA's compiled programs, kept from one run to the next (`hazeheal train --xla_cache=DIR`).

    with xla_cache.use_cache(directory, group=0):    # before TensorFlow is imported
        ...                                     # a training

TensorFlow itself writes the programs, and finds one by the hash of what it was compiled from. Two things it does not do. It
does not ask whether they were compiled for this machine: each kind of machine, and each version, has a folder of its
own in DIR. And a damaged file ends the training with an error: so a run notes the hashes of its programs when it ends, and
the next one removes what is not as it was noted, to have it compiled anew.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib

from hazeheal.errors import OutputError, UsageError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.cpu import describe_cpu
from hazeheal.utils.hashing import sha256_of_file

FLAGS, OPTION = "TF_XLA_FLAGS", "tf_xla_persistent_cache_directory"
NOTED = "sha256.json"
_NVIDIA = pathlib.Path("/proc/driver/nvidia")


@contextlib.contextmanager
def use_cache(directory, *, group):
    """Has TensorFlow take programs from a folder in `directory`, and put there those that it compiles.

    Args:
        directory: Made if it is missing; None: nothing is kept.
        group: Number of this process among those of the job; each has a folder of its own.

    Raises:
        UsageError: TF_XLA_FLAGS names a directory too.
        OutputError: The directory cannot be written.
    """
    if directory is None:
        yield
        return
    before = os.environ.get(FLAGS, "")
    if OPTION in before:
        raise UsageError(
            f"--xla_cache={directory} and {FLAGS}={before} both say where programs go; give one of them"
        )
    folder = pathlib.Path(directory).absolute() / folder_name(group)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_others(folder)
    except OSError as error:
        raise OutputError(f"--xla_cache={directory}: {folder}: {error.strerror or error}") from error
    os.environ[FLAGS] = f"{before} --{OPTION}={folder}".strip()
    try:
        yield
    finally:
        note(folder)


def folder_name(group) -> str:
    """What machine the programs are for, and which process: the version of TensorFlow, and a hash of all else."""
    name, abilities = describe_cpu()
    told = [name, sorted(abilities or ()), group]
    for path in (_NVIDIA / "version", *sorted(_NVIDIA.glob("gpus/*/information"))):
        with contextlib.suppress(OSError):
            told.append(path.read_text(encoding="utf-8", errors="replace"))
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return f"tensorflow-{importlib.metadata.version('tensorflow')}-{digest[:12]}"


def remove_others(folder) -> list[str]:
    """Removes the programs in a folder that are not as they were noted; returns their names."""
    try:
        noted = dict(json.loads((folder / NOTED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        noted = {}
    removed = [path for path in _programs(folder) if noted.get(path.name) != sha256_of_file(path)]
    for path in removed:
        path.unlink()
    return [path.name for path in removed]


def note(folder) -> None:
    """Notes the hashes of all programs in a folder. Where it cannot be written, the next run compiles anew."""
    with contextlib.suppress(OSError, OutputError):
        hashes = {path.name: sha256_of_file(path) for path in _programs(folder)}
        atomic_write(folder / NOTED, json.dumps(hashes, indent=1) + "\n")


def _programs(folder) -> list:
    return sorted(path for path in folder.iterdir() if path.suffix == ".pb" and path.is_file())
