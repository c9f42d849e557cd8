"""Keeps XLA's compiled programs from one start to the next, and shares them between the replicas of a process.

TensorFlow writes the programs and finds each by a hash of its source. This module adds what TensorFlow does not do:

- TensorFlow does not check that a program was compiled for this machine. Each kind of machine, and each version of
  TensorFlow, gets its own folder in DIR.
- A damaged program ends the training with an error. A run records the hashes of its programs after the first step and
  when it ends, and the next one removes the programs that have changed.
- The name of a function is part of its source, and ends with a counter of what the process has traced before: more on a
  first start, which writes the cache of decoded images, than on the next. `with_stable_name` rounds it up.
- Nothing removes programs of earlier configurations. At the end of a run the oldest are removed beyond `LIMIT` bytes.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from hazeheal.errors import OutputError, UsageError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.cpu import describe_cpu
from hazeheal.utils.hashing import sha256_of_file

FLAGS, OPTION = "TF_XLA_FLAGS", "tf_xla_persistent_cache_directory"
HASHES = "sha256.json"
LIMIT = 512 * 2**20  # bytes in the folder of one group
_NVIDIA = pathlib.Path("/proc/driver/nvidia")
_COUNTS = 1 << 17  # many times what a process traces


def with_stable_name(function: Callable) -> Callable:
    """Wraps a function for `tf.function`, which then gets the same name in each process that traces such functions in order.

    TensorFlow counts up when it names a function, right after tracing it.
    """

    @functools.wraps(function)
    def traced(*args: Any) -> Any:
        from tensorflow.python.framework import ops  # no public name

        outputs = function(*args)
        while ops.uid() % _COUNTS:
            pass
        return outputs

    return traced


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
