"""Predicts the time of a step on more devices with a model of measured parts, and checks the model.

    python benchmarks/scaling_model.py                                 # the table of docs/scaling.md
    python benchmarks/scaling_model.py --batch=16 --reduced_bytes=2    # larger batch, gradients summed in bfloat16
    python benchmarks/scaling_model.py --one=ONE.json --two=TWO.json   # compares prediction and measurement

A step of N replicas, each with `batch` images, takes

    t(N) = max(compute, input) + reduction
    compute    batch x FLOPs / (share x peak), or as measured on one replica
    reduction  a ring over the replicas of a host:  2 (n - 1)/n x bytes / bandwidth + 2 (n - 1) x latency,
               then a ring over the hosts, in which the link of each host carries all bytes
    input      N x batch pairs / (pairs per second and core x cores)

Its efficiency is t(1) / t(N), because the batch of a replica does not change. Nothing overlaps: the step sums all gradients in
one call after the backward pass.
"""

import argparse
import dataclasses
import json
import pathlib
import sys


@dataclasses.dataclass(frozen=True)
class Machine:
    """A host and the link between hosts.

    Attributes:
        name: Its name in the table.
        peak: FLOP/s of a device in the precision of the step, from its data sheet.
        share: Share of the peak that the step reaches.
        bandwidth: bytes/s of the ring between the devices of a host.
        link: bytes/s from one host to the next.
        latency: Seconds of one hop of a ring.
        cores: CPU cores for each device.
    """

    name: str
    peak: float
    share: float
    bandwidth: float
    link: float
    latency: float
    cores: float


# Peaks: NVIDIA's data sheets (dense bfloat16). Ring bandwidth: 80 % of one direction of NVLink (300 and 450 GB/s).
MACHINES = (
    Machine("A100, NVLink, 200 Gb/s", 312e12, 0.35, 240e9, 25e9, 8e-6, 12),
    Machine("H100, NVLink, 400 Gb/s", 989e12, 0.35, 360e9, 50e9, 8e-6, 12),
    Machine("A100, PCIe, 25 Gb/s", 312e12, 0.35, 12e9, 3e9, 15e-6, 8),
)
LAYOUTS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 8), (4, 8), (16, 8))  # hosts, devices of each


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of a step: images per replica, FLOPs per image, bytes to sum, pairs per second and core."""

    batch: int
    flops: float
    reduced: float
    pairs: float


def ring(count, size, *, bandwidth, latency):
    """Seconds of an all-reduce of `size` bytes over a ring of `count` members."""
    return 2 * (count - 1) / count * size / bandwidth + 2 * (count - 1) * latency


def step(machine, work, *, hosts, devices):
    """{'compute', 'input', 'reduction', 'total'} of one step in seconds."""
    parts = {
        "compute": work.batch * work.flops / (machine.share * machine.peak),
        "input": work.batch / (work.pairs * machine.cores),
        "reduction": ring(devices, work.reduced, bandwidth=machine.bandwidth, latency=machine.latency)
        + ring(hosts, work.reduced, bandwidth=machine.link, latency=machine.latency),
    }
    return parts | {"total": max(parts["compute"], parts["input"]) + parts["reduction"]}


def table(work) -> str:
    lines = ["| machine | hosts x devices | compute ms | reduction ms | input ms | images/s | efficiency |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for machine in MACHINES:
        alone = step(machine, work, hosts=1, devices=1)["total"]
        for hosts, devices in LAYOUTS:
            parts = step(machine, work, hosts=hosts, devices=devices)
            times = " | ".join(f"{1e3 * parts[name]:.1f}" for name in ("compute", "reduction", "input"))
            speed = hosts * devices * work.batch / parts["total"]
            lines.append(
                f"| {machine.name} | {hosts} x {devices} | {times} | {speed:.0f} | {alone / parts['total']:.2f} |"
            )
    return "\n".join(lines)


def check(one, two) -> str:
    """Compares the model with a measurement of two replicas, predicted from one replica and the reduction."""
    row = one["step"][0]
    alone, share = row["step_seconds"]["median"], row["batch_size"]
    reduction = next(r["seconds"]["median"] for r in two["comm"] if r["replicas"] == 2)
    measured = next(r for r in two["step"] if r["replicas"] == 2)
    if measured["batch_size"] != 2 * share:
        raise SystemExit(
            f"--two has a batch of {measured['batch_size']} and --one of {share}; that of --one must be half of that of --two"
        )
    seconds, predicted = measured["step_seconds"]["median"], alone + reduction
    return (
        f"one replica on one core: {alone:.3f} s; reduction: {reduction:.3f} s ({100 * reduction / seconds:.1f} % of the step)\n"
        f"two replicas: predicted {predicted:.3f} s, measured {seconds:.3f} s: off by {100 * (predicted / seconds - 1):+.0f} %"
    )


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--batch", type=int, default=8, help="images per replica (default: %(default)s)")
    parse.add_argument("--flops", type=float, default=194e9, help="per image (default: width 64, 256x256, VGG19)")
    parse.add_argument("--parameters", type=float, default=34.56e6, help="of both networks (default: width 64)")
    parse.add_argument("--reduced_bytes", type=int, default=4, help="per gradient (default: 4, float32)")
    parse.add_argument("--pairs", type=float, default=380, help="read per second and core (default: 620x460 JPEG)")
    parse.add_argument("--one", type=pathlib.Path, help="JSON of `hazeheal benchmark` on one core, half the batch")
    parse.add_argument("--two", type=pathlib.Path, help="JSON of `hazeheal benchmark` with two replicas, step and comm")
    flags = parse.parse_args(argv)
    if (flags.one is None) != (flags.two is None):
        parse.error("--one and --two belong together")
    if flags.one:
        print(check(*(json.loads(path.read_text(encoding="utf-8")) for path in (flags.one, flags.two))))
        return 0
    work = Work(flags.batch, flags.flops, flags.parameters * flags.reduced_bytes, flags.pairs)
    print(table(work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
