"""Checks that the PyTorch peer computes the same as HazeHeal: output, losses and gradients at equal weights.

    python benchmarks/peers/pytorch_equality.py [--width=16 --crop_size=64] [--perceptual_weights=vgg19.npz]

Exits with code 1 if it does not. HazeHeal runs in a separate process (`benchmarks/reference_step.py`), because TensorFlow and
PyTorch's Triton each contain an LLVM, and both cannot be loaded in one process. The learning rates are zero, because pix2pix
updates its discriminator before it computes the generator's loss. Images and kernels are rotated by 180 degrees; see
`pytorch_networks.py` for the reason.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.peers import pytorch_networks, pytorch_step  # noqa: E402

# Relative differences; measured: 3e-7, 2e-7 and 1e-6. A gradient changes abruptly where rounding moves a value across the kink
# of a ReLU, an absolute value or a maximum. In the smallest networks this caused 1e-3.
TOLERANCES = {"restored": 1e-5, "losses": 1e-5, "gradients": 1e-2}


def compare(reference, flags):
    """Runs one step of the peer with the weights of `reference` and returns the differences.

    Args:
        reference: {name: array}, as written by `benchmarks/reference_step.py`.
        flags: depth, norm, output and perceptual_weights of the networks.

    Returns:
        {'restored', 'losses', 'gradients': relative difference}, the largest of each kind.
    """
    peer = build_peer(reference, flags)
    hazy, clear = (rotated(reference[name]) for name in ("hazy", "clear"))
    losses = peer.step(hazy, clear).numpy()
    with torch.no_grad():
        restored = peer.generator(hazy.float() / 127.5 - 1)
    gradients = []
    for network in ("generator", "discriminator"):
        names = [name for name in reference if name.startswith(f"gradients/{network}/")]
        actual = [parameter(getattr(peer, network), name).grad.numpy().ravel() for name in names]
        expected = [to_pytorch_layout(name, reference[name]).ravel() for name in names]
        gradients.append(difference(np.concatenate(actual), np.concatenate(expected)))
    pairs = zip(losses, reference["losses"], strict=True)
    return {
        "restored": difference(restored.numpy(), rotated(reference["restored"]).numpy()),
        "losses": max(difference(actual, expected) for actual, expected in pairs),
        "gradients": max(gradients),
    }


def build_peer(reference, flags):
    """Builds the peer with the weights of `reference` and learning rates of zero."""
    width = reference["weights/discriminator/conv_0/kernel"].shape[-1]
    generator = pytorch_networks.Generator(width=width, depth=flags.depth, norm=flags.norm, output=flags.output)
    discriminator = pytorch_networks.Discriminator(width=width)
    perceptual = None
    if flags.perceptual_weights:
        perceptual = pytorch_networks.Perceptual(flags.perceptual_weights)
        for layer in perceptual.layers:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.data = layer.weight.data.flip(2, 3)
    networks = {"generator": generator, "discriminator": discriminator}
    with torch.no_grad():
        for kind, network in networks.items():
            missing = {id(p): name for name, p in network.named_parameters()}
            for name in (name for name in reference if name.startswith(f"weights/{kind}/")):
                target = parameter(network, name)
                target.copy_(torch.from_numpy(to_pytorch_layout(name, reference[name]).copy()))
                del missing[id(target)]
            if missing:
                raise ValueError(f"HazeHeal has no weights for the peer's {', '.join(missing.values())}")
        for name in (name for name in reference if name.startswith("vectors/")):
            weight = discriminator.get_submodule(name.split("/")[1]).parametrizations.weight
            weight[0]._u.copy_(torch.from_numpy(reference[name]))
            product = weight.original.flatten(1).T @ weight[0]._u
            weight[0]._v.copy_(torch.nn.functional.normalize(product, dim=0))
    return pytorch_step.Pix2Pix(generator, discriminator, perceptual, device=torch.device("cpu"), rate=0.0)


def parameter(network, name):
    """The peer's parameter for a name such as `weights/generator/encoder_0/mbconv/expand/kernel`."""
    *parts, last = name.split("/")[2:]
    layer = network.get_submodule(".".join(parts))
    last = {"kernel": "weight", "scale": "weight", "offset": "bias"}.get(last, last)
    if last == "weight" and hasattr(layer, "parametrizations"):
        return layer.parametrizations.weight.original
    return getattr(layer, last)


def to_pytorch_layout(name, array):
    """Transposes one of HazeHeal's arrays to PyTorch's layout, kernels rotated by 180 degrees."""
    if array.ndim != 4:
        return array
    # [h, w, in, out] to [out, in, h, w]. The same permutation turns [h, w, out, in] of Conv2DTranspose into PyTorch's
    # [in, out, h, w]. A depthwise [h, w, in, 1] becomes [in, 1, h, w].
    axes = (2, 3, 0, 1) if "/depthwise/" in name else (3, 2, 0, 1)
    return array.transpose(axes)[:, :, ::-1, ::-1]


def rotated(images):
    """[B, H, W, 3] to [B, 3, H, W], rotated by 180 degrees."""
    array = np.ascontiguousarray(images[:, ::-1, ::-1])
    return torch.from_numpy(array).permute(0, 3, 1, 2)  # in channels_last memory format


def difference(actual, expected):
    """Euclidean norm of the difference relative to that of `expected`; absolute if `expected` is zero."""
    return float(np.linalg.norm(actual - expected) / (np.linalg.norm(expected) or 1.0))


def read(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def write_reference(path, flags):
    """Writes HazeHeal's step to `path` in a separate process; returns the path."""
    command = [sys.executable, str(ROOT / "benchmarks/reference_step.py"), f"--output={path}"]
    command += [f"--{name}={getattr(flags, name)}" for name in ("width", "depth", "norm", "crop_size")]
    command += [f"--output_kind={flags.output}"]
    command += [f"--perceptual_weights={flags.perceptual_weights}"] * bool(flags.perceptual_weights)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"HazeHeal's step failed:\n{done.stderr[-2000:]}")
    return path


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=16)
    parse.add_argument("--depth", type=int, default=5)
    parse.add_argument("--norm", default="layer", help="layer or none")
    parse.add_argument("--output", default="residual", help="residual or scattering")
    parse.add_argument("--crop_size", type=int, default=64)
    parse.add_argument("--perceptual_weights", help=".npz of VGG19; the term is left out by default")
    parse.add_argument("--reference", metavar="FILE", help="file written by reference_step.py")
    flags = parse.parse_args(argv)
    torch.set_num_threads(1)  # synchronizing threads would take longer than this small amount of work
    if flags.reference:
        differences = compare(read(flags.reference), flags)
    else:
        with tempfile.TemporaryDirectory() as folder:
            differences = compare(read(write_reference(pathlib.Path(folder, "step.npz"), flags)), flags)
    for name, value in differences.items():
        print(f"{name}: relative difference {value:.1e}, at most {TOLERANCES[name]:.0e}")
    failed = [name for name, value in differences.items() if not value <= TOLERANCES[name]]
    if failed:
        print(f"the peer differs from HazeHeal: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
