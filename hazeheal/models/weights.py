"""One file of weights: a generator's variables in half the precision, and what made them. Read without TensorFlow.

    weights = weights.read("mine.npz")      # refused where it is not whole
    weights.values["head/kernel"]           # float16
    weights.metadata["config"]              # of the run, as config.json has it

An .npz as `numpy.load` opens it anywhere: an array of float16 under each variable's path and, under `metadata`, JSON as
UTF-8. `metadata["sha256"]` is that of all names, shapes and values and of the other metadata.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile

import numpy as np

from hazeheal.errors import HazeHealError
from hazeheal.utils.atomic import atomic_path

FORMAT = "hazeheal weights 1"
METADATA = "metadata"
STORED = np.dtype("<f2")


@dataclasses.dataclass(frozen=True)
class Weights:
    """The content of a file.

    Attributes:
        path: Where it was read.
        values: {path of a variable: float16 array}.
        metadata: What `hazeheal export` has noted: config, step, metrics, fingerprint of the data, versions.
    """

    path: pathlib.Path
    values: dict
    metadata: dict


def write(path, values, metadata) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: A `pathlib.Path`; a file that is there already is replaced.
        values: {path of a variable: array}, rounded to float16 here.
        metadata: Of plain JSON values; `format` and `sha256` are added.

    Raises:
        HazeHealError: A value cannot be told in float16. Nothing was written.
        OutputError: The file cannot be written.
    """
    rounded = {}
    for name, value in sorted(values.items()):
        with np.errstate(over="ignore"):
            rounded[name] = np.asarray(value).astype(STORED)
        if not np.isfinite(rounded[name]).all():
            raise HazeHealError(
                f"{name} holds {np.abs(value).max():g}, and float16 ends at 65504; nothing was written"
            )
    metadata = {"format": FORMAT} | metadata
    metadata["sha256"] = _sha256(rounded, metadata)
    noted = np.frombuffer(json.dumps(metadata, indent=1).encode(), np.uint8)
    with atomic_path(path) as aside, open(aside, "wb") as file:
        np.savez(file, **{METADATA: noted}, **rounded)


def read(path) -> Weights:
    """Reads a file and compares it with its own hash; whether the variables are those of a network, the network tells.

    Raises:
        HazeHealError: It is none of these files, or damaged.
    """
    path = pathlib.Path(path)
    try:
        arrays = _arrays(path.read_bytes())
        metadata = json.loads(arrays.pop(METADATA).tobytes())
        found, written = metadata["format"], metadata["sha256"]
    except OSError as error:
        raise HazeHealError(f"the weights {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # of many types, as each byte of an archive may be another than it was
        raise HazeHealError(
            f"{path} is no file of weights of `hazeheal export --format=weights`, or is damaged "
            f"({type(error).__name__}: {error})"
        ) from error
    if found != FORMAT:
        raise HazeHealError(
            f"{path} is in the format {found!r}, and this version reads {FORMAT!r}; install a newer hazeheal"
        )
    if any(array.dtype != STORED for array in arrays.values()) or written != _sha256(arrays, metadata):
        raise HazeHealError(f"{path} has changed since it was written (SHA-256); get it again")
    return Weights(path, arrays, metadata)


def _arrays(content) -> dict:
    """The arrays of an .npz. Each member is read whole, and so compared with its CRC, before anything is made of it."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            member = io.BytesIO(archive.read(name))
            found[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    return found


def _sha256(arrays, metadata) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    others = {name: value for name, value in metadata.items() if name != "sha256"}
    digest.update(json.dumps(others, sort_keys=True).encode())
    return digest.hexdigest()
