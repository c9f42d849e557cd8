"""How long the input pipeline takes to its first batch, from the start and at step 1,000,000.

    python benchmarks/resume_start.py [--pairs=20000 --step=1000000]

Each measurement is a process of its own, from opening the data set (small images by rule) to the first batch; TensorFlow
is imported before. Prints seconds, medians over the rounds.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402

UNIT = "seconds"


def first_batch(data_dir, step):
    """Prints as JSON how long this process took to the first batch."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    from hazeheal.data.pipeline.processor import DehazeDataProcessor

    start = time.perf_counter()
    next(iter(DehazeDataProcessor(data_dir, batch_size=4, crop_size=32).dataset(start_step=step)))
    print(json.dumps({UNIT: time.perf_counter() - start}))
    return 0


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--pairs", type=int, default=20_000)
    parse.add_argument("--step", type=int, default=1_000_000)
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--folder", help="where images and records go for the time being (default: $TMPDIR)")
    parse.add_argument("--json", metavar="FILE", help="write all figures here too")
    parse.add_argument("--measure", metavar="DATA_DIR", help=argparse.SUPPRESS)
    flags = parse.parse_args(argv)
    if flags.measure:
        return first_batch(flags.measure, flags.step)
    from benchmarks import images
    from hazeheal.benchmark.convert import run_conversion

    with tempfile.TemporaryDirectory(dir=flags.folder) as directory:
        folder, data_dir = pathlib.Path(directory, "images"), pathlib.Path(directory, "records")
        images.write_folder(folder, pairs=flags.pairs, height=48, width=64, suffix=".jpg", distinct=16)
        run_conversion(folder, data_dir, encoding="keep")
        contestants = {
            f"step {step:,}": rounds.process(
                [sys.executable, __file__, f"--measure={data_dir}", f"--step={step}"]
            )
            for step in (0, flags.step)
        }
        found, _ = rounds.alternate(contestants, rounds=flags.rounds, unit=UNIT)
    for name, figures in found.items():
        times = [one[UNIT] for one in figures]
        print(f"{name}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rounds": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
