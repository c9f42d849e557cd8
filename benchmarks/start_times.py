"""Measures the time of `hazeheal --help`, and of a training from the start of its process to its first step.

    python benchmarks/start_times.py [--width=16 --depth=3 --crop_size=128]

The first step is complete when status.json says so. It is timed without XLA, with XLA, and with XLA and --xla_cache, which
stores compiled programs: once with an empty cache and once with that of the previous run. Every command runs once before it is
timed, so that all files are in the page cache. Prints seconds, medians over the rounds, and the number of files in the cache.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from hazeheal.benchmark.convert import run_conversion, write_pairs  # noqa: E402

UNIT = "seconds"


def show_help(*command):
    """A contestant that prints the help of `hazeheal` or of a command."""

    def run():
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "hazeheal", *command, "--help"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return {UNIT: time.perf_counter() - start}

    return run


def first_step(data_dir, run_dir, flags, *, xla, cache=None, keep=False):
    """A contestant that trains to the first step; it empties the cache first, unless `keep`."""
    fields = {
        "model.width": flags.width,
        "model.depth": flags.depth,
        "data.crop_size": flags.crop_size,
        "loss.perceptual_weight": 0.0,
        "train.steps_per_loop": 1,
        "train.steps": 2,
        "train.epochs": 0.0,
        "train.xla": xla,
        "train.validate_every": "never",
        "train.sample_every": "never",
        "data.val_split": "",  # the synthetic pairs have none
    }
    command = [sys.executable, "-m", "hazeheal", "train", f"--data_dir={data_dir}", f"--workdir={run_dir}"]
    command += ["--config=default", *(f"--config.{name}={value}" for name, value in fields.items())]
    if cache:
        command.append(f"--xla_cache={cache}")

    def run():
        shutil.rmtree(run_dir, ignore_errors=True)
        if cache and not keep:
            shutil.rmtree(cache, ignore_errors=True)
        start, seconds = time.perf_counter(), None
        status = run_dir / "status.json"
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
            while running.poll() is None:
                if seconds is None and status.is_file() and json.loads(status.read_bytes())["step"]:
                    seconds = time.perf_counter() - start
                time.sleep(0.02)
            if running.returncode or seconds is None:
                raise SystemExit(f"the training failed:\n{running.stderr.read().decode()[-2000:]}")
        return {UNIT: seconds} | ({"cached_files": len(list(cache.glob("*/*.pb")))} if cache else {})

    return run


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=16)
    parse.add_argument("--depth", type=int, default=3)
    parse.add_argument("--crop_size", type=int, default=128)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--help_alone", action="store_true", help="measure only --help")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        folder, data_dir, run_dir, cache = (
            pathlib.Path(directory, name) for name in ("images", "records", "run", "cache")
        )
        contestants = {"hazeheal --help": show_help(), "hazeheal train --help": show_help("train")}
        if not flags.help_alone:
            write_pairs(folder, pairs=16, size=max(160, flags.crop_size))
            run_conversion(folder, data_dir, encoding="keep")

            def training(**more):
                return first_step(data_dir, run_dir, flags, **more)

            contestants |= {
                "first step, no XLA": training(xla="off"),
                "first step, XLA": training(xla="on"),
                "first step, XLA, empty cache": training(xla="on", cache=cache),
                "first step, XLA, filled cache": training(xla="on", cache=cache, keep=True),
            }
        for contestant in list(contestants.values())[: 2 if flags.help_alone else 3]:
            contestant()
        results = {name: [] for name in contestants}
        for _ in range(flags.rounds):  # in this order, because one contestant fills the cache of the next
            for name, contestant in contestants.items():
                results[name].append(contestant())
    for name, figures in results.items():
        times = [one[UNIT] for one in figures]
        text = f"{name}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
        cached = figures[-1].get("cached_files")
        print(text if cached is None else f"{text}, {cached} files in the cache")
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rounds": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
