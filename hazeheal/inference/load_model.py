"""What `--model` means, and a SavedModel that `hazeheal export` has written as a model that restores images.

    model = open_model("exports/mine")      # or a run's directory, one checkpoint's, a file of weights, "best"
    restored = Restorer(model, tile_size=2048).restore(hazy)

Beside `serving_default`, a SavedModel holds the functions that a `Network` is made of, so that its tiles go by
common means as those of the run do; how large they must be tells the configuration in its metadata.
"""

import functools
import json
import logging
import pathlib

import numpy as np
import tensorflow as tf

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.network import Network
from hazeheal.inference.restorer import Restorer
from hazeheal.models import pretrained

LOG = logging.getLogger("hazeheal")
FOLDER = "saved_model"
WEIGHTS = f"generator{pretrained.SUFFIX}"
SUMMARY = "export.json"  # beside all formats of one export
METADATA = pathlib.PurePath("assets.extra", "hazeheal.json")  # where a SavedModel has room for others


def open_model(model, *, which="best", precision="float32"):
    """Opens what `--model` names.

    Args:
        model: The name of a network that ships (`models.pretrained`), or the path of a run's directory, one checkpoint's,
            an export's, the SavedModel in it, or a file of weights. A text that is such a name is always taken as one;
            write `./best` for a path.
        which, precision: As of `DehazeGAN.from_run`; anything but a run has one checkpoint, and a SavedModel computes in
            float32.

    Returns:
        A `DehazeGAN` or an `ExportedModel`.

    Raises:
        UsageError: A SavedModel is to compute in another precision.
        HazeHealError: There is none of these, or it is damaged.
    """
    path = pathlib.Path(model)
    if pretrained.is_name(model):
        if path.exists():
            LOG.warning(
                "%s is a network that ships with HazeHeal; for what lies here write ./%s", model, model
            )
        return DehazeGAN.from_pretrained(model, precision=precision)
    if path.suffix == pretrained.SUFFIX or path.is_file():
        return DehazeGAN.from_pretrained(path, precision=precision)
    found = next((p for p in (path, path / FOLDER) if (p / "saved_model.pb").is_file()), None)
    if found is None and (path / WEIGHTS).is_file():
        return DehazeGAN.from_pretrained(path / WEIGHTS, precision=precision)
    if found is None:
        if (path / SUMMARY).is_file():
            raise HazeHealError(
                f"{path} is an export without a SavedModel and without weights; export with --format={FOLDER} or weights"
            )
        if not path.exists():
            raise HazeHealError(
                f"{model} does not exist, and no pretrained network has that name; {pretrained.listed()}"
            )
        return DehazeGAN.from_run(path, which=which, precision=precision)
    if precision != "float32":
        raise UsageError(f"{path} is an export, which computes in float32, not in {precision}; name its run")
    return ExportedModel(found)


class ExportedModel:
    """The generator of an export.

    Attributes:
        config: The configuration of its run.
        metadata: What `hazeheal export` has noted.
        checkpoint: A path whose name is that of the checkpoint it was made of.
    """

    def __init__(self, path):
        """Reads what is noted and compares the files with it; the functions are loaded when they are needed.

        Args:
            path: The directory of the SavedModel.

        Raises:
            HazeHealError: It is no export of HazeHeal's, or damaged.
        """
        self._path = pathlib.Path(path)
        self._restorer = None
        try:
            self.metadata = json.loads((self._path / METADATA).read_text(encoding="utf-8"))
            self.config = configs.from_dict(self.metadata["config"])
            self.checkpoint = pathlib.PurePath(self.metadata["checkpoint"])
            files = dict(self.metadata["files"])
        except FileNotFoundError as error:
            raise HazeHealError(
                f"{path} is a SavedModel, but not of `hazeheal export`: it has no {METADATA}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HazeHealError(f"{self._path / METADATA} is damaged ({error}); export again") from error
        configs.check_model_fields(self.config, source=self._path / METADATA)
        for name, written in files.items():
            try:
                found = records.sha256((self._path / name).read_bytes())
            except OSError as error:
                raise HazeHealError(f"{self._path / name}: {error.strerror}; export again") from error
            if found != written:
                raise HazeHealError(
                    f"{self._path / name} has changed since it was written (SHA-256); export again"
                )

    def network(self, *, device=None, copy=False) -> Network:
        """The generator on one device, for a `Restorer`, with weights of its own (`copy` or not)."""
        with tf.device(device):
            loaded = tf.saved_model.load(str(self._path))

        def call(name, *given):  # holds `loaded`, without which its functions have no variables
            return getattr(loaded, name)(*given)

        functions = {name: functools.partial(call, name) for name in self.metadata["functions"]}
        return Network(functions, device=device)

    def restore(self, image) -> np.ndarray:
        """As `DehazeGAN.restore`."""
        if self._restorer is None:
            self._restorer = Restorer(self)
        return self._restorer.restore(image)
