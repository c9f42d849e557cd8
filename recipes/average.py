"""Averages the weights of networks that continue one another; the mean often generalizes better than each of them.

    python recipes/average.py first.npz second.npz --output=mean.npz

The weights files are those of `hazeheal export --format=weights` (Wortsman et al. 2022). The metadata are those of the last
file, without its scores and with the hashes of all files.
"""

import argparse
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hazeheal.models import weights  # noqa: E402

OWN = ("format", "sha256")  # of the file that is written


def average(files):
    """(values, metadata) of the mean of weights files, which must be of one architecture."""
    read = [weights.read(file) for file in files]
    shapes = [{name: value.shape for name, value in one.values.items()} for one in read]
    for file, found in zip(files, shapes, strict=True):
        if found != shapes[0]:
            raise SystemExit(f"{file} has other variables than {files[0]}; use networks of one architecture")
    values = {name: np.mean([one.values[name].astype(np.float32) for one in read], axis=0) for name in shapes[0]}
    metadata = {key: value for key, value in read[-1].metadata.items() if key not in OWN}
    metadata |= {"psnr": None, "metrics": {}, "average_of": [one.metadata["sha256"] for one in read]}
    return values, metadata


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.npz")
    parse.add_argument("--output", required=True, type=pathlib.Path)
    flags = parse.parse_args(argv)
    if flags.output.exists():
        raise SystemExit(f"{flags.output} exists; remove it or choose another --output")
    weights.write(flags.output, *average(flags.files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
