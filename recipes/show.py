"""Draws sheets of what a network does: rows of test pairs, the worst of them, and other photographs.

    python recipes/show.py --model=best --pairs OUT/split/outdoor_test OUT/split/rice1_test \\
        --images photographs --output=sheets

The output directory contains

    triptychs.jpg   ten pairs, hazy | restored | clear, evenly spaced by rank of the restored PSNR, so that none is hand-picked
    worst.jpg       the five pairs with the lowest restored PSNR
    chosen.jpg      the pairs of --keys
    others.jpg      hazy | restored of the photographs in a folder, which have no clear counterpart

Prints the PSNR of every pair, lowest first. Each folder of --pairs contains hazy/ and GT/, as `split.py` writes them.
"""

import argparse
import pathlib
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hazeheal.data.images import image_ops  # noqa: E402
from hazeheal.evaluation import pairs  # noqa: E402
from hazeheal.inference.load_model import open_model  # noqa: E402
from hazeheal.training.reports.sample_sheets import draw_sheet, sample_sheet  # noqa: E402

ROWS, WORST_ROWS = 10, 5


def restore_pairs(gan, folders, pairing):
    """[(PSNR, name, hazy, restored, clear)], lowest PSNR first."""
    rows = []
    for folder in folders:
        source = pairs.from_folders(folder / "hazy", folder / "GT", pairing=pairing, limit=None)
        for pair in source.pairs:
            hazy, clear = pair.load()
            restored = gan.restore(hazy)
            rows.append((image_ops.psnr(restored, clear), pair.key, hazy, restored, clear))
    return sorted(rows, key=lambda row: row[:2])


def pair_sheet(rows, *, max_side):
    return sample_sheet([row[2:] for row in rows], labels=[row[1] for row in rows], max_side=max_side)


def save(sheet, path):
    Image.fromarray(sheet).save(path, quality=88)
    print(f"wrote {path}")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", default="best", help="as for hazeheal dehaze")
    parse.add_argument("--pairs", nargs="+", type=pathlib.Path, default=[], metavar="FOLDER")
    parse.add_argument("--keys", nargs="+", default=[], help="pairs for a separate sheet")
    parse.add_argument("--pairing", default=r"^(\d+)", help="as for hazeheal-tfrecords convert")
    parse.add_argument("--images", type=pathlib.Path, metavar="FOLDER", help="photographs without ground truth")
    parse.add_argument("--output", required=True, type=pathlib.Path)
    parse.add_argument("--max_side", type=int, default=320, help="longer side of an image on a sheet")
    flags = parse.parse_args(argv)
    gan = open_model(flags.model)
    flags.output.mkdir(parents=True, exist_ok=True)
    rows = []
    if flags.pairs:
        rows = restore_pairs(gan, flags.pairs, flags.pairing)
        for psnr, name, *_ in rows:
            print(f"{psnr:6.2f} dB  {name}")
        indices = np.unique(np.linspace(0, len(rows) - 1, ROWS).round().astype(int))
        spaced = [rows[i] for i in reversed(indices)]
        save(pair_sheet(spaced, max_side=flags.max_side), flags.output / "triptychs.jpg")
        save(pair_sheet(rows[:WORST_ROWS], max_side=flags.max_side), flags.output / "worst.jpg")
    if flags.keys:
        by_key = {row[1]: row for row in rows}
        chosen = [by_key[key] for key in flags.keys]
        save(pair_sheet(chosen, max_side=flags.max_side), flags.output / "chosen.jpg")
    if flags.images:
        files = sorted(p for p in flags.images.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
        sheet = draw_sheet([[image, gan.restore(image)] for image in images], max_side=flags.max_side)
        save(sheet, flags.output / "others.jpg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
