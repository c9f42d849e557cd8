"""Whether conversion and input pipeline take more memory for more pairs.

    python benchmarks/flat_memory.py [--pairs=1000,20000]

For each number of pairs a folder of small images by rule is converted on all cores, and the pipeline then reads it for some
seconds. The peak of a conversion is that of its processes together: their resident sets are added up every
20 ms (pages that they share count in each). The pipeline's is its process's own. What may grow is what names and finds the
pairs: the index takes 32 bytes a pair. Prints MiB, and the bytes that each further pair costs.
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
    """Bytes in memory of a process and all below it, added up; /proc of Linux."""
    total, waiting = 0, [process]
    while waiting:
        number = waiting.pop()
        try:
            total += int(pathlib.Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf(
                "SC_PAGE_SIZE"
            )
            for children in pathlib.Path(f"/proc/{number}/task").glob("*/children"):
                waiting += [int(child) for child in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
    return total


def conversion(folder, output):
    """Peak of a whole conversion, bytes."""
    command = [
        sys.executable,
        "-m",
        "tfrecords_tools",
        "convert",
        "--val_fraction=0",
        f"--output_dir={output}",
    ]
    command += [
        f"--hazy_dir={folder / 'hazy'}",
        f"--gt_dir={folder / 'GT'}",
        f"--workers={rounds.machine()['cores']}",
    ]
    peak = 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        while running.poll() is None:
            peak = max(peak, resident(running.pid))
            time.sleep(0.02)
        if running.returncode:
            raise SystemExit(f"the conversion failed:\n{running.stderr.read().decode()[-2000:]}")
    return peak


def read(data_dir, seconds):
    """Reads batches in this process for so long; prints its peak as JSON."""
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
    parse.add_argument("--folder", help="where images and records go for the time being (default: $TMPDIR)")
    parse.add_argument("--json", metavar="FILE", help="write all figures here too")
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
    print(f"| peak memory, MiB | {few} pairs | {many} pairs | bytes a further pair |\n|---|---|---|---|")
    for name, peak in peaks.items():
        each = (peak[many] - peak[few]) / (many - few)
        print(f"| {name} | {peak[few] / MIB:.0f} | {peak[many] / MIB:.0f} | {each:.0f} |")
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "peaks": peaks})
    return 0


if __name__ == "__main__":
    sys.exit(main())
