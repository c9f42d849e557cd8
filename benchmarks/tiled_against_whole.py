"""Compares an image restored in tiles with the same image restored whole.

    python benchmarks/tiled_against_whole.py --model runs/local runs/default --images hazy.jpg

Prints, for each run, image and tile size: the number of tiles, the share of pixels that are equal and that differ by
at most 1 of 255, and the largest and the mean difference in levels of 255. Images are resized to --width x --height;
one synthetic image is added. Restoring the whole image takes the memory of a tile of its size: about 100 bytes for
each pixel and each channel of `config.model.width`.
"""

import argparse
import os
import pathlib
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from benchmarks.images import synthetic_image  # noqa: E402
from hazeheal.data.synthesis.scattering import add_haze  # noqa: E402


def synthetic(*, height, width):
    """uint8 [H, W, 3]: an image with a photograph's spectrum, under haze that gets thicker towards the top."""
    depth = np.broadcast_to(np.linspace(1, 0, height, dtype=np.float32)[:, None], (height, width))
    hazy = add_haze(synthetic_image(0, height=height, width=width), depth=depth, beta=1.0)
    return np.rint(hazy * 255).astype(np.uint8)


def resized(path, *, height, width):
    """uint8 [H, W, 3]: the image in a file, resized."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.LANCZOS))


def difference(tiled, whole) -> dict:
    """Compares two uint8 images."""
    differences = np.abs(tiled.astype(np.int16) - whole)
    pixels = differences.max(axis=-1)
    return {
        "equal": float((pixels == 0).mean()),
        "within_1": float((pixels <= 1).mean()),
        "largest": int(differences.max()),
        "mean": float(differences.mean()),
    }


def compare(model, images, tile_sizes):
    """Yields a row of figures for each image and tile size."""
    from hazeheal.inference.gan import DehazeGAN
    from hazeheal.inference.restorer import Restorer

    gan = DehazeGAN.from_run(model)
    fields = {name: gan.config.model[name] for name in ("width", "depth", "norm", "se_ratio")}
    for name, image in images.items():
        height, width = image.shape[:2]
        # The network pads the sides, so the tile is a little larger than the image.
        whole = Restorer(gan, tile_size=max(height, width) + 64)
        assert len(whole.plan(height, width).tiles) == 1
        expected = whole.restore(image)
        changed = float(np.abs(expected.astype(np.int16) - image).mean())
        for tile_size in tile_sizes:
            restorer = Restorer(gan, tile_size=tile_size)
            row = {"model": str(model), **fields, "image": name, "changed": changed}
            row |= {"tile_size": tile_size, "tiles": len(restorer.plan(height, width).tiles)}
            for averages in ("of the image", "of each tile") if restorer.uses_averages else ("none",):
                restorer.uses_averages = averages == "of the image"
                yield row | {"averages": averages} | difference(restorer.restore(image), expected)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", nargs="+", required=True, help="runs, as for `hazeheal dehaze`")
    parse.add_argument("--images", type=pathlib.Path, nargs="*", default=[], help="image files to resize")
    parse.add_argument("--height", type=int, default=3000)
    parse.add_argument("--width", type=int, default=4000)
    parse.add_argument("--tile_sizes", type=int, nargs="+", default=[512, 1024])
    parse.add_argument("--json", metavar="FILE", help="write all figures to this file too")
    flags = parse.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    size = {"height": flags.height, "width": flags.width}
    images = {path.name: resized(path, **size) for path in flags.images} | {"synthetic": synthetic(**size)}
    rows = []
    print("| width, depth, norm, se_ratio | image | tiles | averages | equal | within 1 | largest | mean |")
    print("|---|---|---|---|---|---|---|---|")
    for model in flags.model:
        for row in compare(model, images, flags.tile_sizes):
            rows.append(row)
            network = f"{row['width']}, {row['depth']}, {row['norm']}, {row['se_ratio']}"
            tiles = f"{row['tiles']} at {row['tile_size']}"
            shares = f"{row['equal']:.3%} | {row['within_1']:.4%} | {row['largest']} | {row['mean']:.4f}"
            print(f"| {network} | {row['image']} | {tiles} | {row['averages']} | {shares} |", flush=True)
    rounds.write(
        flags.json,
        {"machine": rounds.machine(), "settings": vars(flags) | {"images": list(images)}, "rows": rows},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
