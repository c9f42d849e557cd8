"""The input pipeline against a torch DataLoader, and against the decoder alone.

    python benchmarks/compare_input.py [--sizes=620x460,1600x1200]

JPEG pairs to crops of 256, mirrored and turned, in random order, batches of 4 of uint8 ready for the device. Ours reads
records that `hazeheal-tfrecords convert` made of the same files, whose bytes it keeps. The decoder alone is the
physical limit: the same crops, decoded in a loop on all cores and thrown away. Contestants take turns, each in a
process of its own. Prints pairs/s and each round's ratios to the DataLoader and to the limit.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import pictures, rounds  # noqa: E402

UNIT, PEER, LIMIT = "pairs_per_second", "torch DataLoader", "decoding alone"


def measure(flags):
    """Times our pipeline in this process; prints its figures as JSON."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from hazeheal.data.processor import DehazeDataProcessor

    processor = DehazeDataProcessor(flags.measure, batch_size=flags.batch_size, crop_size=flags.crop_size)
    batches = iter(processor.dataset())
    for _ in range(16):  # What lay ready before the clock ran.
        next(batches)
    count, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < flags.seconds:
        next(batches)
        count += 1
    print(json.dumps({UNIT: count * flags.batch_size / seconds}))
    return 0


def contestants(folder, data_dir, flags):
    def script(name, *arguments):
        common = [f"--crop_size={flags.crop_size}", f"--seconds={flags.seconds}"]
        return rounds.process([sys.executable, str(ROOT / "benchmarks" / name), *arguments, *common])

    batch = f"--batch_size={flags.batch_size}"
    return {
        PEER: script("peers/torch_loader.py", str(folder), batch),
        "hazeheal": script("compare_input.py", f"--measure={data_dir}", batch),
        LIMIT: script("decode_alone.py", str(folder)),
    }


def convert(folder, data_dir):
    command = [sys.executable, "-m", "tfrecords_tools", "convert", "--val_fraction=0", "--encoding=keep"]
    command += [f"--hazy_dir={folder / 'hazy'}", f"--gt_dir={folder / 'GT'}", f"--output_dir={data_dir}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the conversion failed: {done.stderr.strip()}")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--sizes", default="620x460,1600x1200", help="WIDTHxHEIGHT,... of the pictures")
    parse.add_argument("--pairs", type=int, default=256, help="pairs a size, 16 of them different")
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--batch_size", type=int, default=4)
    parse.add_argument("--seconds", type=float, default=5, help="a measurement (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--json", metavar="FILE", help="write all figures here too")
    parse.add_argument("--measure", metavar="DATA_DIR", help=argparse.SUPPRESS)
    flags = parse.parse_args(argv)
    if flags.measure:
        return measure(flags)
    result = {"machine": rounds.machine(), "settings": vars(flags), "sizes": {}}
    for size in flags.sizes.split(","):
        width, height = (int(side) for side in size.split("x"))
        with tempfile.TemporaryDirectory() as directory:
            folder, data_dir = pathlib.Path(directory, "pictures"), pathlib.Path(directory, "records")
            pictures.write_folder(
                folder, pairs=flags.pairs, height=height, width=width, suffix=".jpg", distinct=16
            )
            convert(folder, data_dir)
            found, _ = rounds.alternate(contestants(folder, data_dir, flags), rounds=flags.rounds, unit=UNIT)
        to_peer, to_limit = (rounds.ratios(found, unit=UNIT, base=base) for base in (PEER, LIMIT))
        print(f"\n{size}\n\n{rounds.markdown(to_peer, unit=UNIT, base=PEER)}")
        print(f"\nhazeheal to {LIMIT}: {to_limit['hazeheal']['ratio']:.2f}", flush=True)
        result["sizes"][size] = {"to_peer": to_peer, "to_limit": to_limit, "rounds": found}
    rounds.write(flags.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
