"""The generator between whole numbers: uint8 pictures in, uint8 pictures out, as one Keras model.

    model = whole_model(generator)
    restored = model(hazy)                  # uint8 [B, H, W, 3], any size

Who imports this module has all layers of a .keras file of `hazeheal export` registered with Keras.
"""

import keras

import hazeheal.models.generator  # noqa: F401 (for its layers)
from hazeheal.models.pixels import normalise, to_uint8


@keras.saving.register_keras_serializable("hazeheal")
class Normalise(keras.layers.Layer):
    """uint8 in [0, 255] to float32 in [-1, 1]."""

    def call(self, inputs):
        return normalise(inputs)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "float32")


@keras.saving.register_keras_serializable("hazeheal")
class ToPicture(keras.layers.Layer):
    """float32 in [-1, 1], clipped, to uint8 in [0, 255], rounded."""

    def call(self, inputs):
        return to_uint8(inputs)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "uint8")


def whole_model(generator):
    """A keras.Model from uint8 [B, H, W, 3] to the same around a generator, whose weights it shares."""
    hazy = keras.Input((None, None, 3), name="hazy", dtype="uint8")
    x = Normalise(name="normalise", dtype="float32")(hazy)
    restored = ToPicture(name="restored", dtype="float32")(generator(x))
    return keras.Model(hazy, restored, name="hazeheal")
