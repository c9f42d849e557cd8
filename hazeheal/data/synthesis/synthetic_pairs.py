"""Pairs made by rule: aerial scenes, and haze laid on them or on any clear image.

The embedded data set, so that everything can be tried without a download:

    python -m hazeheal.data.synthesis.synthetic_pairs --output_dir data/pairs        # hazy/NNNN.png and GT/NNNN.png

Needs only numpy and PIL, and (seed, index, size) alone decide a pair.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from hazeheal.data.images import image_io
from hazeheal.data.synthesis.scene_canvas import fractal
from hazeheal.data.synthesis.scenes import make_scene
from hazeheal.errors import HazeHealError, UsageError

SETTINGS = "synthetic.json"  # written last: its presence says that the data set is complete
VERSION = 1  # of the rules; to be raised when any pixel of any pair changes
MIN_SIZE = 16
LOWEST_TRANSMISSION = 0.16  # below it 8 bits no longer hold enough of the scene to be restored


def add_haze(clear, *, depth, beta, airlight=0.9):
    """Lays haze on a clear image: I = J t + A (1 - t) with t = exp(-beta depth).

    The atmospheric scattering model (Koschmieder 1924; Narasimhan and Nayar 2002).

    Args:
        clear: float [H, W, 3] in [0, 1], the scene J.
        depth: float [H, W], 0 or more: the distance to the camera in any unit, or for a view from above
            the optical thickness of the layer.
        beta: Scattering coefficient, 0 or more, in one over the unit of `depth`.
        airlight: A, in [0, 1]; one number or three (RGB).

    Returns:
        float32 [H, W, 3] in [0, 1].

    Raises:
        UsageError: A shape or a value is out of range.
    """
    clear, depth = np.asarray(clear, np.float32), np.asarray(depth, np.float32)
    airlight = np.asarray(airlight, np.float32)
    if clear.ndim != 3 or clear.shape[2] != 3:
        raise UsageError(f"clear has shape {clear.shape}; haze is laid on [height, width, 3]")
    if depth.shape != clear.shape[:2]:
        raise UsageError(f"depth has shape {depth.shape}, the image is {clear.shape[:2]}; resize one of them")
    if airlight.shape not in ((), (3,)):
        raise UsageError(f"airlight has shape {airlight.shape}; give one number or three")
    for name, value, top in (("clear", clear, 1), ("airlight", airlight, 1), ("depth", depth, np.inf)):
        if value.size and not (value.min() >= 0 and value.max() <= top):  # false for NaN too
            raise UsageError(f"{name} runs from {value.min()} to {value.max()}; it must lie in [0, {top}]")
    if not 0 <= beta < np.inf:
        raise UsageError(f"beta is {beta}; it must be 0 or more, and finite")
    transmission = np.exp(-np.float32(beta) * depth)[..., None]
    return clear * transmission + airlight * (1 - transmission)


def thickness(rng, size):
    """A layer seen from above: a constant floor and drifting banks.

    Args:
        rng: numpy Generator; everything is drawn from it.
        size: Side in pixels, or (height, width).

    Returns:
        float32 [height, width] in (0, 1], the optical thickness as a part of the greatest.
    """
    banks = fractal(rng, size, cells=rng.uniform(1.2, 2.8), octaves=6, gain=rng.uniform(0.38, 0.55))
    banks = banks - banks.min()
    banks = (banks / max(float(banks.max()), 1e-6)) ** rng.uniform(0.9, 1.6)
    floor = rng.uniform(0.15, 0.5)
    return (floor + (1 - floor) * banks).astype(np.float32)


def _at_least(**numbers):
    for name, (value, least) in numbers.items():
        if value < least:
            raise UsageError(f"{name} is {value}; it must be {least} or more")


def make_pair(index, *, size=160, seed=0):
    """Makes pair number `index`.

    The haze is as strong as a drawn input PSNR of 10.5 to 17.5 dB asks for, but never so thick that
    less than `LOWEST_TRANSMISSION` of the scene comes through.

    Args:
        index: 0 or more.
        size: Side in pixels, 16 or more.
        seed: 0 or more; another one makes another data set.

    Returns:
        (hazy, clear): uint8 [size, size, 3] each, RGB.

    Raises:
        UsageError: A number is out of range.
    """
    _at_least(index=(index, 0), size=(size, MIN_SIZE), seed=(seed, 0))
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    clear = make_scene(rng, size)
    airlight = np.clip(rng.uniform(0.84, 0.97) + rng.normal(0, 0.012, 3) * [1.4, 0.6, 1.4], 0, 1)
    depth = thickness(rng, size)
    wanted = rng.uniform(10.5, 17.5)
    low, high = 0.0, -float(np.log(LOWEST_TRANSMISSION)) / float(depth.max())
    for _ in range(16):  # the error grows with beta, so halving finds it
        beta = (low + high) / 2
        error = np.mean((add_haze(clear, depth=depth, beta=beta, airlight=airlight) - clear) ** 2)
        low, high = (beta, high) if -10 * np.log10(max(float(error), 1e-12)) > wanted else (low, beta)
    hazy = add_haze(clear, depth=depth, beta=beta, airlight=airlight)
    return tuple(np.rint(255 * image).astype(np.uint8) for image in (hazy, clear))


def write_dataset(directory, *, pairs=96, size=160, seed=0, progress=True):
    """Writes pairs 0 to `pairs` - 1 as `directory/hazy/NNNN.png` and `directory/GT/NNNN.png`.

    A data set that is complete is left as it is; one that was interrupted is finished. Equal
    arguments give equal images; between processors and versions of numpy the rounding of a float moved a few
    pixels in a million by one level.

    Raises:
        UsageError: A number is out of range, or the directory holds something else.
    """
    directory = pathlib.Path(directory)
    _at_least(pairs=(pairs, 1), size=(size, MIN_SIZE), seed=(seed, 0))
    settings = {"version": VERSION, "pairs": pairs, "size": size, "seed": seed}
    marker, started = directory / SETTINGS, directory / f"{SETTINGS}.started"
    for path in (marker, started):
        if path.is_file() and path.read_text(encoding="utf-8") != json.dumps(settings):
            raise UsageError(
                f"{directory} holds pairs of other settings ({path.read_text(encoding='utf-8')}); "
                "give another directory, or remove it"
            )
    names = [f"{index:04d}.png" for index in range(pairs)]
    files = [[directory / folder / name for folder in ("hazy", "GT")] for name in names]
    if marker.is_file() and all(path.is_file() for pair in files for path in pair):
        if progress:
            print(f"{directory}: all {pairs} synthetic pairs are there", file=sys.stderr)
        return
    if not (marker.is_file() or started.is_file()) and directory.is_dir() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty and was not made by this command; give another directory")
    for folder in ("hazy", "GT"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    started.write_text(json.dumps(settings), encoding="utf-8")
    for index, paths in enumerate(files):
        if not all(path.is_file() for path in paths):
            for path, image in zip(paths, make_pair(index, size=size, seed=seed), strict=True):
                image_io.save(image, path)
        if progress and (index + 1 == pairs or sys.stderr.isatty()):
            end = "\n" if index + 1 == pairs else "\r"
            print(f"{directory}: {index + 1} of {pairs} synthetic pairs", end=end, file=sys.stderr)
    started.replace(marker)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m hazeheal.data.synthesis.synthetic_pairs",
        description="Make pairs of hazy and clear aerial images by rule.",
    )
    parser.add_argument("--output_dir", required=True, help="gets hazy/NNNN.png and GT/NNNN.png")
    parser.add_argument("--pairs", type=int, default=96, help="how many (%(default)s)")
    parser.add_argument("--size", type=int, default=160, help="side in pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pairs (%(default)s)")
    flags = parser.parse_args(argv)
    try:
        write_dataset(flags.output_dir, pairs=flags.pairs, size=flags.size, seed=flags.seed)
    except HazeHealError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
