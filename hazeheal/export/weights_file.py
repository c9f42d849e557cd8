"""A file of weights: what `DehazeGAN.from_pretrained` and `--model=FILE.npz` read, and what ships with the package."""

import numpy as np

from hazeheal.inference.gan import DehazeGAN
from hazeheal.models import weights


def write(gan, path, metadata) -> None:
    """Writes the generator's variables, rounded to float16, with all that `metadata` tells."""
    weights.write(path, {variable.path: variable.numpy() for variable in gan.generator.variables}, metadata)


def load(path):
    network = DehazeGAN.from_pretrained(path).network()
    return lambda hazy: np.rint(network.restore(hazy)).astype(np.uint8)
