"""The discriminator: a PatchGAN (Isola et al. 2017) under spectral normalization, conditioned on the hazy image."""

import keras
import tensorflow as tf

from hazeheal.models.spectral import SpectralConv2D


def build_discriminator(*, width=64, dtype="float32", seed=0):
    """Builds the discriminator, a Keras functional model with height and width open.

    Args:
        width: Channels of the first convolution; the others have 2, 4, 8, 8 times as many, and 1.
        dtype: Keras dtype policy: float32, mixed_bfloat16 or mixed_float16. The last convolution is float32.
        seed: The initial values are a function of it and of the names of the variables.

    Returns:
        A keras.Model from [hazy, image], each [B, H, W, 3] float32 in [-1, 1], to logits
        [B, ceil(H / 16), ceil(W / 16), 1] float32, one for each patch: positive where it takes the image
        for a clear one. Each training call moves the spectral vectors `u` by one power iteration.

    Raises:
        ValueError: `width` is less than 1.
    """
    if width < 1:
        raise ValueError(f"discriminator width is {width}: must be 1 or more")
    hazy = keras.Input((None, None, 3), name="hazy", dtype="float32")
    image = keras.Input((None, None, 3), name="image", dtype="float32")
    x = keras.layers.Concatenate(name="pair", dtype=dtype)([hazy, image])
    for i, (multiple, strides) in enumerate([(1, 2), (2, 2), (4, 2), (8, 2), (8, 1)]):
        name = f"conv_{i}"
        x = SpectralConv2D(
            multiple * width, 4, strides=strides, seed=seed, path=name, name=name, dtype=dtype
        )(x)
        x = keras.layers.Activation(leaky_relu, name=f"leaky_{i}", dtype=dtype)(x)
    logits = SpectralConv2D(1, 4, strides=1, seed=seed, path="logits", name="logits", dtype="float32")(x)
    return keras.Model([hazy, image], logits, name="discriminator")


@keras.saving.register_keras_serializable("hazeheal")
def leaky_relu(x):
    """LeakyReLU of slope 0.2. TensorFlow's own op makes its graph optimizer fail in bfloat16 ("remapper failed")."""
    return tf.maximum(x, 0.2 * x)
