"""The generators that ship with the package, by name. Imported without NumPy, and read without TensorFlow.

    names()             # those that this installation has: fast, best
    load("best")        # a `weights.Weights`; DehazeGAN.from_pretrained("best") is the network itself

Each is one file of `weights` in hazeheal/pretrained/; docs/model_card.md tells what they were trained on.
"""

import pathlib

from hazeheal.errors import HazeHealError

NAMES = ("fast", "best")
DEFAULT = "best"
SUFFIX = ".npz"  # of files of weights
FOLDER = pathlib.Path(__file__).resolve().parents[1] / "pretrained"


def names() -> list[str]:
    """The names of the files that are there."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def is_name(model) -> bool:
    """Whether this means a network that ships, and not a path.

    A text that is such a name always does, wherever the program was started: a folder of results called `best`
    changes nothing. A path of that name is written `./best`, or given as a `pathlib.Path`.
    """
    return isinstance(model, str) and model in {*NAMES, *names()}


def find(model) -> pathlib.Path:
    """The file of a network that ships, or one's own.

    Args:
        model: A name of these, or the path of a file.

    Raises:
        HazeHealError: There is no such file; the message lists the names that there are.
    """
    if is_name(model):
        path = FOLDER / f"{model}{SUFFIX}"
        if not path.is_file():
            raise HazeHealError(f"the network {model!r} is not in this installation; {listed()}")
        return path
    path = pathlib.Path(model)
    if not path.is_file():
        raise HazeHealError(
            f"{model} is no file of weights, and no network ships under that name; {listed()}"
        )
    return path


def load(model):
    """Reads the file of `find`.

    Returns:
        A `weights.Weights`.

    Raises:
        HazeHealError: There is none, or it is damaged.
    """
    from hazeheal.models import weights  # whose NumPy no --help should wait for

    return weights.read(find(model))


def listed() -> str:
    """What may be given, for a message."""
    shipped = f"those that ship are {', '.join(names())}" if names() else "none ships with this installation"
    return f"{shipped}; your own is a run's directory, or a file of `hazeheal export --format=weights`"
