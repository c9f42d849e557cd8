"""Opens a model by the value of `--model`: a run, a weights file, a pretrained network or an export.

model = open_model("best")      # or a run directory, one checkpoint directory, a weights file, "exports/mine"
restored = Restorer(model, tile_size=2048).restore(hazy)
"""

import functools
import json
import logging
import os
import pathlib

import tensorflow as tf

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.network import Network
from hazeheal.inference.restorer import Model
from hazeheal.models import pretrained
from hazeheal.utils.hashing import sha256_of_file

LOG = logging.getLogger("hazeheal")
FOLDER = "saved_model"
WEIGHTS = f"generator{pretrained.SUFFIX}"
SUMMARY = "export.json"  # describes all files of an export
METADATA = pathlib.PurePath("assets.extra", "hazeheal.json")  # in a SavedModel


def open_model(
    model: str | os.PathLike, *, which: str | int = "best", precision: str = "float32"
) -> "DehazeGAN | ExportedModel":
    """Opens a model.

    Args:
        model: The name of a pretrained network (`models.pretrained`), or the path of a run directory, a checkpoint
            directory, a weights file, an export directory, or the SavedModel in it. A str that is a pretrained name
            never means a path; write `./best` for a path.
        which: The checkpoint of a run, as in `DehazeGAN.from_run`.
        precision: Keras dtype policy to compute in. A SavedModel always computes in float32.

    Raises:
        UsageError: A SavedModel cannot compute in this precision.
        HazeHealError: The model does not exist or is damaged.
    """
    path = pathlib.Path(model)
    if pretrained.is_name(model):
        if path.exists():
            LOG.warning("%s is a pretrained network; to use the path, write ./%s", model, model)
        return DehazeGAN.from_pretrained(model, precision=precision)
    if path.suffix == pretrained.SUFFIX or path.is_file():
        return DehazeGAN.from_pretrained(path, precision=precision)
    for saved_model in (path, path / FOLDER):
        if (saved_model / "saved_model.pb").is_file():
            if precision != "float32":
                raise UsageError(f"{path} is an export and computes in float32, not in {precision}; use its run")
            return ExportedModel(saved_model)
    if (path / WEIGHTS).is_file():
        return DehazeGAN.from_pretrained(path / WEIGHTS, precision=precision)
    if (path / SUMMARY).is_file():
        raise HazeHealError(
            f"{path} is an export without a SavedModel and without weights; export with --format={FOLDER} or weights"
        )
    if not path.exists():
        raise HazeHealError(f"{model} does not exist, and no pretrained network has that name; {pretrained.listed()}")
    return DehazeGAN.from_run(path, which=which, precision=precision)


class ExportedModel(Model):
    """The generator of a SavedModel that `hazeheal export` wrote, which has the functions of a `Network`.

    Attributes:
        config: The configuration of its run.
        metadata: The metadata of the export (`export.exporter.describe`).
        checkpoint: A path with the name of the exported checkpoint.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Reads the metadata of a SavedModel and checks the hashes of its files. `network` loads the functions.

        Raises:
            HazeHealError: The SavedModel was not written by `hazeheal export`, or it is damaged.
        """
        self._path = pathlib.Path(path)
        metadata_path = self._path / METADATA
        try:
            self.metadata = json.loads(metadata_path.read_text(encoding="utf-8"))
            self.config = configs.from_dict(self.metadata["config"])
            self.checkpoint = pathlib.PurePath(self.metadata["checkpoint"])
            files = dict(self.metadata["files"])
        except FileNotFoundError as error:
            raise HazeHealError(
                f"{path} is a SavedModel, but not of `hazeheal export`: it has no {METADATA}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HazeHealError(f"{metadata_path} is damaged ({error}); export again") from error
        config_fields.check_model_fields(self.config, source=metadata_path)
        for name, expected in files.items():
            try:
                problem = None if sha256_of_file(self._path / name) == expected else "SHA-256"
            except OSError as error:
                problem = error.strerror
            if problem:
                raise HazeHealError(f"{self._path / name} has changed since it was written ({problem}); export again")

    def network(self, *, device: str | None = None, copy: bool = False) -> Network:
        """Loads the functions on one device. They always have their own copy of the weights."""
        with tf.device(device):
            loaded = tf.saved_model.load(str(self._path))

        def call(name, *args):  # keeps a reference to `loaded`, which owns the variables
            return getattr(loaded, name)(*args)

        functions = {name: functools.partial(call, name) for name in self.metadata["functions"]}
        return Network(functions, device=device)
