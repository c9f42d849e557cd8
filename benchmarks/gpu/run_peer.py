"""The PyTorch peer for `first_minutes.py`: checks its losses against TensorFlow's, and times its step.

    python benchmarks/gpu/run_peer.py STEP --mode=eager [--steps=20]

STEP is a directory written by `benchmarks/gpu/export_step.py`; the peer has its settings. The script needs only torch and numpy.
The networks and the step are those of `benchmarks/peers`, in bfloat16 where the exported step computes in bfloat16. The last line
is JSON: images/s and peak memory.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks.gpu import start_values, timed_step, workers
from benchmarks.peers import pytorch_equality, pytorch_networks, pytorch_step


class Timed(timed_step.TimedStep):
    """The peer's step.

    Args:
        folder: Directory of the exported step.
        compiled: Whether to use torch.compile.
    """

    def __init__(self, folder, *, compiled):
        self._folder, self._compiled = folder, compiled
        self._cuda = torch.cuda.is_available()

    def prepare(self):
        """Builds the networks and compiles them. Little stays on the device."""
        begin = time.perf_counter()
        description = describe_step(self._folder)
        settings = description["settings"]
        self.batch_size = settings["batch_size"]
        torch.manual_seed(0)
        device = pytorch_step.choose_device()
        problem = None if settings["precision"] == "float32" else pytorch_step.bfloat16_problem(device)
        if problem and self._cuda:
            raise ValueError(problem)
        self._training = pytorch_step.Pix2Pix(
            pytorch_networks.Generator(width=settings["width"], norm=settings["norm"]),
            pytorch_networks.Discriminator(width=settings["width"]),
            perceptual(description),
            device=device,
            bfloat16=settings["precision"] != "float32",
            compiled=self._compiled,
        )
        images = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in start_values.images(description))
        self._images = [image.pin_memory() if self._cuda else image for image in images]
        self.run(1)
        if self._cuda:
            torch.cuda.empty_cache()
        return {"start": time.perf_counter() - begin}

    def warm_up(self):
        """Runs untimed steps, in which cuDNN times its algorithms: no other process uses the device now."""
        torch.backends.cudnn.benchmark = True
        self.run(timed_step.WARM_UP)
        if self._cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def train(self, steps):
        """Runs steps; returns the losses of the last one."""
        for _ in range(steps):
            losses = self._training.step(*self._images)
        return losses.tolist()  # waits for the device

    def figures(self):
        """Returns the peak memory, on a GPU."""
        return {"peak_memory_bytes": torch.cuda.max_memory_allocated()} if self._cuda else {}


def describe_step(folder):
    return json.loads((folder / "step.json").read_text(encoding="utf-8"))


def perceptual_file(description, folder):
    """Writes the perceptual network's weights, made from the seed, to a new .npz; returns its path, or None without."""
    if not description["settings"]["perceptual"]:
        return None
    entry = description["state"]["perceptual"]
    values = start_values.make(description | {"state": {"perceptual": entry}})
    path = pathlib.Path(folder, "perceptual.npz")
    np.savez(path, **start_values.named(entry, values["perceptual"]))
    return path


def perceptual(description):
    """Returns the perceptual network, or None where the step has none."""
    with tempfile.TemporaryDirectory() as folder:
        path = perceptual_file(description, folder)
        return None if path is None else pytorch_networks.Perceptual(path)


def check(folder):
    """Compares the losses of one step, at the same weights in float32, with those that TensorFlow computed.

    Returns:
        The largest relative difference.

    Raises:
        ValueError: A loss differs by more than `timed_step.TOLERANCE`.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    description = describe_step(folder)
    values, state = start_values.make(description), description["state"]
    start_values.verify(description, values)
    reference = {}
    for network in ("generator", "discriminator"):
        arrays = start_values.named(state[network], values[network])
        reference |= {f"weights/{network}/{name}": array for name, array in arrays.items()}
    vectors = start_values.named(state["spectral"], values["spectral"])
    reference |= {f"vectors/{name}": array for name, array in vectors.items()}
    with tempfile.TemporaryDirectory() as temporary:
        options = {"depth": 5, "norm": description["settings"]["norm"], "output": "residual"}
        weights = perceptual_file(description, temporary)
        peer = pytorch_equality.build_peer(reference, argparse.Namespace(**options, perceptual_weights=weights))
    networks = peer.generator, peer.discriminator, peer.perceptual
    training = pytorch_step.Pix2Pix(*networks, device=pytorch_step.choose_device(), rate=0.0)
    losses = training.step(*map(pytorch_equality.rotated, start_values.images(description))).tolist()
    worst = max(
        timed_step.relative_difference(name, value, description["metrics"][name][0], framework="PyTorch")
        for name, value in zip(pytorch_step.LOSSES, losses, strict=True)
    )
    return {"steps": 1, "relative_difference": worst}


def describe():
    """Returns the device and the versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "torch": torch.__version__}


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("step", type=pathlib.Path, metavar="STEP")
    parse.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parse.add_argument("--steps", type=int, default=20, help="timed steps (default: %(default)s)")
    parse.add_argument("--worker", action="store_true", help="take commands from first_minutes.py")
    flags = parse.parse_args(argv)
    timed = Timed(flags.step, compiled=flags.mode == "compile")
    if flags.worker:
        workers.serve({"check": lambda: check(flags.step), "prepare": timed.prepare, "measure": timed.measure})
        return 0
    timed.print_figures(flags.steps, describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
