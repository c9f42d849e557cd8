"""Drawings of the two networks, for `hazeheal train --plot_models`."""

import pathlib

from hazeheal.errors import HazeHealError


def plot_models(config, *, directory) -> list:
    """Writes generator_model.png and discriminator_model.png: all layers with the shapes between them.

    Args:
        config: A configuration; only its `model` part counts.
        directory: Where to; made if it is missing.

    Returns:
        The two paths.

    Raises:
        HazeHealError: pydot or Graphviz is missing, or the images cannot be written.
    """
    import keras
    import tensorflow as tf

    from hazeheal.models.discriminator import build_discriminator
    from hazeheal.models.generator import build_generator

    model, directory = config.model, pathlib.Path(directory)
    with tf.device("CPU:0"):
        generator = build_generator(
            width=model.width,
            depth=model.depth,
            norm=model.norm,
            output=model.output,
            se_ratio=model.se_ratio,
            patch_size=model.patch_size,
            view_size=model.view_size,
        )
        networks = {"generator": generator, "discriminator": build_discriminator(width=model.disc_width)}
    paths = []
    for name, network in networks.items():
        path = directory / f"{name}_model.png"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            keras.utils.plot_model(network, str(path), show_shapes=True, show_layer_names=True)
        except ImportError as error:
            raise _needs_graphviz() from error
        except (OSError, AssertionError) as error:  # pydot asserts that `dot` ended well
            raise HazeHealError(f"{path} cannot be written: {error}; name another --workdir") from error
        if not path.is_file():  # within IPython Keras prints what is missing, and goes on
            raise _needs_graphviz()
        paths.append(path)
    return paths


def _needs_graphviz():
    return HazeHealError(
        "--plot_models needs pydot (pip install 'hazeheal[plots]') and Graphviz (its program `dot`, of your system's "
        "package manager); install both, and run the command again"
    )
