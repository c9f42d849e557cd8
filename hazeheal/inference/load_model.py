"""Opens a model by the value of `--model`: a run, a weights file, a pretrained network or an export.

model = open_model("best")      # or a run directory, one checkpoint directory, a weights file, "exports/mine"
restored = Restorer(model, tile_size=2048).restore(hazy)
"""

import os

from hazeheal.errors import UsageError
from hazeheal.inference.exported_models import ExportedModel, KerasModel, OnnxModel
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.locate_model import locate_model

_EXPORTS = {"saved_model": ExportedModel, "keras": KerasModel, "onnx": OnnxModel}


def open_model(
    model: str | os.PathLike, *, which: str | int | None = None, precision: str = "float32"
) -> DehazeGAN | ExportedModel | KerasModel | OnnxModel:
    """Opens a model.

    Args:
        model: The name of a pretrained network (`models.pretrained`), or the path of a run directory, a checkpoint
            directory, a weights file, an export directory, or its SavedModel, .keras or .onnx file. A str that is a
            pretrained name never means a path; write `./best` for a path.
        which: The checkpoint of a run, as in `DehazeGAN.from_run`; None: the best one.
        precision: Keras dtype policy to compute in. Exports always compute in float32.

    Raises:
        UsageError: An export cannot compute in this precision, or `which` is given and this is not a run.
        HazeHealError: The model does not exist or is damaged.
    """
    located = locate_model(model, which=which)
    if located.kind in _EXPORTS:
        if precision != "float32":
            raise UsageError(f"{located.path} is an export and computes in float32, not in {precision}; use its run")
        return _EXPORTS[located.kind](located.path)
    if located.kind == "weights":
        name = model if isinstance(model, str) and located.path.stem == model else located.path
        return DehazeGAN.from_pretrained(name, precision=precision)
    return DehazeGAN.from_run(located.path, which=located.which, precision=precision)
