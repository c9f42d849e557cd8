"""Diagrams of the two networks, for `hazeheal train --plot_models`."""

import os
import pathlib

from ml_collections import ConfigDict

from hazeheal.errors import HazeHealError

MISSING = (
    "--plot_models needs pydot (pip install 'hazeheal[plots]') and Graphviz (the program `dot`, from your system's package "
    "manager); install both and run the command again"
)


def plot_models(config: ConfigDict, *, directory: str | os.PathLike) -> list[pathlib.Path]:
    """Writes generator_model.png and discriminator_model.png: all layers, with the shapes between them.

    Args:
        config: A configuration. Only its `model` part is used.
        directory: The output directory. It is created if it does not exist.

    Returns:
        The paths of the two files.

    Raises:
        HazeHealError: pydot or Graphviz is missing, or a file cannot be written.
    """
    import tensorflow as tf

    from hazeheal.models.networks import build_networks
    from hazeheal.utils.import_keras import keras

    config = config.copy_and_resolve_references()
    config.loss.perceptual_weight = 0.0  # VGG19 is not drawn, and its weights may be missing
    with tf.device("CPU:0"):
        networks = build_networks(config)
    paths = []
    for name in ("generator", "discriminator"):
        path = pathlib.Path(directory) / f"{name}_model.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            keras.utils.plot_model(getattr(networks, name), str(path), show_shapes=True, show_layer_names=True)
        except ImportError as error:
            raise HazeHealError(MISSING) from error
        except (OSError, AssertionError) as error:  # AssertionError: pydot's check of the exit code of `dot`
            raise HazeHealError(f"{path} cannot be written: {error}; choose another --workdir") from error
        if not path.is_file():  # Keras before 3.13 prints a message instead where IPython was imported
            raise HazeHealError(MISSING)
        paths.append(path)
    return paths
