"""The generator between whole numbers: uint8 images in, uint8 images out, as one Keras model.

    model = whole_model(generator)
    restored = model(hazy)                  # uint8 [B, H, W, 3], any size

Who imports this module has all layers of a .keras file of `hazeheal export` registered with Keras.
"""

import keras

import hazeheal.models.generator  # noqa: F401 (for its layers)
from hazeheal.models.pixels import normalize, to_uint8


@keras.saving.register_keras_serializable("hazeheal", name="Normalise")
class Normalize(keras.layers.Layer):
    """uint8 in [0, 255] to float32 in [-1, 1]."""

    def call(self, inputs):
        return normalize(inputs)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "float32")


@keras.saving.register_keras_serializable("hazeheal", name="ToPicture")
class ToUint8(keras.layers.Layer):
    """float32 in [-1, 1], clipped, to uint8 in [0, 255], rounded."""

    def call(self, inputs):
        return to_uint8(inputs)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "uint8")


def whole_model(generator):
    """A keras.Model from uint8 [B, H, W, 3] to the same around a generator, whose weights it shares."""
    hazy = keras.Input((None, None, 3), name="hazy", dtype="uint8")
    x = Normalize(name="normalize", dtype="float32")(hazy)
    restored = ToUint8(name="restored", dtype="float32")(generator(x))
    return keras.Model(hazy, restored, name="hazeheal")
