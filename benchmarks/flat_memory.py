"""Checks whether conversion and input pipeline use more memory for more pairs.

    python benchmarks/flat_memory.py [--pairs=1000,20000]

For each number of pairs a folder of small synthetic images is converted on all cores, and then read by the pipeline for some
seconds. The peak of a conversion is the sum over its processes: their resident sets are added every 20 ms (shared pages count
in each process). The peak of the pipeline is that of its process. Only the data that lists the pairs may grow: the index takes
32 bytes per pair. Prints MiB, and the bytes per additional pair.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402

CROP, MIB = 32, 2**20


def resident(process):
    """Resident bytes of a process and its descendants, from /proc."""
    total, pending = 0, [process]
    while pending:
        number = pending.pop()
        try:
            total += int(pathlib.Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for children in pathlib.Path(f"/proc/{number}/task").glob("*/children"):
                pending += [int(child) for child in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # the process has ended
            continue
    return total


def conversion(folder, output):
    """Peak memory of a whole conversion in bytes."""
    command = [*rounds.conversion(folder, output), f"--workers={rounds.machine()['cores']}"]
    peak = 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        while running.poll() is None:
            peak = max(peak, resident(running.pid))
            time.sleep(0.02)
        if running.returncode:
            raise SystemExit(f"the conversion failed:\n{running.stderr.read().decode()[-2000:]}")
    return peak


def read(data_dir, seconds):
    """Reads batches in this process for `seconds`; prints its peak memory as JSON."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    from hazeheal.data.pipeline.processor import DehazeDataProcessor

    batches = iter(DehazeDataProcessor(data_dir, batch_size=16, crop_size=CROP).dataset())
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
    return 0


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--pairs", default="1000,20000", help="two numbers (default: %(default)s)")
    parse.add_argument("--seconds", type=float, default=5, help="of reading (default: %(default)s)")
    parse.add_argument("--folder", help="folder for temporary images and records (default: $TMPDIR)")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parse.add_argument("--read", metavar="DATA_DIR", help=argparse.SUPPRESS)
    flags = parse.parse_args(argv)
    if flags.read:
        return read(flags.read, flags.seconds)
    from benchmarks import images

    few, many = (int(number) for number in flags.pairs.split(","))
    peaks = {"conversion": {}, "input pipeline": {}}
    for pairs in (few, many):
        with tempfile.TemporaryDirectory(dir=flags.folder) as directory:
            folder, records = pathlib.Path(directory, "images"), pathlib.Path(directory, "records")
            images.write_folder(folder, pairs=pairs, height=48, width=64, suffix=".jpg", distinct=16)
            peaks["conversion"][pairs] = conversion(folder, records)
            reader = [sys.executable, __file__, f"--read={records}", f"--seconds={flags.seconds}"]
            peaks["input pipeline"][pairs] = rounds.process(reader)()["peak"]
    print(f"| peak memory, MiB | {few} pairs | {many} pairs | bytes per additional pair |\n|---|---|---|---|")
    for name, peak in peaks.items():
        per_pair = (peak[many] - peak[few]) / (many - few)
        print(f"| {name} | {peak[few] / MIB:.0f} | {peak[many] / MIB:.0f} | {per_pair:.0f} |")
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "peaks": peaks})
    return 0


if __name__ == "__main__":
    sys.exit(main())
