"""Compares the input pipeline with a torch DataLoader and with the decoder alone.

    python benchmarks/compare_input.py [--sizes=620x460,1600x1200]

Each contestant produces crops of 256 from JPEG pairs, flipped and rotated, in random order, as uint8 batches of 4. HazeHeal
reads records that `hazeheal-tfrecords convert --encoding=keep` made from the same files. The decoder alone is the limit: the
same crops, decoded in a loop on all cores and discarded. The contestants alternate, each in its own process. Prints pairs/s
and the ratios of each round to the DataLoader and to the limit.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import images, rounds  # noqa: E402
from hazeheal.benchmark.convert import run_conversion  # noqa: E402

UNIT, PEER, LIMIT = "pairs_per_second", "torch DataLoader", "decoder alone"


def measure(flags):
    """Times HazeHeal's pipeline in this process; prints its figures as JSON."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from hazeheal import config as configs
    from hazeheal.benchmark import input as pipeline

    fields = {"data.crop_size": flags.crop_size, "train.batch_size": flags.batch_size}
    config = configs.load(["--config=default", *(f"--config.{k}={v}" for k, v in fields.items())])
    spec = {"config": config.to_dict(), "data_dir": flags.measure, "seconds": flags.seconds, "rounds": 1}
    print(json.dumps({UNIT: pipeline.measure(spec)[UNIT][0]}))
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


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--sizes", default="620x460,1600x1200", help="WIDTHxHEIGHT,... of the images")
    parse.add_argument("--pairs", type=int, default=256, help="pairs per size, 16 of them different")
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--batch_size", type=int, default=4)
    parse.add_argument("--seconds", type=float, default=5, help="per measurement (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parse.add_argument("--measure", metavar="DATA_DIR", help=argparse.SUPPRESS)
    flags = parse.parse_args(argv)
    if flags.measure:
        return measure(flags)
    result = {"machine": rounds.machine(), "settings": vars(flags), "sizes": {}}
    for size in flags.sizes.split(","):
        width, height = (int(side) for side in size.split("x"))
        with tempfile.TemporaryDirectory() as directory:
            folder, data_dir = pathlib.Path(directory, "images"), pathlib.Path(directory, "records")
            images.write_folder(folder, pairs=flags.pairs, height=height, width=width, suffix=".jpg", distinct=16)
            run_conversion(folder, data_dir, encoding="keep")
            results, _ = rounds.alternate(contestants(folder, data_dir, flags), rounds=flags.rounds, unit=UNIT)
        to_peer, to_limit = (rounds.ratios(results, unit=UNIT, base=base) for base in (PEER, LIMIT))
        print(f"\n{size}\n\n{rounds.markdown(to_peer, unit=UNIT, base=PEER)}")
        print(f"\nhazeheal relative to {LIMIT}: {to_limit['hazeheal']['ratio']:.2f}", flush=True)
        result["sizes"][size] = {"to_peer": to_peer, "to_limit": to_limit, "rounds": results}
    rounds.write(flags.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
