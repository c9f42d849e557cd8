"""The pretrained generators that are part of the package, by name. Imports neither NumPy nor TensorFlow.

    names()             # ["best", "fast", "gan"]
    load("best")        # a `weights.Weights`; DehazeGAN.from_pretrained("best") builds the network

Each is a weights file (`weights`) in hazeheal/pretrained/. docs/model_card.md describes their training.
"""

import os
import pathlib
from typing import TYPE_CHECKING

from hazeheal.errors import HazeHealError

if TYPE_CHECKING:
    from hazeheal.models.weights import Weights

NAMES = ("best", "fast", "gan")
DEFAULT = "best"
SUFFIX = ".npz"  # of weights files
FOLDER = pathlib.Path(__file__).resolve().parents[1] / "pretrained"


def names() -> list[str]:
    """Returns the names of the pretrained networks in this installation."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def is_name(model: str | os.PathLike) -> bool:
    """Whether `model` is the name of a pretrained network rather than a path.

    A str that is such a name never means a file or folder of the current directory. To use a path of that name,
    write `./best` or pass a `pathlib.Path`.
    """
    return isinstance(model, str) and model in {*NAMES, *names()}


def find(model: str | os.PathLike) -> pathlib.Path:
    """Returns the path of the weights file of a pretrained network, or the path of a file as it is.

    Raises:
        HazeHealError: The file does not exist. The message lists the available names.
    """
    if is_name(model):
        path = FOLDER / f"{model}{SUFFIX}"
        if not path.is_file():
            raise HazeHealError(f"the network {model!r} is not in this installation; {listed()}")
        return path
    path = pathlib.Path(model)
    if not path.is_file():
        raise HazeHealError(f"{model} is not a file, and no pretrained network has that name; {listed()}")
    return path


def load(model: str | os.PathLike) -> "Weights":
    """Reads the weights file that `find` returns.

    Raises:
        HazeHealError: The file does not exist or is damaged.
    """
    from hazeheal.models import weights  # imports NumPy, which takes longer than a --help

    return weights.read(find(model))


def listed() -> str:
    """Returns the possible values of `--model` for an error message."""
    available = f"the pretrained networks are {', '.join(names()) or 'not in this installation'}"
    return f"{available}; or use a run directory, or a file from `hazeheal export --format=weights`"
