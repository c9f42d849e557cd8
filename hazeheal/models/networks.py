"""Builds the networks of a configuration: the generator, the discriminator and the perceptual network.

    networks = build_networks(config)
    restored = networks.generator(hazy)

Training and the benchmarks use it directly; `hazeheal.DehazeGAN` adds loading of weights and restoring of images.
"""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from hazeheal.models.discriminator import build_discriminator
from hazeheal.models.generator import build_generator
from hazeheal.models.perceptual import build_perceptual
from hazeheal.utils.import_keras import keras


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks of one configuration. Those that only training needs may be None.

    Attributes:
        generator: From hazy images, `[B, H, W, 3]` float32 in [-1, 1], to restored images of the same shape.
        discriminator: From [hazy, image] to logits.
        perceptual: From images to VGG19 features. None also if `loss.perceptual_weight` is 0.
    """

    generator: keras.Model
    discriminator: keras.Model | None = None
    perceptual: keras.Model | None = None

    def parameter_counts(self) -> dict[str, int]:
        """Returns the number of trainable parameters of the generator and, if there is one, the discriminator."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {
            name: sum(int(np.prod(v.shape)) for v in network.trainable_variables)
            for name, network in networks.items()
            if network is not None
        }

    def describe(self) -> str:
        """Returns the sizes of both networks, and whether there is a perceptual loss."""
        counts = self.parameter_counts()
        perceptual = "off" if self.perceptual is None else "on"
        return (
            f"generator {counts['generator']:,} parameters, discriminator {counts['discriminator']:,}; "
            f"perceptual loss {perceptual}"
        )


def build_networks(config: ConfigDict, *, precision: str = "float32", for_training: bool = True) -> Networks:
    """Builds the networks of a configuration. Call it inside `strategy.scope()` to train on several replicas.

    Args:
        config: A configuration as `hazeheal.config.load` returns it.
        precision: Keras dtype policy of all networks: float32, mixed_bfloat16 or mixed_float16.
        for_training: Whether to build the discriminator and the perceptual network too.

    Raises:
        ValueError: A field of `config.model` is out of range.
        HazeHealError: The weights of the perceptual network are missing, do not fit or cannot be downloaded.
    """
    loss, fields = config.loss, dict(config.model)
    disc_width = fields.pop("disc_width")
    generator = build_generator(**fields, dtype=precision, seed=config.seed)
    if not for_training:
        return Networks(generator)
    discriminator = build_discriminator(width=disc_width, dtype=precision, seed=config.seed)
    perceptual = None
    if loss.perceptual_weight:
        perceptual = build_perceptual(weights=loss.perceptual_weights, layer=loss.perceptual_layer, dtype=precision)
    return Networks(generator, discriminator, perceptual)
