"""Keeps XLA's compiled programs from one run to the next: `hazeheal train --xla_cache=DIR`.

TensorFlow writes the programs and finds each by a hash of its source. This module adds what TensorFlow does not do:

- TensorFlow does not check that a program was compiled for this machine. Each kind of machine, and each version of
  TensorFlow, gets its own folder in DIR.
- A damaged program ends the training with an error. A run records the hashes of its programs when it ends, and the next
  one removes the programs that have changed.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Iterator

from hazeheal.errors import OutputError, UsageError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.cpu import describe_cpu
from hazeheal.utils.hashing import sha256_of_file

FLAGS, OPTION = "TF_XLA_FLAGS", "tf_xla_persistent_cache_directory"
HASHES = "sha256.json"
_NVIDIA = pathlib.Path("/proc/driver/nvidia")


@contextlib.contextmanager
def use_cache(directory: str | pathlib.Path | None, *, group: int) -> Iterator[None]:
    """Makes TensorFlow, which must be imported within the block, keep its programs in a folder in `directory`.

    Args:
        directory: Created if it is missing. None: nothing is cached.
        group: Number of this process's replica group, which has its own folder.

    Raises:
        UsageError: TF_XLA_FLAGS sets another directory.
        OutputError: The directory cannot be written.
    """
    if directory is None:
        yield
        return
    flags = os.environ.get(FLAGS, "")
    if OPTION in flags:
        raise UsageError(f"--xla_cache={directory} and {FLAGS}={flags} both set the cache; use one of them")
    folder = pathlib.Path(directory).absolute() / folder_name(group)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_changed_programs(folder)
    except OSError as error:
        raise OutputError(f"--xla_cache={directory}: {folder}: {error.strerror or error}") from error
    os.environ[FLAGS] = f"{flags} --{OPTION}={folder}".strip()
    try:
        yield
    finally:
        record_hashes(folder)


def folder_name(group: int) -> str:
    """Returns the folder for this machine and group: TensorFlow's version, and a hash of CPU, GPUs, driver and group."""
    cpu, cpu_flags = describe_cpu()
    identity = [cpu, sorted(cpu_flags or ()), group]
    for path in (_NVIDIA / "version", *sorted(_NVIDIA.glob("gpus/*/information"))):
        with contextlib.suppress(OSError):
            identity.append(path.read_text(encoding="utf-8", errors="replace"))
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    return f"tensorflow-{importlib.metadata.version('tensorflow')}-{digest[:12]}"


def remove_changed_programs(folder: pathlib.Path) -> None:
    """Removes the programs in a folder whose hash is not the recorded one."""
    try:
        hashes = dict(json.loads((folder / HASHES).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        hashes = {}
    for path in folder.glob("*.pb"):
        if hashes.get(path.name) != sha256_of_file(path):
            path.unlink()


def record_hashes(folder: pathlib.Path) -> None:
    """Writes the hashes of all programs in a folder. If that fails, the next run compiles them again."""
    with contextlib.suppress(OSError, OutputError):
        hashes = {path.name: sha256_of_file(path) for path in sorted(folder.glob("*.pb"))}
        atomic_write(folder / HASHES, json.dumps(hashes, indent=1) + "\n")
