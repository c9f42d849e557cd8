"""The generator with uint8 images as input and output, as one Keras model.

    model = uint8_model(generator)
    restored = model(hazy)                  # uint8 [B, H, W, 3], any size

Importing this module registers all layers of the .keras files of `hazeheal export` with Keras, as does
`hazeheal.export.keras_layers`.
"""

import tensorflow as tf

import hazeheal.models.generator  # noqa: F401 (registers its layers)
from hazeheal.models.pixels import normalize, to_uint8
from hazeheal.utils.import_keras import keras


# `Normalise` and `ToPicture` are the names in .keras files of version 0.1.
@keras.saving.register_keras_serializable("hazeheal", name="Normalise")
class Normalize(keras.layers.Layer):
    """Converts uint8 in [0, 255] to float32 in [-1, 1]."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes an image batch."""
        return normalize(inputs)


@keras.saving.register_keras_serializable("hazeheal", name="ToPicture")
class ToUint8(keras.layers.Layer):
    """Converts float32 in [-1, 1] to uint8 in [0, 255]. Clips and rounds."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rounds an image batch."""
        return to_uint8(inputs)


def uint8_model(generator: keras.Model) -> keras.Model:
    """Wraps a generator, whose weights it shares, in a model from uint8 `[B, H, W, 3]` to the same.

    It computes `pixels.restore_uint8`, with layers that Keras can save.
    """
    hazy = keras.Input((None, None, 3), name="hazy", dtype="uint8")
    x = Normalize(name="normalize", dtype="float32")(hazy)
    restored = ToUint8(name="restored", dtype="float32")(generator(x))
    return keras.Model(hazy, restored, name="hazeheal")
