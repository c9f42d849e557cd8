"""Counts the operations of the PyTorch peer's step, and the bytes that they read and write, without a GPU.

    python benchmarks/gpu/peer_program.py [--width=64 --crop_size=256 --batch_size=8 --norm=layer --perceptual]

Runs one eager step of `benchmarks/peers/pytorch_step.py`, without the optimizers, on tensors that have shapes and no values.
Every operation counts as one, except views. It reads each tensor among its arguments once and writes each result once. An
operation launches one kernel or more (the gradient of a convolution two or three), so the number of kernels is higher. The
last line is JSON: `operations`, `bytes`, and both for each kind of operation.

Autocast follows its rules for CPUs, as PyTorch without a GPU refuses those for GPUs, with one exception: a layer norm takes
and returns float32, as on GPUs.
"""

import argparse
import collections
import contextlib
import json
import pathlib
import sys
from unittest import mock

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks.peers import pytorch_networks, pytorch_step

VGG19_CHANNELS = {1: (3, 64), 2: (64, 128), 3: (128, 256)}  # of each block: inputs and outputs
NO_KERNEL = {"detach", "empty", "empty_like", "empty_strided", "new_empty_strided", "sym_size", "_unsafe_view"}


class Counter(TorchDispatchMode):
    """Counts the operations that run within its context.

    Attributes:
        operations, bytes: {name of the operation: count}.
    """

    def __init__(self):
        super().__init__()
        self.operations, self.bytes = collections.Counter(), collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if launches(function):
            name = str(function).removeprefix("aten.").split(".")[0]
            self.operations[name] += 1
            self.bytes[name] += sum(map(size, distinct((args, kwargs)))) + sum(map(size, distinct(result)))
        return result


def launches(function):
    """Returns whether an operation computes something, and does not only return a view or allocate memory."""
    namespace, name, *_ = str(function).split(".")
    if namespace == "prim" or name in NO_KERNEL:
        return False
    aliases = [result.alias_info for result in function._schema.returns]
    return not aliases or any(alias is None or alias.is_write for alias in aliases)


def distinct(values):
    leaves = torch.utils._pytree.tree_leaves(values)
    return list({id(leaf): leaf for leaf in leaves if isinstance(leaf, torch.Tensor)}.values())


def size(tensor):
    return tensor.numel() * tensor.element_size()


def count(*, width, crop_size, batch_size, norm, perceptual):
    """Counts one step in bfloat16; returns the Counter."""
    layer_norm = torch.nn.functional.layer_norm

    def in_float32(x, *args, **kwargs):
        return layer_norm(x.float(), *args, **kwargs)

    patches = [
        mock.patch.object(torch.nn.functional, "layer_norm", in_float32),
        # Modules of tensors without values cannot be moved, and take no values from a file.
        mock.patch.object(torch.nn.Module, "to", lambda self, *args, **kwargs: self),
        mock.patch.object(pytorch_networks.np, "load", lambda *args, **kwargs: FakeWeights()),
        mock.patch.object(torch, "from_numpy", lambda array: array),
    ]
    with contextlib.ExitStack() as stack:
        for context in (FakeTensorMode(), *patches):
            stack.enter_context(context)
        training = pytorch_step.Pix2Pix(
            pytorch_networks.Generator(width=width, norm=norm),
            pytorch_networks.Discriminator(width=width),
            pytorch_networks.Perceptual("unused") if perceptual else None,
            device=torch.device("cpu"),
            bfloat16=True,
        )
        for optimizer in (training.generator_optimizer, training.discriminator_optimizer):
            optimizer.step = lambda: None
        shape = (batch_size, 3, crop_size, crop_size)
        images = [torch.empty(shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last) for _ in "ab"]
        with Counter() as counter:
            training.step(*images)
    return counter


class FakeWeights:
    """A file of VGG19's weights: arrays without memory."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __getitem__(self, name):
        block, layer = int(name[5]), int(name.split("/")[0][11:])
        inputs, outputs = VGG19_CHANNELS[block]
        shape = (3, 3, inputs if layer == 1 else outputs, outputs) if name.endswith("kernel") else (outputs,)
        return torch.empty(shape)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=64)
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--batch_size", type=int, default=8)
    parse.add_argument("--norm", choices=("none", "layer"), default="layer")
    parse.add_argument("--perceptual", action="store_true", help="with the perceptual loss")
    flags = parse.parse_args(argv)
    counter = count(**vars(flags))
    figures = {
        "torch": torch.__version__,
        "operations": sum(counter.operations.values()),
        "bytes": sum(counter.bytes.values()),
        "kinds": {name: [n, counter.bytes[name]] for name, n in counter.operations.most_common()},
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
