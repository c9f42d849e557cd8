"""The most memory that `hazeheal dehaze` holds, by the image's size and by --tile_size.

    python benchmarks/restore_memory.py --model=runs/mine

Each figure is the largest resident size of a process of its own that restores one PNG (on a GPU: of the host alone).
The first row is an image of 64x64: what Python and TensorFlow take before any work.
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
from benchmarks.images import made_image  # noqa: E402

SIZES = ((64, 64), (1000, 1000), (3000, 4000), (6000, 8000))  # height, width


def write_image(path, *, height, width):
    """A PNG of this size, of copies of a smaller one: what it shows does not change the memory."""
    patch = np.rint(made_image(0, height=min(height, 1000), width=min(width, 1000)) * 255).astype(np.uint8)
    copies = (-(-height // patch.shape[0]), -(-width // patch.shape[1]), 1)
    Image.fromarray(np.tile(patch, copies)[:height, :width]).save(path, compress_level=1)


def peak_bytes(command) -> int:
    """Runs a command to its end and returns its largest resident size.

    Raises:
        SystemExit: It failed.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(
            f"{' '.join(map(str, command))}\nfailed with exit code {process.returncode}:\n{said[-3000:]}"
        )
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", required=True, help="a run, as for `hazeheal dehaze`")
    parse.add_argument("--tile_sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parse.add_argument("--json", metavar="FILE", help="write all figures here too")
    flags = parse.parse_args(argv)
    model = pathlib.Path(flags.model).resolve()
    rows = []
    print(f"| image | {' | '.join(f'--tile_size={size}' for size in flags.tile_sizes)} |")
    print("|---|" + "---|" * len(flags.tile_sizes))
    with tempfile.TemporaryDirectory(prefix="hazeheal-memory-") as folder:
        for height, width in SIZES:
            image, found = pathlib.Path(folder, f"{width}x{height}.png"), []
            write_image(image, height=height, width=width)
            for tile_size in flags.tile_sizes:
                command = [sys.executable, "-m", "hazeheal", "dehaze", image, f"--model={model}"]
                output = pathlib.Path(folder, f"at_{tile_size}")
                found.append(peak_bytes([*command, f"--output={output}", f"--tile_size={tile_size}"]))
            rows.append({"height": height, "width": width, "peak_bytes": found})
            figures = " | ".join(f"{peak / 2**30:.2f} GiB" for peak in found)
            print(f"| {width}x{height} | {figures} |", flush=True)
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
