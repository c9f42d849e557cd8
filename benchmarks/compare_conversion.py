"""Compares `hazeheal-tfrecords convert` with single-process loops and with copying the files.

    python benchmarks/compare_conversion.py [--pairs=2000 --size=620x460]

There are two tasks on one folder of JPEG pairs: `keep` (the bytes of the files are stored in records) and `jpeg` (both images
are resized and encoded again). The plain loop decodes and writes. The other loop does the additional work of `convert` as well
(`benchmarks/peers/plain_tfrecords.py`). The contestants alternate. Each is a command that writes to a new folder and is timed
from its start until its bytes are on the disk. The source files are in the page cache. Prints pairs/s and the ratios of each
round to both loops.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import images, rounds  # noqa: E402

UNIT = "pairs_per_second"
PLAIN, SAME = "plain loop", "loop with the same work"


def timed(command, output, pairs):
    """A contestant that runs `command`, waits for the disk, and then deletes `output`."""

    def run():
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        os.sync()
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\nfailed:\n{done.stderr[-2000:]}")
        for path in output.parent.glob(f"{output.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        os.sync()
        return {UNIT: pairs / seconds, "seconds": seconds}

    return run


def contestants(folder, output, *, image_size, pairs, workers):
    """{task: {name: contestant}}; the others are compared with the first one."""
    plain = [sys.executable, str(ROOT / "benchmarks/peers/plain_tfrecords.py")]
    plain += [f"--folder={folder}", f"--output={output}"]
    convert = rounds.conversion(folder, output)
    convert += [f"--workers={workers}"] * bool(workers)
    resize = f"--image_size={image_size}"
    tasks = {
        "keep": {
            PLAIN: plain,
            SAME: [*plain, "--same_work"],
            "hazeheal": [*convert, "--encoding=keep"],
            "copy of the files": ["cp", "-r", str(folder), str(output)],
        },
        "jpeg": {
            PLAIN: [*plain, resize],
            SAME: [*plain, resize, "--same_work"],
            "hazeheal": [*convert, "--encoding=jpeg", resize],
        },
    }
    return {
        task: {name: timed(command, output, pairs) for name, command in commands.items()}
        for task, commands in tasks.items()
    }


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--pairs", type=int, default=2000)
    parse.add_argument("--size", default="620x460", help="WIDTHxHEIGHT of the images")
    parse.add_argument("--image_size", type=int, default=286, help="side after resizing, for the jpeg task")
    parse.add_argument("--workers", type=int, help="processes of `convert` (default: one per core)")
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--folder", help="folder for temporary images and records (default: $TMPDIR)")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    width, height = (int(side) for side in flags.size.split("x"))
    result = {"machine": rounds.machine(), "settings": vars(flags), "tasks": {}}
    with tempfile.TemporaryDirectory(dir=flags.folder) as directory:
        folder, output = pathlib.Path(directory, "images"), pathlib.Path(directory, "records")
        images.write_folder(folder, pairs=flags.pairs, height=height, width=width, suffix=".jpg", distinct=32)
        tasks = contestants(folder, output, image_size=flags.image_size, pairs=flags.pairs, workers=flags.workers)
        for task, chosen in tasks.items():
            results, _ = rounds.alternate(chosen, rounds=flags.rounds, unit=UNIT)
            tables = {base: rounds.ratios(results, unit=UNIT, base=base) for base in (PLAIN, SAME)}
            print(f"\n{task}\n\n{rounds.markdown(tables[PLAIN], unit=UNIT, base=f'the {PLAIN}')}")
            print(f"\nhazeheal relative to the {SAME}: {tables[SAME]['hazeheal']['ratio']:.2f}", flush=True)
            result["tasks"][task] = {"tables": tables, "rounds": results}
    rounds.write(flags.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
