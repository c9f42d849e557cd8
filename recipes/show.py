"""What a network does, to be looked at: triptychs of test pairs, the worst of them, and other photographs.

    python recipes/show.py --model=best --pairs OUT/split/outdoor_test OUT/split/rice1_test \\
        --images photographs --output=shown

Writes into the output directory
    triptychs.jpg   ten pairs, hazy | restored | clear: evenly spaced in the order of the restored PSNR, so that none is chosen
    worst.jpg       the five of lowest restored PSNR
    chosen.jpg      the pairs named by --keys
    others.jpg      hazy | restored of the photographs in a folder, which have no clear counterpart
and prints the PSNR of every pair, lowest first. Each folder of --pairs has hazy/ and GT/, as `split.py` makes them.
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
from hazeheal.training.reports.sample_sheets import sample_sheet, side_by_side  # noqa: E402

SHOWN, WORST = 10, 5


def restored_pairs(gan, folders, pairing):
    """[(PSNR, name, hazy, restored, clear)], lowest PSNR first."""
    found = []
    for folder in folders:
        source = pairs.from_folders(folder / "hazy", folder / "GT", pairing=pairing, limit=None)
        for pair in source.pairs:
            hazy, clear = pair.load()
            restored = gan.restore(hazy)
            found.append((image_ops.psnr(restored, clear), pair.key, hazy, restored, clear))
    return sorted(found, key=lambda row: row[:2])


def write(rows, path, *, max_side):
    sheet = sample_sheet(
        *([row[column] for row in rows] for column in (2, 3, 4)),
        labels=[row[1] for row in rows],
        max_side=max_side,
        max_rows=len(rows),
    )
    Image.fromarray(sheet).save(path, quality=88)
    print(f"{path}: {len(rows)} pairs")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", default="best", help="as of hazeheal dehaze")
    parse.add_argument("--pairs", nargs="+", type=pathlib.Path, default=[], metavar="FOLDER")
    parse.add_argument("--keys", nargs="+", default=[], help="pairs to show on a sheet of their own")
    parse.add_argument("--pairing", default=r"^(\d+)", help="as of hazeheal-tfrecords convert")
    parse.add_argument("--images", type=pathlib.Path, metavar="FOLDER", help="photographs of other kinds")
    parse.add_argument("--output", required=True, type=pathlib.Path)
    parse.add_argument("--max_side", type=int, default=320, help="of an image on a sheet")
    flags = parse.parse_args(argv)
    gan = open_model(flags.model)
    flags.output.mkdir(parents=True, exist_ok=True)
    rows = []
    if flags.pairs:
        rows = restored_pairs(gan, flags.pairs, flags.pairing)
        for psnr, name, *_ in rows:
            print(f"{psnr:6.2f} dB  {name}")
        even = np.unique(np.linspace(0, len(rows) - 1, SHOWN).round().astype(int))
        write([rows[i] for i in reversed(even)], flags.output / "triptychs.jpg", max_side=flags.max_side)
        write(rows[:WORST], flags.output / "worst.jpg", max_side=flags.max_side)
    if flags.keys:
        named = {row[1]: row for row in rows}
        write([named[key] for key in flags.keys], flags.output / "chosen.jpg", max_side=flags.max_side)
    if flags.images:
        files = sorted(p for p in flags.images.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        shown = []
        for file in files:
            hazy = np.asarray(Image.open(file).convert("RGB"))
            shown.append(side_by_side([hazy, gan.restore(hazy)], max_side=flags.max_side))
        width = max(row.shape[1] for row in shown)
        shown = [
            np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in shown
        ]
        Image.fromarray(np.concatenate(shown)).save(flags.output / "others.jpg", quality=88)
        print(f"{flags.output / 'others.jpg'}: {len(files)} photographs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
