"""Measures the time to the first batch of the input pipeline, at step 0 and at step 1,000,000.

    python benchmarks/resume_start.py [--pairs=20000 --step=1000000]

Each measurement is a separate process, timed from opening the data set (small synthetic images) to the first batch, without the
import of TensorFlow. Prints seconds, medians over the rounds.
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
    """Prints the time of this process to the first batch as JSON."""
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
    parse.add_argument("--folder", help="folder for temporary images and records (default: $TMPDIR)")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
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
            f"step {step:,}": rounds.process([sys.executable, __file__, f"--measure={data_dir}", f"--step={step}"])
            for step in (0, flags.step)
        }
        results, _ = rounds.alternate(contestants, rounds=flags.rounds, unit=UNIT)
    for name, figures in results.items():
        times = [one[UNIT] for one in figures]
        print(f"{name}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rounds": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
