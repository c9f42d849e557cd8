"""Compares restoring one image by generators of several widths with the dark channel prior in OpenCV.

    python benchmarks/compare_restore.py [--widths 4 8 16 32 --depth=3 --patch_size=1]

`DehazeGAN.restore` restores a 550x412 image, uint8 in and out. `peers/opencv_dark_channel.py` does the same; both use all cores.
The contestants alternate, each in its own process. The weights are the initial ones, because the speed does not depend on them.
The last line is the width at which the generator would be as fast as OpenCV, interpolated log-linearly between two widths.
"""

import argparse
import itertools
import json
import math
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402

MODEL = ("depth", "patch_size", "view_size", "bins", "edges", "upsampling", "norm", "output", "se_ratio")
UNIT, PEER = "images_per_second", "OpenCV dark channel"


def measure(flags):
    """Times one width in this process; prints its figures as JSON."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from hazeheal import config as configs
    from hazeheal.benchmark import restore
    from hazeheal.distributed.runtime import choose_runtime

    runtime = choose_runtime(precision=flags.precision)
    model = {"width": flags.measure} | {name: getattr(flags, name) for name in MODEL}
    config = configs.load(["--config=default", *(f"--config.model.{k}={v}" for k, v in model.items())])
    spec = {"config": config.to_dict(), "cpu": not runtime.on_gpu, "precision": runtime.precision}
    spec |= {"height": flags.height, "width": flags.image_width, "seconds": flags.seconds, "rounds": 1}
    print(json.dumps({UNIT: restore.measure(spec)[UNIT][0], "precision": runtime.precision}))
    return 0


def equal_width(speeds, peer):
    """Returns the width at which the speed would be `peer`.

    Args:
        speeds: {width: speed}, decreasing.
        peer: The speed to reach.

    Returns:
        A float; 0.0 if the smallest width is slower, infinity if the largest width is faster.
    """
    widths = sorted(speeds)
    if speeds[widths[0]] < peer:
        return 0.0
    for narrow, wide in itertools.pairwise(widths):
        if speeds[narrow] >= peer > speeds[wide]:
            share = math.log(speeds[narrow] / peer) / math.log(speeds[narrow] / speeds[wide])
            return narrow * (wide / narrow) ** share
    return math.inf


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16, 32], help="of the generator")
    parse.add_argument("--depth", type=int, default=3, help="of the generator (default: the quickstart's)")
    parse.add_argument("--patch_size", type=int, default=1, help="of the generator")
    parse.add_argument("--view_size", type=int, default=0, help="of the generator")
    parse.add_argument("--bins", type=int, default=0, help="of the generator")
    parse.add_argument("--edges", default="zero", help="of the generator")
    parse.add_argument("--upsampling", default="transposed", help="of the generator")
    parse.add_argument("--norm", default="layer", help="of the generator")
    parse.add_argument("--output", default="residual", help="of the generator")
    parse.add_argument("--se_ratio", type=float, default=0.25, help="of the generator")
    parse.add_argument(
        "--precision", default="float32", help="as for hazeheal dehaze, or mixed_bfloat16, mixed_float16"
    )
    parse.add_argument("--height", type=int, default=412)
    parse.add_argument("--image_width", type=int, default=550)
    parse.add_argument("--seconds", type=float, default=5, help="per measurement (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parse.add_argument("--measure", type=int, metavar="WIDTH", help=argparse.SUPPRESS)
    flags = parse.parse_args(argv)
    if flags.measure:
        return measure(flags)
    size = [f"--height={flags.height}", f"--seconds={flags.seconds}"]

    def generator(width):
        command = [sys.executable, str(ROOT / "benchmarks/compare_restore.py"), f"--measure={width}", *size]
        command += [f"--image_width={flags.image_width}"]
        command += [f"--{name}={getattr(flags, name)}" for name in MODEL]
        return rounds.process([*command, f"--precision={flags.precision}"])

    peer = [sys.executable, str(ROOT / "benchmarks/peers/opencv_dark_channel.py"), *size]
    names = {f"hazeheal width {width}": width for width in sorted(flags.widths)}
    contestants = {PEER: rounds.process([*peer, f"--width={flags.image_width}"])}
    contestants |= {name: generator(width) for name, width in names.items()}
    results, _ = rounds.alternate(contestants, rounds=flags.rounds, unit=UNIT)
    table = rounds.ratios(results, unit=UNIT, base=PEER)
    print(rounds.markdown(table, unit=UNIT, base=PEER))
    # Ratios are compared within a round, speeds are not.
    width = equal_width({w: table[name]["ratio"] for name, w in names.items()}, 1.0)
    print(f"precision {results[next(iter(names))][0]['precision']}; as fast as {PEER} at width {width:.1f}")
    result = {"machine": rounds.machine(), "settings": vars(flags), "table": table, "rounds": results}
    rounds.write(flags.json, result | {"equal_width": width if math.isfinite(width) else None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
