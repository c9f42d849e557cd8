"""Draws sheets of what a network does: test pairs, those that it improves least, and photographs.

    python recipes/show.py --model=best --split=OUT --images=photographs --output=sheets

OUT is the output of `recipes/split.py`. The sheets, from rows that nobody chose:

    triptychs.jpg   ten test pairs, hazy | restored | clear, evenly spaced in the order of their gain in PSNR
    worst.jpg       the five test pairs with the smallest gain
    photographs.jpg hazy | restored of twelve photographs without a clear counterpart, evenly spaced by name

Prints the PSNR of every pair before and after, in the order of the gain.
"""

import argparse
import pathlib
import sys

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

from scores import SETS, find_pairs, load, spaced  # noqa: E402

from hazeheal.data.images.image_ops import psnr  # noqa: E402
from hazeheal.inference.load_model import open_model  # noqa: E402
from hazeheal.training.reports.sample_sheets import draw_sheet, sample_sheet  # noqa: E402

ROWS, WORST_ROWS, PHOTOGRAPHS = 10, 5, 12


def restore_pairs(gan, files):
    """[(gain in dB, name, PSNR before, PSNR after, images)], smallest gain first."""
    rows = []
    for name, hazy, clear in files:
        hazy, clear = load(hazy), load(clear)
        restored = gan.restore(hazy)
        before, after = psnr(hazy, clear), psnr(restored, clear)
        rows.append((after - before, name, before, after, (hazy, restored, clear)))
    return sorted(rows, key=lambda row: row[:2])


def pair_sheet(rows, *, max_side):
    return sample_sheet([row[-1] for row in rows], labels=[row[1] for row in rows], max_side=max_side)


def save(sheet, path):
    Image.fromarray(sheet).save(path, quality=88)
    print(f"wrote {path}")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", default="best", help="as for hazeheal dehaze")
    parse.add_argument("--split", type=pathlib.Path, help="the output of split.py")
    parse.add_argument("--part", choices=("val", "test"), default="test")
    parse.add_argument("--sets", nargs="+", choices=SETS, default=SETS, metavar="SET")
    parse.add_argument("--images", type=pathlib.Path, metavar="FOLDER", help="photographs without ground truth")
    parse.add_argument("--output", required=True, type=pathlib.Path)
    parse.add_argument("--max_side", type=int, default=320, help="longer side of an image on a sheet")
    flags = parse.parse_args(argv)
    gan = open_model(flags.model)
    flags.output.mkdir(parents=True, exist_ok=True)
    if flags.split:
        files = [
            (f"{name}/{hazy.stem}", hazy, clear)
            for name in flags.sets
            for hazy, clear in find_pairs(flags.split, flags.part, name, limit=10**9)
        ]
        rows = restore_pairs(gan, files)
        for gain, name, before, after, _ in rows:
            print(f"{before:6.2f} -> {after:6.2f} dB ({gain:+.2f})  {name}")
        save(pair_sheet(spaced(rows, ROWS)[::-1], max_side=flags.max_side), flags.output / "triptychs.jpg")
        save(pair_sheet(rows[:WORST_ROWS], max_side=flags.max_side), flags.output / "worst.jpg")
    if flags.images:
        files = sorted(p for p in flags.images.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        images = [load(file) for file in spaced(files, PHOTOGRAPHS)]
        sheet = draw_sheet([[image, gan.restore(image)] for image in images], max_side=flags.max_side)
        save(sheet, flags.output / "photographs.jpg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
