"""Keeps XLA's compiled programs from one start to the next, and shares them between the replicas of a process.

TensorFlow writes the programs and finds each by a hash of its source. This module adds what TensorFlow does not do:

- TensorFlow does not check that a program was compiled for this machine. Each kind of machine, and each version of
  TensorFlow, gets its own folder in DIR.
- A damaged program ends the training with an error. A run records the hashes of its programs after the first step and
  when it ends, and the next one removes the programs that have changed.
- Nothing removes programs of earlier configurations. At the end of a run the oldest are removed beyond `LIMIT` bytes.
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
LIMIT = 512 * 2**20  # bytes in the folder of one group
_NVIDIA = pathlib.Path("/proc/driver/nvidia")


@contextlib.contextmanager
def use_cache(directory: str | pathlib.Path | None, *, group: int, is_default: bool = False) -> Iterator[None]:
    """Makes TensorFlow, which must be imported within the block, keep its programs in a folder in `directory`.

    Args:
        directory: TensorFlow creates it when it writes the first program. None: nothing is cached.
        group: Number of this process's replica group, which has its own folder.
        is_default: Whether nobody has asked for this directory. Then a directory in TF_XLA_FLAGS is used instead, and one
            that cannot be read is not used.

    Raises:
        UsageError: TF_XLA_FLAGS sets another directory.
        OutputError: The directory cannot be written.
    """
    flags = os.environ.get(FLAGS, "")
    if directory is None or (is_default and OPTION in flags):
        yield
        return
    if OPTION in flags:
        raise UsageError(f"--xla_cache={directory} and {FLAGS}={flags} both set the cache; use one of them")
    folder = pathlib.Path(directory).absolute() / folder_name(group)
    try:
        if not is_default:
            folder.mkdir(parents=True, exist_ok=True)
        remove_changed_programs(folder)
    except OSError as error:
        if is_default:
            yield
            return
        raise OutputError(f"--xla_cache={directory}: {folder}: {error.strerror or error}") from error
    os.environ[FLAGS] = f"{flags} --{OPTION}={folder}".strip()
    try:
        yield
    finally:
        remove_oldest_programs(folder)
        record_hashes(folder)


def record_programs() -> None:
    """Writes the hashes of the programs that this process has compiled so far, so that a killed run keeps them."""
    words = os.environ.get(FLAGS, "").split()
    for word in words:
        if word.startswith(f"--{OPTION}="):
            record_hashes(pathlib.Path(word.partition("=")[2]))


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


def remove_oldest_programs(folder: pathlib.Path, *, limit: int = LIMIT) -> None:
    """Removes the programs in a folder that were written first, until at most `limit` bytes are left."""
    with contextlib.suppress(OSError):
        programs = sorted(folder.glob("*.pb"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in programs:
            total += path.stat().st_size
            if total > limit:
                path.unlink()


def record_hashes(folder: pathlib.Path) -> None:
    """Writes the hashes of all programs in a folder. If that fails, the next run compiles them again."""
    with contextlib.suppress(OSError, OutputError):
        hashes = {path.name: sha256_of_file(path) for path in sorted(folder.glob("*.pb"))}
        if hashes:
            atomic_write(folder / HASHES, json.dumps(hashes, indent=1) + "\n")
