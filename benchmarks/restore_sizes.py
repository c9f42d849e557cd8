"""Times restoring images of 1 to 96 megapixels, and measures the memory, against another checkout of HazeHeal.

    python benchmarks/restore_sizes.py [--model=best] [--against=CHECKOUT]

Each image is restored by `DehazeGAN.restore` in a process of its own: once to compile, then `--repeats` times. The checkouts
alternate. Prints the median seconds of an image and the peak resident size of the process, which holds the image and the
result.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIZES = ("1024x1024", "1920x1080", "4000x3000", "12000x8000")


def measure(flags):
    """Restores one image in this process; prints its figures as JSON."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import numpy as np

    from hazeheal import DehazeGAN

    width, height = map(int, flags.measure.split("x"))
    gan, random = DehazeGAN.from_pretrained(flags.model), np.random.default_rng(0)
    patch = random.integers(0, 256, (min(height, 500), min(width, 500), 3), dtype=np.uint8)
    image = np.tile(patch, (-(-height // patch.shape[0]), -(-width // patch.shape[1]), 1))[:height, :width].copy()
    seconds = []
    for _ in range(1 + flags.repeats):
        begin = time.perf_counter()
        restored = gan.restore(image)
        seconds.append(time.perf_counter() - begin)
        assert restored.shape == image.shape
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": statistics.median(seconds[1:]), "peak": peak}))


def run(checkout, size, flags):
    """Returns the figures of one size in a checkout."""
    command = [sys.executable, __file__, f"--measure={size}", f"--model={flags.model}", f"--repeats={flags.repeats}"]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    result = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{checkout}: {result.stderr[-3000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def main(argv=None):
    """Prints the table."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", default="best")
    parse.add_argument("--sizes", default=",".join(SIZES), help="WIDTHxHEIGHT,... (default: %(default)s)")
    parse.add_argument("--against", metavar="CHECKOUT", help="directory of another version, measured in turn")
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--rounds", type=int, default=2)
    parse.add_argument("--measure", metavar="WIDTHxHEIGHT", help=argparse.SUPPRESS)
    flags = parse.parse_args(argv)
    if flags.measure:
        return measure(flags)
    checkouts = [ROOT, *([pathlib.Path(flags.against).resolve()] if flags.against else [])]
    print(f"| image | {' | '.join('this version | peak' if c == ROOT else f'{c.name} | peak' for c in checkouts)} |")
    print("|---|" + "---|---|" * len(checkouts))
    for size in flags.sizes.split(","):
        found = {checkout: [] for checkout in checkouts}
        for _ in range(flags.rounds):
            for checkout, figures in found.items():
                figures.append(run(checkout, size, flags))
        cells = []
        for figures in found.values():
            cells.append(f"{statistics.median(f['seconds'] for f in figures):.2f} s")
            cells.append(f"{max(f['peak'] for f in figures) / 2**30:.2f} GiB")
        print(f"| {size} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
