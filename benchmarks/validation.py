"""Times a validation and measures its peak memory, in turn with another version of HazeHeal.

    python benchmarks/validation.py --data_dir=records/rice1 --against=../before --config.model.width=16

Each measurement is a process of its own that validates all pairs of the training split `--passes` times with the initial weights;
the first pass also builds the functions and computes the scores of the input. `--against` is a checkout of the other version
(`git worktree add ../before COMMIT`). Prints, for each version, the seconds and the CPU seconds of the first and of a later
validation, the longest time without a sign of life, and the peak resident size, all medians over the rounds, and the largest
relative difference between the figures of the two versions. `--config.x.y=v` changes the configuration.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
NEW, OLD = "this version", "the other version"
COLUMNS = ("first", "first_cpu", "later", "later_cpu", "silent", "peak_bytes")
TITLES = ("first, s", "CPU s", "later, s", "CPU s", "longest without a tick, s", "peak memory, GiB")


def measure(data_dir, passes, overrides):
    """Validates in this process; prints the figures as JSON."""
    from hazeheal import config as configs
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.training.trainer import DehazeTrainer

    config = configs.load(["--config=default", "--config.data.val_split=train", *overrides])
    runtime = choose_runtime(precision=config.train.precision, xla=config.train.xla)
    seconds, cpu, silent, last = [], [], [], [0.0]

    def tick():
        silent.append(time.perf_counter() - last[0])
        last[0] = time.perf_counter()

    with tempfile.TemporaryDirectory() as workdir:
        trainer = DehazeTrainer(config, data_dir=data_dir, workdir=workdir, runtime=runtime)
        for _ in range(passes):
            begin, cpu_begin = time.perf_counter(), time.process_time()
            last[0] = begin
            quality = trainer._validator.run(tick=tick)
            seconds.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - cpu_begin)
    figures = {"first": seconds[0], "first_cpu": cpu[0], "silent": max(silent), "quality": quality}
    if passes > 1:
        figures |= {"later": statistics.median(seconds[1:]), "later_cpu": statistics.median(cpu[1:])}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps(figures | {"peak_bytes": peak}))
    return 0


def contestant(checkout, arguments):
    """A function that measures a checkout in a process of its own."""

    def run():
        command = [sys.executable, __file__, "--measure", *arguments]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=checkout, env=environment)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\nfailed in {checkout}:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument(
        "--data_dir", type=pathlib.Path, required=True, help="a data set whose pairs are all in the training split"
    )
    parse.add_argument(
        "--against", type=pathlib.Path, help="a checkout of another version; without it only this one is measured"
    )
    parse.add_argument("--passes", type=int, default=3, help="validations of each process (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parse.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    flags, overrides = parse.parse_known_args(argv)
    if flags.measure:
        return measure(flags.data_dir, flags.passes, overrides)
    sys.path.insert(0, str(ROOT))
    from benchmarks import rounds

    arguments = [f"--data_dir={flags.data_dir.resolve()}", f"--passes={flags.passes}", *overrides]
    contestants = {NEW: contestant(ROOT, arguments)}
    if flags.against:
        contestants[OLD] = contestant(flags.against.resolve(), arguments)
    results, _ = rounds.alternate(contestants, rounds=flags.rounds, unit="first")
    print(f"| | {' | '.join(TITLES)} |\n|---|{'---|' * len(TITLES)}")
    for name, rows in results.items():
        cells = []
        for column in COLUMNS:
            values = [row[column] for row in rows if column in row]
            value = statistics.median(values) / (2**30 if column == "peak_bytes" else 1) if values else None
            cells.append("" if value is None else f"{value:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")
    if flags.against:
        for column in ("first", "later", "first_cpu", "later_cpu"):
            if all(column in row for rows in results.values() for row in rows):
                ratios = [new[column] / old[column] for new, old in zip(results[NEW], results[OLD], strict=True)]
                low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
                print(f"{column}: {middle:.2f} of the other version ({low:.2f} to {high:.2f})")
        pairs = [(results[NEW][0]["quality"][name], old) for name, old in results[OLD][0]["quality"].items()]
        print(
            f"largest relative difference of the figures: {max(abs(a - b) / max(abs(b), 1e-9) for a, b in pairs):.1g}"
        )
    rounds.write(
        flags.json,
        {
            "machine": rounds.machine(),
            "settings": vars(flags) | {"data_dir": str(flags.data_dir), "against": str(flags.against)},
            "config": overrides,
            "results": results,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
