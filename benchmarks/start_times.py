"""How long `hazeheal --help` takes, and a training from the start of its process to its first step.

    python benchmarks/start_times.py [--width=16 --depth=3 --crop_size=128]

The first step is there when status.json says so. It is timed without XLA, with XLA, and with XLA and --xla_cache, which keeps
compiled programs, once empty and once as the run before left it. All files are in the page cache: every command
runs once before it is timed. Prints seconds, medians over the rounds, and how many files the cache then held.
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


def helped(*command):
    """A contestant: prints the help of `hazeheal`, or of a command."""

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
    """A contestant: trains to the first step; the cache is emptied before, unless `keep`."""
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
        "data.val_split": "",  # pairs by rule have none
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
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as running:
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
    parse.add_argument("--help_alone", action="store_true", help="no training")
    parse.add_argument("--json", metavar="FILE", help="write all figures here too")
    flags = parse.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        folder, data_dir, run_dir, cache = (
            pathlib.Path(directory, name) for name in ("images", "records", "run", "cache")
        )
        contestants = {"hazeheal --help": helped(), "hazeheal train --help": helped("train")}
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
        found = {name: [] for name in contestants}
        for _ in range(flags.rounds):  # in this order, as one contestant fills the other's cache
            for name, contestant in contestants.items():
                found[name].append(contestant())
    for name, figures in found.items():
        times = [one[UNIT] for one in figures]
        text = f"{name}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
        cached = figures[-1].get("cached_files")
        print(text if cached is None else f"{text}, {cached} files in the cache")
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rounds": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
