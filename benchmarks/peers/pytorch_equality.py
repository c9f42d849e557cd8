"""Whether the PyTorch peer computes what HazeHeal computes: output, losses and gradients at equal weights.

    python benchmarks/peers/pytorch_equality.py [--width=16 --crop_size=64] [--perceptual_weights=vgg19.npz]

Exit code 1 where it does not. Ours runs in a process of its own (`benchmarks/reference_step.py`): TensorFlow
and PyTorch's Triton each bring an LLVM, and one process does not bear both. The learning rates are zero, since
pix2pix updates its discriminator before it asks it for the generator's loss. Why images and kernels are
turned by 180 degrees: see `pytorch_networks.py`.
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

# Relative; seen: 3e-7, 2e-7 and 1e-6. A gradient jumps where rounding takes a value to the other side of the kink of a
# ReLU, an absolute value or a maximum: in the smallest networks that made 1e-3.
TOLERANCES = {"restored": 1e-5, "losses": 1e-5, "gradients": 1e-2}


def compare(reference, flags):
    """Runs one step of the peer at the weights of `reference` and returns how far off it is.

    Args:
        reference: {name: array}, as `benchmarks/reference_step.py` writes them.
        flags: depth, norm, output and perceptual_weights of the networks.

    Returns:
        {'restored', 'losses', 'gradients': relative difference}, the largest of each kind.
    """
    theirs = peer_of(reference, flags)
    hazy, clear = (turned(reference[name]) for name in ("hazy", "clear"))
    losses = theirs.step(hazy, clear).numpy()
    with torch.no_grad():
        restored = theirs.generator(hazy.float() / 127.5 - 1)
    gradients = []
    for network in ("generator", "discriminator"):
        names = [name for name in reference if name.startswith(f"gradients/{network}/")]
        found = [parameter(getattr(theirs, network), name).grad.numpy().ravel() for name in names]
        wanted = [laid_out(name, reference[name]).ravel() for name in names]
        gradients.append(difference(np.concatenate(found), np.concatenate(wanted)))
    pairs = zip(losses, reference["losses"], strict=True)
    return {
        "restored": difference(restored.numpy(), turned(reference["restored"]).numpy()),
        "losses": max(difference(found, wanted) for found, wanted in pairs),
        "gradients": max(gradients),
    }


def peer_of(reference, flags):
    """The peer with the weights of `reference`, and learning rates of zero."""
    width = reference["weights/discriminator/conv_0/kernel"].shape[-1]
    generator = pytorch_networks.Generator(
        width=width, depth=flags.depth, norm=flags.norm, output=flags.output
    )
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
                target.copy_(torch.from_numpy(laid_out(name, reference[name]).copy()))
                del missing[id(target)]
            if missing:
                raise ValueError(f"ours has no weights for the peer's {', '.join(missing.values())}")
        for name in (name for name in reference if name.startswith("vectors/")):
            weight = discriminator.get_submodule(name.split("/")[1]).parametrizations.weight
            weight[0]._u.copy_(torch.from_numpy(reference[name]))
            product = weight.original.flatten(1).T @ weight[0]._u
            weight[0]._v.copy_(torch.nn.functional.normalize(product, dim=0))
    return pytorch_step.Pix2Pix(generator, discriminator, perceptual, device=torch.device("cpu"), rate=0.0)


def parameter(network, name):
    """The peer's parameter for our `weights/generator/encoder_0/mbconv/expand/kernel`."""
    *parts, last = name.split("/")[2:]
    layer = network.get_submodule(".".join(parts))
    last = {"kernel": "weight", "scale": "weight", "offset": "bias"}.get(last, last)
    if last == "weight" and hasattr(layer, "parametrizations"):
        return layer.parametrizations.weight.original
    return getattr(layer, last)


def laid_out(name, array):
    """One of our arrays as PyTorch lays it out, kernels turned by 180 degrees."""
    if array.ndim != 4:
        return array
    # [h, w, in, out] to [out, in, h, w]; Conv2DTranspose's [h, w, out, in] becomes PyTorch's [in, out, h, w] by
    # the same rule, and a depthwise [h, w, in, 1] becomes [in, 1, h, w].
    axes = (2, 3, 0, 1) if "/depthwise/" in name else (3, 2, 0, 1)
    return array.transpose(axes)[:, :, ::-1, ::-1]


def turned(images):
    """[B, H, W, 3] as [B, 3, H, W], turned by 180 degrees."""
    array = np.ascontiguousarray(images[:, ::-1, ::-1])
    return torch.from_numpy(array).permute(0, 3, 1, 2)  # channels_last already


def difference(found, wanted):
    """Euclidean norm of the difference over that of `wanted`; the absolute one where `wanted` is zero."""
    return float(np.linalg.norm(found - wanted) / (np.linalg.norm(wanted) or 1.0))


def read(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def write_reference(path, flags):
    """Has our step written to `path`, in a process of its own; returns the path."""
    command = [sys.executable, str(ROOT / "benchmarks/reference_step.py"), f"--output={path}"]
    command += [f"--{name}={getattr(flags, name)}" for name in ("width", "depth", "norm", "crop_size")]
    command += [f"--output_kind={flags.output}"]
    command += [f"--perceptual_weights={flags.perceptual_weights}"] * bool(flags.perceptual_weights)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"our step failed:\n{done.stderr[-2000:]}")
    return path


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=16)
    parse.add_argument("--depth", type=int, default=5)
    parse.add_argument("--norm", default="layer", help="layer or none")
    parse.add_argument("--output", default="residual", help="residual or scattering")
    parse.add_argument("--crop_size", type=int, default=64)
    parse.add_argument("--perceptual_weights", help=".npz of VGG19; without it the term is left out")
    parse.add_argument("--reference", metavar="FILE", help="our step, written before by reference_step.py")
    flags = parse.parse_args(argv)
    torch.set_num_threads(1)  # So little work is done sooner without threads that wait for one another.
    if flags.reference:
        found = compare(read(flags.reference), flags)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = compare(read(write_reference(pathlib.Path(folder, "step.npz"), flags)), flags)
    for name, value in found.items():
        print(f"{name}: relative difference {value:.1e}, at most {TOLERANCES[name]:.0e}")
    wrong = [name for name, value in found.items() if not value <= TOLERANCES[name]]
    if wrong:
        print(f"the peer does not compute what HazeHeal computes: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
