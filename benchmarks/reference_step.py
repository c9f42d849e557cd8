"""Writes the inputs and outputs of one training step of HazeHeal to a file, for comparison with other implementations.

    python benchmarks/reference_step.py --output=step.npz [--width=16 --crop_size=64 ...]

The step is computed in float32 on the CPU. Noise is added to all initial weights, because some start at zero and would hide
differences in what they are multiplied with. The spectral vectors are the exact singular vectors of the kernels, so that the
order of iterations in another implementation does not matter. The arrays are:

    weights/NETWORK/PATH, gradients/NETWORK/PATH     of the generator and the discriminator
    vectors/PATH                                     the spectral vectors
    hazy, clear                                      [B, H, W, 3] uint8
    restored                                         [B, H, W, 3] float32
    losses                                           [5] float32, in the order of hazeheal.training.step.forward_backward.LOSSES
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # TF32 on a GPU would be too imprecise

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from hazeheal import config as configs
from hazeheal.models.networks import build_networks
from hazeheal.training.step.forward_backward import LOSSES, make_forward_backward
from hazeheal.training.step.train_state import NETWORKS, TrainState


def settings(*, width, crop_size, perceptual_weights, batch_size=4, **model):
    """The default configuration with this size; `model` contains further fields of config.model."""
    fields = {"model.width": width, "model.disc_width": width, "data.crop_size": crop_size}
    fields |= {"train.batch_size": batch_size} | {f"model.{name}": value for name, value in model.items()}
    if perceptual_weights:
        fields["loss.perceptual_weights"] = perceptual_weights
    else:
        fields["loss.perceptual_weight"] = 0.0
    return configs.load(["--config=default", *(f"--config.{name}={value}" for name, value in fields.items())])


def perturb(networks, rng):
    """Adds noise to all weights and sets the spectral vectors to the exact singular vectors of the kernels."""
    for network in NETWORKS:
        for variable in getattr(networks, network).trainable_variables:
            scale = 0.02 if variable.path.endswith("kernel") else 0.1
            variable.assign(variable.numpy() + scale * rng.standard_normal(variable.shape, np.float32))
    kernels = {v.path: v.numpy() for v in networks.discriminator.trainable_variables}
    for u in networks.discriminator.non_trainable_variables:
        kernel = kernels[u.path.removesuffix("u") + "kernel"]
        matrix = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
        # The last eigenvector of the smaller symmetric product is the singular vector.
        u.assign(np.linalg.eigh(matrix.T @ matrix)[1][:, -1])


def run(networks, config, hazy, clear):
    """Outputs of the function that training compiles, at the current weights, as arrays."""
    state = TrainState(networks, use_ema=False)
    forward_backward = make_forward_backward(networks, state.layouts, config=config, scaled=False)
    function = tf.function(forward_backward, autograph=False)
    outputs = function(state.read(0), tf.constant(hazy), tf.constant(clear), 1.0 / len(hazy))
    gradients, losses = state.split_summand(outputs["summand"])
    arrays = {"losses": losses.numpy()[: len(LOSSES)]}
    for name, gradient in zip(NETWORKS, gradients, strict=True):
        arrays |= state.layouts[name].to_arrays(gradient.numpy(), prefix=f"gradients/{name}/")
    restored = networks.generator(tf.constant(hazy, tf.float32) / 127.5 - 1.0, training=True)
    return arrays | {"restored": restored.numpy()}


def record(config, *, batch_size=2, seed=0):
    """All arrays of one step (see above) of the networks of `config`."""
    networks = build_networks(config)
    rng = np.random.default_rng(seed)
    perturb(networks, rng)
    shape = (batch_size, config.data.crop_size, config.data.crop_size, 3)
    clear = rng.integers(0, 256, shape, np.uint8)
    hazy = clear // 2 + rng.integers(0, 100, shape, np.uint8)
    arrays = {"hazy": hazy, "clear": clear}
    for name in NETWORKS:
        for variable in getattr(networks, name).trainable_variables:
            arrays[f"weights/{name}/{variable.path}"] = variable.numpy()
    for u in networks.discriminator.non_trainable_variables:
        arrays[f"vectors/{u.path}"] = u.numpy()
    return arrays | run(networks, config, hazy, clear)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--output", required=True, help=".npz to write")
    parse.add_argument("--width", type=int, default=16)
    parse.add_argument("--depth", type=int, default=5)
    parse.add_argument("--norm", default="layer")
    parse.add_argument("--output_kind", default="residual", help="of the generator: residual or scattering")
    parse.add_argument("--crop_size", type=int, default=64)
    parse.add_argument("--perceptual_weights", help=".npz of VGG19; the term is left out by default")
    flags = parse.parse_args(argv)
    config = settings(
        width=flags.width,
        crop_size=flags.crop_size,
        perceptual_weights=flags.perceptual_weights,
        depth=flags.depth,
        norm=flags.norm,
        output=flags.output_kind,
    )
    np.savez(flags.output, **record(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
