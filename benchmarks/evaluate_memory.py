"""Measures the peak memory and the CPU time of `hazeheal evaluate` by image size.

    python benchmarks/evaluate_memory.py --sizes 4000x3000 12000x8000

Each row is one process that scores one synthetic pair with the hazy input, the dark channel prior and a network. The
first row is a pair of 64x64, which shows the memory of Python and TensorFlow. Host memory only.
"""

import argparse
import pathlib
import resource
import sys
import tempfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from benchmarks.images import synthetic_image  # noqa: E402
from benchmarks.restore_memory import peak_bytes  # noqa: E402


def write_pair(folder, *, height, width):
    """Writes hazy/pair.png and GT/pair.png by repeating a smaller image, and returns the flags of `hazeheal evaluate`."""
    patch = synthetic_image(0, height=min(height, 1000), width=min(width, 1000))
    copies = (-(-height // patch.shape[0]), -(-width // patch.shape[1]), 1)
    for name, values in (("hazy", patch * 0.5 + 0.4), ("GT", patch)):
        path = folder / name / "pair.png"
        path.parent.mkdir(parents=True)
        pixels = np.tile(np.rint(values * 255).astype(np.uint8), copies)[:height, :width]
        Image.fromarray(pixels).save(path, compress_level=1)
    return f"--hazy_dir={folder / 'hazy'}", f"--gt_dir={folder / 'GT'}"


def size(text):
    """Parses `4000x3000` as (height, width)."""
    width, height = map(int, text.split("x"))
    return height, width


def cpu_seconds():
    """Returns the time of all cores that finished child processes have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--sizes", type=size, nargs="+", default=[(3000, 4000)], metavar="WxH", help="sizes to measure")
    parse.add_argument(
        "--flags", nargs="*", default=[], metavar="FLAG", help="more flags of `hazeheal evaluate`, without --"
    )
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    rows = []
    print("| pair | peak memory | CPU seconds |\n|---|---|---|")
    for height, width in [(64, 64), *flags.sizes]:
        with tempfile.TemporaryDirectory(prefix="hazeheal-evaluate-") as folder:
            source = write_pair(pathlib.Path(folder, "data"), height=height, width=width)
            command = [sys.executable, "-m", "hazeheal", "evaluate", *source, f"--output={folder}/scores"]
            before = cpu_seconds()
            peak = peak_bytes([*command, *(f"--{flag}" for flag in flags.flags)])
            row = {"height": height, "width": width, "peak_bytes": peak, "cpu_seconds": cpu_seconds() - before}
        rows.append(row)
        print(f"| {width}x{height} | {peak / 1e9:.2f} GB | {row['cpu_seconds']:.1f} |", flush=True)
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
