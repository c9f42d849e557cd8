"""Measures the peak memory of `hazeheal dehaze` by image size and --tile_size.

    python benchmarks/restore_memory.py --model=runs/mine

Each figure is the peak resident size of a process that restores one PNG (host memory only). The first row is an image of 64x64,
which shows the memory of Python and TensorFlow.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from benchmarks.images import synthetic_image  # noqa: E402

SIZES = ((64, 64), (1000, 1000), (3000, 4000), (6000, 8000))  # height, width


def write_image(path, *, height, width):
    """Writes a PNG of this size by repeating a smaller image; the content does not affect the memory."""
    patch = np.rint(synthetic_image(0, height=min(height, 1000), width=min(width, 1000)) * 255).astype(np.uint8)
    copies = (-(-height // patch.shape[0]), -(-width // patch.shape[1]), 1)
    Image.fromarray(np.tile(patch, copies)[:height, :width]).save(path, compress_level=1)


def peak_bytes(command) -> int:
    """Runs a command and returns its peak resident size; exits if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    stderr = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with exit code {process.returncode}:\n{stderr[-3000:]}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", required=True, help="a run, as for `hazeheal dehaze`")
    parse.add_argument("--tile_sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    model = pathlib.Path(flags.model).resolve()
    rows = []
    print(f"| image | {' | '.join(f'--tile_size={size}' for size in flags.tile_sizes)} |")
    print("|---|" + "---|" * len(flags.tile_sizes))
    with tempfile.TemporaryDirectory(prefix="hazeheal-memory-") as folder:
        for height, width in SIZES:
            image, peaks = pathlib.Path(folder, f"{width}x{height}.png"), []
            write_image(image, height=height, width=width)
            for tile_size in flags.tile_sizes:
                command = [sys.executable, "-m", "hazeheal", "dehaze", image, f"--model={model}"]
                output = pathlib.Path(folder, f"at_{tile_size}")
                peaks.append(peak_bytes([*command, f"--output={output}", f"--tile_size={tile_size}"]))
            rows.append({"height": height, "width": width, "peak_bytes": peaks})
            figures = " | ".join(f"{peak / 2**30:.2f} GiB" for peak in peaks)
            print(f"| {width}x{height} | {figures} |", flush=True)
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
