"""Measures the time and the peak memory of `hazeheal dehaze` on a GeoTIFF of the size of a Sentinel-2 scene.

    python benchmarks/restore_scene.py --model=fast

The scene has four bands of 16 bits with reflectance times 4,000, tiles with Deflate, and a border without data. Three bands
are restored. The result is read back: the fourth band and the border must be those of the scene. The first row is a scene of
256x256, which shows the time and memory of Python and TensorFlow. Needs rasterio (`pip install 'hazeheal[geo]'`).
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin
from rasterio.windows import Window

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402

WHITE, ROWS = 4000, 512


def write_scene(path, *, size, cog):
    """Writes a scene of size x size pixels, block by block."""
    plain = path.with_suffix(".plain.tif") if cog else path
    random, x = np.random.default_rng(0), np.arange(size, dtype=np.float32)
    profile = {"width": size, "height": size, "count": 4, "dtype": "uint16", "nodata": 0, "bigtiff": "IF_SAFER"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2}
    profile |= {"crs": "EPSG:32632", "transform": from_origin(399960, 5300040, 10, 10)}
    with rasterio.open(plain, "w", driver="GTiff", **profile) as file:
        for top in range(0, size, ROWS):
            y = np.arange(top, min(top + ROWS, size), dtype=np.float32)[:, None]
            haze = 0.35 + 0.25 * np.sin(x / 2300) * np.cos(y / 3100)
            block = np.empty((4, len(y), size), np.uint16)
            for band in range(4):
                ground = 0.25 + 0.15 * np.sin(x / (37 + band) + y / 53) + 0.1 * np.sin(x / 7 - y / 11)
                ground += random.normal(0, 0.02, ground.shape).astype(np.float32)
                block[band] = np.clip((ground * (1 - haze) + 0.9 * haze) * WHITE, 1, 1.5 * WHITE)
            block[:, (y < 0.2 * x) | (y - 0.2 * x > 0.85 * size)] = 0
            file.write(block, window=Window(0, top, size, len(y)))
    if cog:
        rasterio.shutil.copy(plain, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BIGTIFF="IF_SAFER")
        plain.unlink()


def check(hazy, restored):
    """Exits if the fourth band or the border has changed, or if the other pixels have not."""
    with rasterio.open(hazy) as before, rasterio.open(restored) as after:
        assert before.profile == after.profile and before.overviews(1) == after.overviews(1)
        changed = []
        for top in range(0, before.height, ROWS):
            window = Window(0, top, before.width, min(ROWS, before.height - top))
            old, new = before.read(window=window), after.read(window=window)
            valid = (old[:3] != 0).any(0)
            if not (old[3] == new[3]).all() or not (old[:, ~valid] == new[:, ~valid]).all():
                sys.exit(f"{restored} differs where it must not")
            changed.append((old[:3] != new[:3])[:, valid])
        assert np.concatenate(changed, axis=1).mean() > 0.9


def measure(command) -> tuple[float, float, int]:
    """Runs a command and returns its seconds, its processor seconds and its peak resident bytes; exits if it fails."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    stderr = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with exit code {process.returncode}:\n{stderr[-3000:]}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, peak


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", default="fast", help="as for `hazeheal dehaze`")
    parse.add_argument("--sizes", type=int, nargs="+", default=[256, 10980], help="pixels per side of each scene")
    parse.add_argument("--cog", action="store_true", help="the scene is a Cloud Optimized GeoTIFF, with overviews")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    rows = []
    print("| scene | file | seconds | processor seconds | peak memory |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="hazeheal-scene-") as folder:
        for size in flags.sizes:
            scene, output = pathlib.Path(folder, f"{size}.tif"), pathlib.Path(folder, "out")
            write_scene(scene, size=size, cog=flags.cog)
            command = [sys.executable, "-m", "hazeheal", "dehaze", scene, f"--model={flags.model}"]
            seconds, processor, peak = measure([*command, "--bands=3,2,1", f"--white={WHITE}", f"--output={output}"])
            check(scene, output / scene.name)
            megabytes = scene.stat().st_size / 2**20
            rows.append({"size": size, "seconds": seconds, "processor_seconds": processor, "peak_bytes": peak})
            figures = f"{megabytes:.0f} MiB | {seconds:.0f} | {processor:.0f} | {peak / 2**30:.2f} GiB"
            print(f"| {size}x{size} | {figures} |", flush=True)
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
