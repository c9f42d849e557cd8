"""Measures how long `hazeheal-tfrecords convert` plans a data set of very many files.

    python benchmarks/many_files.py [--scenes=8400] [--versions=35]

Makes a folder like RESIDE's OTS: PNG files of 16x16 pixels, a clear image and many hazy ones for each scene, in four
subfolders. The hazy images of a scene are hard links. Then it runs `convert --dry_run`, which lists and pairs all files,
compares clear images of equal size, and reads all headers. The folder is deleted at the end.
"""

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from hazeheal.data.images import image_io  # noqa: E402


def write_files(folder, *, scenes, versions):
    """Writes `folder/hazy/part1` to `part4` and `folder/GT`; returns the number of files."""
    rng = np.random.default_rng(0)
    for scene in range(scenes):
        part = folder / f"hazy/part{1 + 4 * scene // scenes}"
        names = [
            part / f"{scene:04d}_{0.7 + 0.05 * (v % 7):.2f}_{0.04 * (1 + v // 7):.2f}.png" for v in range(versions)
        ]
        for path in (folder / f"GT/{scene:04d}.png", names[0]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_io.encode(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)))
        for path in names[1:]:
            os.link(names[0], path)
    return scenes * (versions + 1)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--scenes", type=int, default=8400, help="number of clear images (default: %(default)s)")
    parse.add_argument("--versions", type=int, default=35, help="hazy images of each (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=2, help="number of runs (default: %(default)s)")
    parse.add_argument("--folder", help="folder for the temporary files (default: $TMPDIR)")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    measured = []
    with tempfile.TemporaryDirectory(dir=flags.folder) as directory:
        folder = pathlib.Path(directory)
        files = write_files(folder, scenes=flags.scenes, versions=flags.versions)
        command = [
            sys.executable,
            "-m",
            "tfrecords_tools",
            "convert",
            f"--hazy_dir={folder}/hazy",
            f"--gt_dir={folder}/GT",
        ]
        print("| files | seconds | of all cores |\n|---|---|---|")
        for _ in range(flags.rounds):
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [*command, f"--output_dir={folder}/out", "--dry_run"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
            )
            after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            measured.append({"files": files, "seconds": seconds, "cpu": cpu})
            print(f"| {files:,} | {seconds:.1f} | {cpu:.1f} |", flush=True)
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "measured": measured})
    return 0


if __name__ == "__main__":
    sys.exit(main())
