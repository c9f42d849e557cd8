"""Compares the input pipeline with the original one, in training pairs per second.

    python benchmarks/input_pipeline.py                      # synthetic images
    python benchmarks/input_pipeline.py --source photos      # enlarged from the images in a folder

The original pipeline is that of the pix2pix tutorial, which the first version of this project used. It reads a folder of PNG
files. For each pair it decodes both images completely, resizes them to 286x286 in float32, crops 256x256, flips at random,
normalizes to [-1, 1], and batches 4. It uses tf.data's autotuned parallel map and prefetching.

HazeHeal reads records that `hazeheal-tfrecords convert` made from the same PNG files: with `--encoding=jpeg`, and with
`--encoding=keep` (PNG), which shows the effect of the format. It also checks the CRC of every record, rotates by multiples of 90
degrees, returns uint8 (the device normalizes), and crops at full resolution.

The pipelines alternate within each round, so that other work on the machine slows all of them. The results are the medians of
the ratios of each round. The CPU time per pair depends even less on other work.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the input pipeline runs on the CPU

import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.images import write_folder  # noqa: E402
from hazeheal.benchmark.convert import run_conversion  # noqa: E402
from hazeheal.data.pipeline.processor import DehazeDataProcessor  # noqa: E402

CROP, RESIZED, BATCH = 256, 286, 4


def original_dataset(folder):
    """The original input pipeline on a folder of PNG files."""

    def load(path):
        return tf.cast(tf.io.decode_png(tf.io.read_file(path), channels=3), tf.float32)

    def example(hazy_path):
        clear_path = tf.strings.join([str(folder / "GT") + os.sep, tf.strings.split(hazy_path, os.sep)[-1]])
        hazy, clear = (
            tf.image.resize(load(path), [RESIZED, RESIZED], method=tf.image.ResizeMethod.NEAREST_NEIGHBOR)
            for path in (hazy_path, clear_path)
        )
        both = tf.image.random_crop(tf.stack([hazy, clear]), [2, CROP, CROP, 3])
        both = tf.cond(tf.random.uniform([]) > 0.5, lambda: tf.image.flip_left_right(both), lambda: both)
        both = both / 127.5 - 1
        return both[0], both[1]

    paths = tf.data.Dataset.list_files(str(folder / "hazy" / "*.png"), shuffle=True).repeat()
    return paths.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def measure(iterator, *, seconds, skip):
    """(pairs per second of wall time, milliseconds of CPU time per pair)."""
    for _ in range(skip):  # prefetched before the measurement
        next(iterator)
    batches, cpu, start = 0, time.process_time(), time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        next(iterator)
        batches += 1
    return batches * BATCH / elapsed, (time.process_time() - cpu) / (batches * BATCH) * 1e3


def compare(directory, *, height, width, options):
    """Measures all pipelines at one image size; returns {pipeline: figures}."""
    folder = directory / f"{width}x{height}"
    write_folder(folder, pairs=options.pairs, height=height, width=width, source=options.source)
    jpeg, png = folder / "jpeg", folder / "png"
    run_conversion(folder, jpeg, encoding="jpeg", options=[f"--quality={options.quality}"])
    run_conversion(folder, png, encoding="keep")

    def hazeheal_dataset(data_dir):
        data = DehazeDataProcessor(data_dir, batch_size=BATCH, crop_size=CROP, workers=options.workers)
        return data.dataset()

    datasets = {
        "original": original_dataset(folder),
        "jpeg": hazeheal_dataset(jpeg),
        "png": hazeheal_dataset(png),
    }
    results = {name: {"pairs_per_second": [], "cpu_ms_per_pair": []} for name in datasets}
    for turn in range(-1, options.rounds):  # the first round is a warm-up
        for name, dataset in datasets.items():
            # A new iterator for each turn: an idle one would prefetch in the background and slow the next contestant.
            iterator = iter(dataset)
            rate, cpu = measure(iterator, seconds=options.seconds, skip=8)
            del iterator
            if turn >= 0:
                results[name]["pairs_per_second"].append(rate)
                results[name]["cpu_ms_per_pair"].append(cpu)
    return summarize(results)


def summarize(results):
    """Medians, and medians of the ratios to the original in each round."""
    base = results["original"]
    table = {}
    for name, figures in results.items():
        rates, cpu = figures["pairs_per_second"], figures["cpu_ms_per_pair"]
        ratios = [a / b for a, b in zip(rates, base["pairs_per_second"], strict=True)]
        cpu_ratios = [b / a for a, b in zip(cpu, base["cpu_ms_per_pair"], strict=True)]
        table[name] = {
            "pairs_per_second": statistics.median(rates),
            "cpu_ms_per_pair": statistics.median(cpu),
            "ratio": statistics.median(ratios),
            "ratio_lowest": min(ratios),
            "ratio_highest": max(ratios),
            "cpu_ratio": statistics.median(cpu_ratios),
        }
    return table


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="620x460,1600x1200", help="WIDTHxHEIGHT,... (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=16, help="pairs per size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="per measurement (default: %(default)s)")
    parser.add_argument("--quality", type=int, default=95, help="of the JPEG records (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="HazeHeal's decoding threads (default: one per core)")
    parser.add_argument("--source", type=pathlib.Path, metavar="DIR", help="folder of images to enlarge")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write all figures to this file")
    options = parser.parse_args(argv)
    try:
        options.sizes = [tuple(int(side) for side in size.split("x")) for size in options.sizes.split(",")]
        if any(len(size) != 2 or min(size) < CROP for size in options.sizes):
            raise ValueError
    except ValueError:
        parser.error(f"--sizes={options.sizes} must be WIDTHxHEIGHT,..., with sides of at least {CROP}")
    if min(options.pairs, options.rounds) < 1 or options.seconds <= 0:
        parser.error("--pairs, --rounds and --seconds must be positive")
    return options


def main(argv=None):
    options = parse(argv)
    result = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "tensorflow": tf.__version__,
        "content": "enlarged images of --source" if options.source else "synthetic",
        "rounds": options.rounds,
        "seconds": options.seconds,
        "sizes": {},
    }
    print(
        f"{'size':>10} {'pipeline':>9} {'pairs/s':>8} {'ratio':>6} {'lowest':>7} {'CPU ms/pair':>12} {'CPU ratio':>10}"
    )
    with tempfile.TemporaryDirectory() as directory:
        for width, height in options.sizes:
            table = compare(pathlib.Path(directory), height=height, width=width, options=options)
            result["sizes"][f"{width}x{height}"] = table
            for name, row in table.items():
                print(
                    f"{f'{width}x{height}':>10} {name:>9} {row['pairs_per_second']:8.0f} {row['ratio']:6.2f} "
                    f"{row['ratio_lowest']:7.2f} {row['cpu_ms_per_pair']:12.2f} {row['cpu_ratio']:10.2f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
