"""A .keras file: the generator as a Keras model, to look into or to train on. Its layers are HazeHeal's."""

import keras

from hazeheal.export.keras_layers import whole_model


def write(gan, path, metadata) -> None:
    """Writes the file; what `metadata` tells stands beside it."""
    whole_model(gan.generator).save(str(path))


def load(path):
    model = keras.saving.load_model(str(path), compile=False)
    return lambda hazy: model(hazy, training=False).numpy()
