"""A training step in PyTorch, written as in pix2pix: three calls of the discriminator, two optimizers.

    python benchmarks/peers/pytorch_step.py --precision=float32 --mode=compile [--width=64 --crop_size=128 ...]

Runs one mode in this process and prints the figures as JSON; `benchmarks/compare_step.py` alternates all modes with HazeHeal's.
Exit code 2: the device does not support the precision.

The networks and losses are those of HazeHeal's default configuration. The step does less than HazeHeal's: it has no moving
average of the generator, no gradient norms, and no check for non-finite values.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks.peers.pytorch_networks import Discriminator, Generator, Perceptual

EXIT_UNSUPPORTED = 2
L1_WEIGHT, GAN_WEIGHT, PERCEPTUAL_WEIGHT = 150.0, 1.0, 0.005
EPS, HAZE_SHARE = 1e-3, 0.3
LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")


def charbonnier(restored, hazy, clear):
    """The haze-aware Charbonnier loss of hazeheal/training/step/losses.py, the mean over the batch."""
    mask = (hazy - clear).abs().mean(1, keepdim=True)
    mask = mask / (mask.amax((1, 2, 3), keepdim=True) + 1e-6)
    c = ((restored - clear).square() + EPS * EPS).sqrt().mean(1, keepdim=True)
    weighted = (mask * c).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) + 1e-6)
    return ((1 - HAZE_SHARE) * c.mean((1, 2, 3)) + HAZE_SHARE * weighted).mean()


def adversarial(logits, target):
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target).float())


class Pix2Pix:
    """Networks, optimizers and one step of training.

    Args:
        generator, discriminator, perceptual: The networks; perceptual may be None.
        device: Of the networks.
        bfloat16: Whether to use autocast.
        compiled: Whether to use torch.compile.
        rate: The learning rate of both optimizers.
    """

    def __init__(self, generator, discriminator, perceptual, *, device, bfloat16=False, compiled=False, rate=2e-4):
        self.device, self.bfloat16 = device, bfloat16
        networks = [generator, discriminator, perceptual]
        for network in networks:
            if network is not None:
                network.to(device, memory_format=torch.channels_last)
        options = {"lr": rate, "betas": (0.5, 0.999), "eps": 1e-7, "fused": True}
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), **options)
        self.discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), **options)
        compile_ = torch.compile if compiled else lambda x: x
        self.parameters = list(discriminator.parameters())
        self.generator, self.discriminator = compile_(generator), compile_(discriminator)
        self.perceptual = None if perceptual is None else compile_(perceptual)
        self.charbonnier = compile_(charbonnier)

    def autocast(self):
        if not self.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def step(self, hazy, clear):
        """Trains on one batch, uint8 [B, 3, H, W]. Returns the five losses on the device, [5] float32."""
        hazy, clear = (x.to(self.device, non_blocking=True).float() / 127.5 - 1 for x in (hazy, clear))
        with self.autocast():
            restored = self.generator(hazy)

        self.require_gradients(True)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            fake = adversarial(self.discriminator(hazy, restored.detach()), 0.0)
            real = adversarial(self.discriminator(hazy, clear), 1.0)
        disc_loss = fake + real
        disc_loss.backward()
        self.discriminator_optimizer.step()

        self.require_gradients(False)
        self.generator_optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            gan_loss = adversarial(self.discriminator(hazy, restored), 1.0)
            perceptual_loss = torch.zeros((), device=self.device)
            if self.perceptual is not None:
                with torch.no_grad():
                    target = self.perceptual(clear)
                perceptual_loss = F.l1_loss(self.perceptual(restored).float(), target.float())
        l1_loss = self.charbonnier(restored, hazy, clear)
        total = L1_WEIGHT * l1_loss + GAN_WEIGHT * gan_loss + PERCEPTUAL_WEIGHT * perceptual_loss
        total.backward()
        self.generator_optimizer.step()
        return torch.stack([disc_loss, gan_loss, l1_loss, perceptual_loss, total]).detach()

    def require_gradients(self, enabled):
        """Enables the gradients of the discriminator, or freezes it while the generator is trained."""
        for parameter in self.parameters:
            parameter.requires_grad_(enabled)


def choose_device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bfloat16_problem(device):
    """Says why the device does not multiply bfloat16 in hardware, or returns None if it does."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return None if torch.cuda.is_bf16_supported(including_emulation=False) else f"{name} has no bfloat16"
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return None
    return "this CPU has neither avx512_bf16 nor amx_bf16"


def measure(flags, device):
    """Times `flags.steps` steps after three untimed ones; returns the figures."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    training = Pix2Pix(
        Generator(
            width=flags.width,
            depth=flags.depth,
            norm=flags.norm,
            output=flags.output,
            se_ratio=flags.se_ratio,
        ),
        Discriminator(width=flags.width),
        Perceptual(flags.perceptual_weights) if flags.perceptual_weights else None,
        device=device,
        bfloat16=flags.precision == "bfloat16",
        compiled=flags.mode == "compile",
    )
    shape = (flags.batch_size, 3, flags.crop_size, flags.crop_size)
    clear = torch.randint(0, 256, shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    hazy = clear // 2 + 100
    if device.type == "cuda":
        hazy, clear = hazy.pin_memory(), clear.pin_memory()

    def run(steps):
        for _ in range(steps):
            losses = training.step(hazy, clear)
        return losses.tolist()  # waits for the device

    begin = time.perf_counter()
    run(3)
    started = time.perf_counter()
    losses = run(flags.steps)
    seconds = time.perf_counter() - started
    figures = {"images_per_second": flags.steps * flags.batch_size / seconds, "start": started - begin}
    if device.type == "cuda":
        figures["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return figures | {"losses": dict(zip(LOSSES, losses, strict=True)), "torch": torch.__version__}


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parse.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parse.add_argument("--width", type=int, default=64)
    parse.add_argument("--depth", type=int, default=5)
    parse.add_argument("--norm", choices=("none", "layer"), default="layer")
    parse.add_argument("--output", choices=("residual", "scattering"), default="residual")
    parse.add_argument("--se_ratio", type=float, default=0.25)
    parse.add_argument("--crop_size", type=int, default=128)
    parse.add_argument("--batch_size", type=int, default=4)
    parse.add_argument("--perceptual_weights", help=".npz of VGG19; the term is off by default")
    parse.add_argument("--steps", type=int, default=10, help="timed steps (default: %(default)s)")
    flags = parse.parse_args(argv)
    device = choose_device()
    problem = bfloat16_problem(device) if flags.precision == "bfloat16" else None
    if problem:
        print(problem, file=sys.stderr)
        return EXIT_UNSUPPORTED
    print(json.dumps(measure(flags, device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
