"""Measures what the cache of decoded images gains, and whether a fast GPU would wait for it.

    python benchmarks/input_cache.py [--sizes=256x256,620x460,1600x1200] [--rate=10000]

Pairs of PNG images, crops of 256, batches of 32, without rotation and mirroring, which the device does. Decoding and the cache
alternate, both on all cores. Then a loop whose steps only sleep asks for batches at a fixed rate, from memory and from the cache
in turn; the waiting share is how much longer the second takes. Prints a Markdown table.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import images  # noqa: E402
from hazeheal.benchmark.convert import run_conversion  # noqa: E402
from hazeheal.benchmark.loop import make_waiting_loop  # noqa: E402
from hazeheal.data.pipeline.cache_builder import build_cache  # noqa: E402
from hazeheal.data.pipeline.processor import DehazeDataProcessor  # noqa: E402
from hazeheal.distributed.runtime import choose_runtime  # noqa: E402

CROP, BATCH = 256, 32


def open_data(data_dir):
    """Opens the training split of a data set."""
    return DehazeDataProcessor(data_dir, batch_size=BATCH, crop_size=CROP)


def pairs_per_second(data, *, seconds):
    """Reads batches as fast as they come."""
    iterator = iter(data.dataset(orient=False))
    for _ in range(8):
        next(iterator)
    begin, batches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        next(iterator)
        batches += 1
    return batches * BATCH / elapsed


def waiting_share(data, runtime, *, rate, seconds):
    """Runs a loop whose steps only sleep, at `rate` pairs per second, from memory and from the data set in turn.

    Returns the share of the time by which the second takes longer. The loop fetches the next batch during a step, as a GPU's
    host does.
    """
    batches = data.dataset(orient=False)
    ready = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
    loop = make_waiting_loop(runtime, seconds=BATCH / rate)
    durations = []
    for dataset in (ready, batches):
        iterator, steps = iter(dataset), tf.constant(round(seconds * rate / BATCH))
        loop(iterator, tf.constant(8))
        begin = time.perf_counter()
        loop(iterator, steps)[0].numpy()
        durations.append(time.perf_counter() - begin)
    return max(0.0, 1 - durations[0] / durations[1])


def main(argv=None):
    """Prints the table."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--sizes", default="256x256,620x460,1600x1200", help="WIDTHxHEIGHT,... of the images")
    parse.add_argument("--pairs", type=int, default=64, help="pairs per size, 8 of them different")
    parse.add_argument("--rate", type=float, default=10000, help="pairs per second that the consumer asks for")
    parse.add_argument("--seconds", type=float, default=4, help="per measurement (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=3)
    flags = parse.parse_args(argv)
    runtime = choose_runtime(cpu_replicas=1)
    print("| images | decoded, pairs/s | cached, pairs/s | ratio | built in | waiting at the rate asked for |")
    print("|---|---|---|---|---|---|")
    for size in flags.sizes.split(","):
        width, height = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as directory:
            folder, data_dir, caches = (pathlib.Path(directory, name) for name in ("images", "records", "caches"))
            images.write_folder(folder, pairs=flags.pairs, height=height, width=width, distinct=8)
            run_conversion(folder, data_dir, encoding="keep")
            decoded, cached = open_data(data_dir), open_data(data_dir)
            begin = time.perf_counter()
            build_cache(caches, decoded, stop=threading.Event())
            built = time.perf_counter() - begin
            cached.open_cache(caches)
            rates = [
                [pairs_per_second(data, seconds=flags.seconds) for data in (decoded, cached)]
                for _ in range(flags.rounds)
            ]
            ratios = [after / before for before, after in rates]
            shares = [
                waiting_share(cached, runtime, rate=flags.rate, seconds=flags.seconds) for _ in range(flags.rounds)
            ]
        before, after = (statistics.median(column) for column in zip(*rates, strict=True))
        print(
            f"| {size} | {before:.0f} | {after:.0f} | {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) "
            f"| {built:.1f} s | {statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%}) |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
