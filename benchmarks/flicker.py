"""Measures how much restored videos flicker: the movement of the mean brightness from frame to frame.

    python benchmarks/flicker.py --model=best --hazy hazy/*.jpg --clear clear.jpg

Clips of 60 frames at 25 per second are made from photographs: a slow pan in two sizes and a slow zoom over hazy ones, and
haze that fades over a clear one. For each, the mean and the largest change of the mean brightness between two frames are
printed in levels of 255, of the input, of the frames restored one by one, and of the restored video. The cut joins two
pans: the first frame behind it must be that of a restoration that starts there. The object is a dark square that crosses
a still photograph: the change behind it is that of the background which it has just left, against frames without it.
"""

import argparse
import functools
import itertools
import pathlib
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hazeheal.inference.video.smoothing import restore_smoothly  # noqa: E402

RATE, FRAMES = 25, 60
SIZES = ((360, 640), (720, 1280))


def view(image, *, share, across, size):
    """A part of an image, `share` of it per side, at `across` in [0, 1] from left to right, as `[H, W, 3]` uint8."""
    height, width = size
    tall = min(image.height, image.width * height / width) * share
    wide = tall * width / height
    left, top = (image.width - wide) * across, (image.height - tall) / 2
    return np.asarray(image.resize((width, height), Image.BICUBIC, box=(left, top, left + wide, top + tall)))


def pan(image, *, size, frames=FRAMES):
    """A slow pan to the right."""
    for i in range(frames):
        yield view(image, share=0.8, across=0.1 + 0.8 * i / frames, size=size)


def zoom(image, *, size, frames=FRAMES):
    """A slow zoom in."""
    for i in range(frames):
        yield view(image, share=0.95 - 0.25 * i / frames, across=0.5, size=size)


def fade(image, *, size, frames=FRAMES):
    """Haze that grows towards the top and fades."""
    clear = view(image, share=1, across=0.5, size=size).astype(np.float32)
    depth = np.linspace(1, 0.3, size[0], dtype=np.float32)[:, np.newaxis, np.newaxis]
    for i in range(frames):
        share = np.exp(-depth * (1.6 - 1.3 * i / frames))
        yield np.rint(clear * share + 225 * (1 - share)).astype(np.uint8)


def crossing(image, *, size, frames=FRAMES):
    """Yields (frame with a dark square that crosses it, columns that it has just left)."""
    still, side = view(image, share=1, across=0.5, size=size), size[0] // 3
    for i in range(frames):
        left = round((size[1] - side) * i / frames)
        frame = still.copy()
        frame[side : 2 * side, left : left + side] = (70, 66, 62)
        yield frame, slice(max(0, left - side // 2), max(0, left - side // 8))


def smooth(restorer, clip):
    """Restores a clip as a video."""
    return restore_smoothly(((i / RATE, frame) for i, frame in enumerate(clip)), restorer)


def movement(clip):
    """The mean and the largest change of the mean brightness from frame to frame."""
    changes = np.abs(np.diff([frame.mean(dtype=np.float64) for frame in clip]))
    return changes.mean(), changes.max()


def measure_clip(name, make, restorer):
    """Prints a row: the movement of the input, of single frames and of the video."""
    before = movement(make())
    alone = movement(restorer.restore_all(make()))
    video = movement(smooth(restorer, make()))
    cells = [f"{mean:.3f}, {largest:.3f}" for mean, largest in (before, alone, video)]
    ratios = [f"{one[0] / before[0]:.2f}" for one in (alone, video)]
    print(f"| {name} | {' | '.join(cells)} | {' | '.join(ratios)} |", flush=True)


def measure_cut(first, second, restorer, *, size):
    """Prints how far the first frame behind a cut is from that of a restoration that starts there."""
    before, after = list(pan(first, size=size, frames=20)), list(pan(second, size=size, frames=3))
    restored = list(smooth(restorer, before + after))
    fresh = list(smooth(restorer, after))
    apart = [int(np.abs(a.astype(int) - b).max()) for a, b in zip(restored[20:], fresh, strict=True)]
    print(f"cut: largest difference from a fresh start in the frames behind it: {apart}", flush=True)


def measure_object(image, restorer, *, size):
    """Prints how much the background changes which an object has just left."""
    rows = slice(size[0] // 3, 2 * size[0] // 3)
    still = view(image, share=1, across=0.5, size=size)
    clip, left = zip(*crossing(image, size=size), strict=True)
    alone = next(restorer.restore_all([still])).astype(np.float32)
    for name, restored in (("single frames", restorer.restore_all(clip)), ("video", smooth(restorer, clip))):
        changes = [
            (frame[rows, columns].astype(np.float32) - alone[rows, columns]).mean()
            for frame, columns in itertools.islice(zip(restored, left, strict=True), 15, None)
        ]
        print(f"object, {name}: background behind it {np.mean(changes):+.1f}, at most {np.abs(changes).max():.1f}")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", default="best", help="as for `hazeheal dehaze`")
    parse.add_argument("--hazy", nargs="+", required=True, help="hazy photographs, at least two")
    parse.add_argument("--clear", required=True, help="a photograph without haze")
    flags = parse.parse_args(argv)
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.restorer import Restorer

    restorer = Restorer(open_model(flags.model))
    hazy = [Image.open(path).convert("RGB") for path in flags.hazy]
    clear = Image.open(flags.clear).convert("RGB")
    print("| clip | input: mean, largest | single frames | video | single / input | video / input |")
    print("|---|---|---|---|---|---|")
    for path, image in zip(flags.hazy, hazy, strict=True):
        for size in SIZES:
            measure_clip(
                f"pan, {pathlib.Path(path).stem}, {size[1]}x{size[0]}",
                functools.partial(pan, image, size=size),
                restorer,
            )
        measure_clip(f"zoom, {pathlib.Path(path).stem}", functools.partial(zoom, image, size=SIZES[0]), restorer)
    measure_clip("fading haze", functools.partial(fade, clear, size=SIZES[0]), restorer)
    measure_cut(*hazy[:2], restorer, size=SIZES[0])
    measure_object(hazy[0], restorer, size=SIZES[0])


if __name__ == "__main__":
    main()
