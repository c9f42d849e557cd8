"""Synthetic pairs: aerial scenes with synthetic haze, so that everything can be tried without a download.

    python -m hazeheal.data.synthesis.synthetic_pairs --output_dir data/pairs        # hazy/NNNN.png and GT/NNNN.png

A pair depends on (seed, index, size) alone. TensorFlow is not needed.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from hazeheal.data.images import image_io
from hazeheal.data.synthesis.scattering import add_haze, thickness
from hazeheal.data.synthesis.scenes import make_scene
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.atomic import atomic_write

SETTINGS = "synthetic.json"  # the arguments that the images depend on
VERSION = 2  # Raise it when any pixel of any pair changes.
MIN_SIZE = 16
MIN_TRANSMISSION = 0.16  # Below it, 8 bits hold too little of the scene to restore it.


def _check_minimum(**numbers):
    for name, (value, minimum) in numbers.items():
        if value < minimum:
            raise UsageError(f"{name}={value} must be {minimum} or more")


def make_pair(index: int, *, size: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Makes pair number `index`.

    The haze is as dense as a drawn input PSNR of 11 to 17.5 dB requires, but transmits at least
    `MIN_TRANSMISSION` of the scene everywhere.

    Args:
        index, seed: 0 or more. Another seed gives another data set.
        size: Side in pixels, 16 or more.

    Returns:
        (hazy, clear), both uint8 RGB `[size, size, 3]`.

    Raises:
        UsageError: A number is out of range.
    """
    _check_minimum(index=(index, 0), size=(size, MIN_SIZE), seed=(seed, 0))
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    clear = make_scene(rng, size)
    airlight = np.clip(rng.uniform(0.84, 0.97) + rng.normal(0, 0.012, 3) * [1.4, 0.6, 1.4], 0, 1)
    depth = thickness(rng, size)
    target_psnr = rng.uniform(11.0, 17.5)
    low, high = 0.0, -float(np.log(MIN_TRANSMISSION)) / float(depth.max())
    for _ in range(16):  # Bisection: the PSNR falls as beta grows.
        beta = (low + high) / 2
        error = np.mean((add_haze(clear, depth=depth, beta=beta, airlight=airlight) - clear) ** 2)
        too_thin = -10 * np.log10(max(float(error), 1e-12)) > target_psnr
        low, high = (beta, high) if too_thin else (low, beta)
    hazy = add_haze(clear, depth=depth, beta=beta, airlight=airlight)
    return tuple(np.rint(255 * image).astype(np.uint8) for image in (hazy, clear))


def write_dataset(
    directory: str | pathlib.Path, *, pairs: int = 96, size: int = 160, seed: int = 0, progress: bool = True
) -> None:
    """Writes pairs 0 to `pairs` - 1 as `directory/hazy/NNNN.png` and `directory/GT/NNNN.png`.

    A complete data set is left unchanged; an interrupted one is completed. Equal arguments give equal images, except
    that processors and NumPy versions round floats differently: a few pixels in a million differ by one level.

    `progress` prints the progress to stderr. `size` and `seed` are those of `make_pair`.

    Raises:
        UsageError: A number is out of range, or the directory contains something else.
    """
    directory = pathlib.Path(directory)
    _check_minimum(pairs=(pairs, 1), size=(size, MIN_SIZE), seed=(seed, 0))
    settings = {"version": VERSION, "pairs": pairs, "size": size, "seed": seed}
    marker = directory / SETTINGS
    if marker.is_file():
        existing = marker.read_text(encoding="utf-8")
        if existing != json.dumps(settings):
            raise UsageError(
                f"{directory} contains pairs with other settings ({existing}); use another directory, or delete this one"
            )
    elif directory.is_dir() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty and not a synthetic data set; use another directory")
    atomic_write(marker, json.dumps(settings))
    names = [f"{index:04d}.png" for index in range(pairs)]
    files = [[directory / folder / name for folder in ("hazy", "GT")] for name in names]
    for index, paths in enumerate(files):
        if not all(path.is_file() for path in paths):
            for path, image in zip(paths, make_pair(index, size=size, seed=seed), strict=True):
                image_io.save(image, path)
        if progress and (index + 1 == pairs or sys.stderr.isatty()):
            end = "\n" if index + 1 == pairs else "\r"
            print(f"{directory}: {index + 1} of {pairs} synthetic pairs", end=end, file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hazeheal.data.synthesis.synthetic_pairs",
        description="Make synthetic pairs of hazy and clear aerial images.",
    )
    parser.add_argument("--output_dir", required=True, help="directory for hazy/NNNN.png and GT/NNNN.png")
    parser.add_argument("--pairs", type=int, default=96, help="number of pairs (default: %(default)s)")
    parser.add_argument("--size", type=int, default=160, help="side in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs (default: %(default)s)")
    flags = parser.parse_args(argv)
    try:
        write_dataset(flags.output_dir, pairs=flags.pairs, size=flags.size, seed=flags.seed)
    except HazeHealError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
