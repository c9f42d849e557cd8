"""Weights files: a generator's variables in float16 and the metadata of their training. Does not use TensorFlow.

    weights = weights.read("mine.npz")
    weights.values["head/kernel"]           # float16
    weights.metadata["config"]              # the run's configuration, as in its config.json

A weights file is an .npz that `numpy.load` opens: one float16 array for each variable, under the variable's path, and
UTF-8 JSON under `metadata`. `metadata["sha256"]` is the SHA-256 of all names, shapes and values and of the other
metadata.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from hazeheal.errors import HazeHealError
from hazeheal.utils.atomic import atomic_path

FORMAT = "hazeheal weights 1"
METADATA = "metadata"
STORED = np.dtype("<f2")


@dataclasses.dataclass(frozen=True)
class Weights:
    """The contents of a weights file.

    Attributes:
        values: {path of a variable: float16 array}.
        metadata: Configuration, step, metrics, fingerprint of the data and versions (`export.exporter.describe`).
    """

    path: pathlib.Path
    values: dict[str, np.ndarray]
    metadata: dict[str, Any]


def write(path: pathlib.Path, values: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Writes a weights file atomically.

    Args:
        path: The file. An existing file is replaced.
        values: {path of a variable: array}. The values are rounded to float16.
        metadata: JSON values. `format` and `sha256` are added.

    Raises:
        HazeHealError: A value is not finite in float16. Nothing is written.
        OutputError: The file cannot be written.
    """
    rounded = {}
    for name, value in sorted(values.items()):
        with np.errstate(over="ignore"):
            rounded[name] = np.asarray(value).astype(STORED)
        if not np.isfinite(rounded[name]).all():
            raise HazeHealError(
                f"{name} contains {np.abs(value).max():g}, and the largest float16 is 65504; nothing was written"
            )
    metadata = {"format": FORMAT, **metadata}
    metadata["sha256"] = _sha256(rounded, metadata)
    encoded = np.frombuffer(json.dumps(metadata, indent=1).encode(), np.uint8)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{METADATA: encoded}, **rounded)


def read(path: str | os.PathLike) -> Weights:
    """Reads a weights file and checks its hash. It does not check that the variables are those of a network.

    Raises:
        HazeHealError: The file is not a weights file, or it is damaged.
    """
    path = pathlib.Path(path)
    try:
        arrays = _read_arrays(path.read_bytes())
        metadata = json.loads(arrays.pop(METADATA).tobytes())
        file_format, sha256 = metadata["format"], metadata["sha256"]
    except OSError as error:
        raise HazeHealError(f"the weights {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive raises errors of many types
        raise HazeHealError(
            f"{path} is not a weights file of `hazeheal export --format=weights`, or is damaged "
            f"({type(error).__name__}: {error})"
        ) from error
    if file_format != FORMAT:
        raise HazeHealError(
            f"{path} has the format {file_format!r}, but this version reads {FORMAT!r}; install a newer hazeheal"
        )
    if any(array.dtype != STORED for array in arrays.values()) or sha256 != _sha256(arrays, metadata):
        raise HazeHealError(f"{path} has changed since it was written (SHA-256); get a new copy")
    return Weights(path, arrays, metadata)


def _read_arrays(content):
    """The arrays of an .npz. Reads each member completely, which checks its CRC, before it is parsed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name.removesuffix(".npy"): io.BytesIO(archive.read(name)) for name in archive.namelist()}
    return {name: np.lib.format.read_array(file, allow_pickle=False) for name, file in members.items()}


def _sha256(arrays, metadata):
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    hashed = {name: value for name, value in metadata.items() if name != "sha256"}
    digest.update(json.dumps(hashed, sort_keys=True).encode())
    return digest.hexdigest()
