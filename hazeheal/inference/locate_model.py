"""Finds what `--model` names, and identifies it. Does not import TensorFlow.

located = locate_model("runs/mine")
located.kind, located.path          # "run", the checkpoint's directory
located.identity                    # changes when the weights do
"""

import dataclasses
import logging
import os
import pathlib

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.models import pretrained
from hazeheal.runs import checkpoints
from hazeheal.utils.hashing import sha256_of_file

LOG = logging.getLogger("hazeheal")
FOLDER = "saved_model"
WEIGHTS = f"generator{pretrained.SUFFIX}"
SUMMARY = "export.json"  # describes all files of an export
METADATA = pathlib.PurePath("assets.extra", "hazeheal.json")  # in a SavedModel
_SUFFIXES = {".onnx": "onnx", ".keras": "keras", ".tflite": "tflite"}


@dataclasses.dataclass(frozen=True)
class LocatedModel:
    """What the value of `--model` names.

    Attributes:
        kind: `weights` (a file, or a pretrained network), `saved_model`, `keras`, `onnx` or `run`.
        path: The weights file, the SavedModel, the file, or the directory of a run or a checkpoint.
        which: The checkpoint of a run.
    """

    kind: str
    path: pathlib.Path
    which: str | int = "best"

    @property
    def identity(self) -> str:
        """A text that is the same as long as the weights are."""
        path = self.path
        if self.kind == "saved_model":
            path = path / METADATA
        elif self.kind == "run":
            folder = path / "group_00" / "checkpoints"
            if not (path / checkpoints.MANIFEST).is_file():
                path = checkpoints.find_checkpoint(folder, which=self.which)
            if path is None:
                raise HazeHealError(
                    f"{folder} has no intact checkpoint ({self.which}); train first, or use another step"
                )
            path = path / checkpoints.MANIFEST
        try:
            return sha256_of_file(path)[:16]
        except OSError as error:
            raise HazeHealError(f"{path} cannot be read: {error.strerror or error}") from error


def locate_model(model: str | os.PathLike, *, which: str | int | None = None) -> LocatedModel:
    """Finds a model: the arguments are those of `load_model.open_model`.

    Raises:
        UsageError: `which` is given, but this is not a run; or the format cannot be run.
        HazeHealError: The model does not exist.
    """
    kind, path = _locate(model)
    if which is not None and (kind != "run" or (path / checkpoints.MANIFEST).is_file()):
        what = "one checkpoint" if kind == "run" else "a single file of weights"
        raise UsageError(f"--which={which} selects a checkpoint of a run, but --model={model} is {what}; omit --which")
    return LocatedModel(kind, path, "best" if which is None else which)


def _locate(model):
    path = pathlib.Path(model)
    if pretrained.is_name(model):
        if path.exists():
            LOG.warning("%s is a pretrained network; to use the path, write ./%s", model, model)
        return "weights", pretrained.find(model)
    if (kind := _SUFFIXES.get(path.suffix.lower())) and not path.is_dir():
        if not path.is_file():
            raise HazeHealError(f"{model} does not exist; check the path")
        if kind == "tflite":
            raise UsageError(f"{model}: TensorFlow Lite files are for other devices; use the export's other formats")
        return kind, path
    if path.suffix == pretrained.SUFFIX or path.is_file():
        return "weights", pretrained.find(path)
    for saved_model in (path, path / FOLDER):
        if (saved_model / "saved_model.pb").is_file():
            return "saved_model", saved_model
    if (path / WEIGHTS).is_file():
        return "weights", path / WEIGHTS
    if (path / SUMMARY).is_file():
        for kind in ("keras", "onnx"):
            if (file := path / f"generator.{kind}").is_file():
                return kind, file
        raise HazeHealError(
            f"{path} is an export without a format that can be run here; export with --format={FOLDER} or weights"
        )
    if not path.exists():
        raise HazeHealError(f"{model} does not exist, and no pretrained network has that name; {pretrained.listed()}")
    return "run", path
