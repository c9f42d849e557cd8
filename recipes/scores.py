"""Scores networks on the validation or test pairs of `split.py` and on what photographs, scans and cameras add.

    python recipes/scores.py --split=OUT --part=test --model fast best --output=scores.json

Prints a Markdown table of PSNR in dB, the mean over the pairs of each set, for the input, the dark channel prior and every
model. The rows below the sets:

    bars, collar, timestamp   PSNR inside of a border, minus that of the same pixels without one (outdoor, 20 pairs)
    SET, half/warm/cold light PSNR where the scene has another light, relative to that light (20 pairs)
    mosaic of RICE1           PSNR of 16 pairs in one image, minus that of the pairs one by one
    clear, mean and least     clear images through the network
    one color                 largest change of a 2000x1500 image of one color, in levels of 255
    VGG19 x 1000, SET         with --perceptual_weights: the distance of recipes/perceptual_distance.py, times 1000
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

from perceptual_distance import PerceptualDistance  # noqa: E402

from hazeheal.data.images.image_ops import psnr  # noqa: E402
from hazeheal.evaluation import dark_channel  # noqa: E402
from hazeheal.inference.load_model import open_model  # noqa: E402

REAL = ("outdoor", "rice1", "its", "i_haze", "dense", "frida")
SETS = (*REAL, "outdoor_haze", "aerial_haze", "indoor_haze", "fog")
BORDERED = 20  # pairs that get borders or another light
BAR, COLLAR = 0.12, 0.13  # of the height on each side; of the area
CLEAR_LIMIT = 100.0  # dB of an unchanged image
# Factors on the colors of both images of a pair, and the sets that get them.
LIGHTS = {"half": (0.5, 0.5, 0.5), "warm": (1.0, 0.92, 0.8), "cold": (0.8, 0.9, 1.0)}
LIT_SETS = ("outdoor", "aerial_haze")
PERCEPTUAL_SETS = ("outdoor", "rice1", "i_haze")
COLORS = (0, 40, 90, 128, 180, 220, 255, (200, 190, 170), (90, 110, 160), (60, 120, 60), (240, 240, 250))


def find_pairs(split, part, name, *, limit):
    """[(hazy file, clear file)] of a set's validation or test part, evenly spaced if there are more than `limit`."""
    if part == "test":
        files = sorted((split / "test" / name / "hazy").glob("*"))
        folder = split / "test" / name / "GT"
    else:
        keys = (split / "train/val_keys.txt").read_text().split()
        files = [split / "train/hazy" / key for key in keys if key.startswith(f"{name}/")]
        folder = split / "train/GT" / name
    pairs = [(file, next(folder.glob(f"{file.stem}.*"))) for file in files]
    return spaced(pairs, limit)


def spaced(items, count):
    """At most `count` evenly spaced items, with the first and the last."""
    if len(items) <= count:
        return items
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))]


def load_pairs(split, *, part, limit):
    """{set: [(hazy, clear)]} of all SETS, as images. The test part has no rooms with synthetic haze and no fog."""
    files = {name: find_pairs(split, part, name, limit=limit) for name in SETS}
    return {name: [(load(hazy), load(clear)) for hazy, clear in group] for name, group in files.items()}


def load(path):
    return np.asarray(Image.open(path).convert("RGB"))


def set_scores(restore, pairs):
    """{set: mean PSNR in dB} of one method."""
    return {name: float(np.mean([psnr(restore(h), c) for h, c in group])) for name, group in pairs.items() if group}


def score(restore, pairs):
    """{row: value} of one method; `pairs` is {set: [(hazy, clear)]} of images."""
    rows = set_scores(restore, pairs)
    outdoor = pairs["outdoor"][:BORDERED]
    plain = [restore(hazy) for hazy, _ in outdoor]
    for name, border in (("bars", bars), ("collar", collar), ("timestamp", timestamp)):
        differences = []
        for (hazy, clear), untouched in zip(outdoor, plain, strict=True):
            bordered, inside = border(hazy)
            restored = restore(bordered)
            differences.append(psnr(restored[inside], clear[inside]) - psnr(untouched[inside], clear[inside]))
        rows[name] = float(np.mean(differences))
    for name in LIT_SETS:
        for light, factors in LIGHTS.items():
            found = [relit_psnr(restore, hazy, clear, factors=factors) for hazy, clear in pairs[name][:BORDERED]]
            rows[f"{name}, {light} light"] = float(np.mean(found))
    hazy, clear = mosaic(pairs["rice1"])
    single, whole = mosaic([(restore(h), c) for h, c in pairs["rice1"]])[0], restore(hazy)
    rows["mosaic of RICE1"] = psnr(whole, clear) - psnr(single, clear)
    unchanged = [min(psnr(restore(c), c), CLEAR_LIMIT) for name in REAL for _, c in pairs[name]]
    rows["clear, mean"], rows["clear, least"] = float(np.mean(unchanged)), float(np.min(unchanged))
    rows["one color"] = max(largest_change(restore, color) for color in COLORS)
    return rows


def perceptual_rows(restore, pairs, distance):
    """{row: distance times 1000} of one method."""
    return {
        f"VGG19 x 1000, {name}": 1000 * float(np.mean([distance(restore(h), c) for h, c in pairs[name]]))
        for name in PERCEPTUAL_SETS
    }


def relit_psnr(restore, hazy, clear, *, factors):
    """PSNR of a pair in another light; the errors are divided by the light, as if it were compensated afterwards."""
    hazy, clear = (np.rint(image * np.array(factors)).astype(np.uint8) for image in (hazy, clear))
    error = (restore(hazy).astype(np.float64) - clear) / factors
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def bars(image):
    height = image.shape[0]
    inside = np.zeros(image.shape[:2], bool)
    inside[round(BAR * height) : height - round(BAR * height)] = True
    return np.where(inside[..., None], image, 0).astype(np.uint8), inside


def collar(image):
    """Black triangles in all four corners, as a rotated scene has."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    side = np.sqrt(COLLAR / 2)  # of four triangles of height and width `side`
    inside = np.minimum(x, 1 - x) + np.minimum(y, 1 - y) > side
    return np.where(inside[..., None], image, 0).astype(np.uint8), inside


def timestamp(image):
    picture = Image.fromarray(image)
    size = max(8, image.shape[0] // 16)
    box = ImageDraw.Draw(picture)
    place = (image.shape[1] // 40, image.shape[0] - 2 * size)
    box.text(place, "2024-05-17 14:23:08", fill=(255, 220, 0), font_size=size)
    changed = (np.asarray(picture) != image).any(-1)
    inside = np.ones(image.shape[:2], bool)
    rows = np.flatnonzero(changed.any(1))
    inside[rows.min() - 2 : rows.max() + 3] = False
    return np.asarray(picture), inside


def mosaic(pairs):
    """16 pairs of 256x256 pixels in one, turned where there are fewer."""
    tiles = [[np.rot90(image, index // len(pairs)) for image in pairs[index % len(pairs)]] for index in range(16)]
    rows = [tiles[start : start + 4] for start in range(0, 16, 4)]
    return tuple(np.concatenate([np.concatenate([t[i] for t in row], 1) for row in rows]) for i in range(2))


def largest_change(restore, color):
    image = np.full((1500, 2000, 3), color, np.uint8)
    return int(np.abs(restore(image).astype(int) - image).max())


def table(scores):
    methods = list(scores)
    lines = [f"| | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for row in scores[methods[-1]]:
        cells = [f"{scores[method][row]:.2f}" if row in scores[method] else "" for method in methods]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--split", required=True, type=pathlib.Path, help="the output of split.py")
    parse.add_argument("--part", choices=("val", "test"), default="val")
    parse.add_argument("--model", nargs="+", default=[], help="as for hazeheal dehaze")
    parse.add_argument("--limit", type=int, default=10**9, help="largest number of pairs of a set")
    parse.add_argument("--baselines", action="store_true", help="score the input and the dark channel prior too")
    parse.add_argument("--perceptual_weights", help="VGG19 weights, as for training: score the perceptual distance too")
    parse.add_argument("--output", type=pathlib.Path, help="JSON file to write")
    flags = parse.parse_args(argv)
    pairs = load_pairs(flags.split, part=flags.part, limit=flags.limit)
    print(", ".join(f"{name} {len(group)}" for name, group in pairs.items()), file=sys.stderr)
    methods = {"input": lambda image: image, "dark channel prior": dark_channel.restore} if flags.baselines else {}
    scores = {name: set_scores(method, pairs) for name, method in methods.items()}
    for model in flags.model:
        methods[model] = open_model(model).restore
        scores[model] = score(methods[model], pairs)
    if flags.perceptual_weights:
        distance = PerceptualDistance(flags.perceptual_weights)
        for name, method in methods.items():
            scores[name] |= perceptual_rows(method, pairs, distance)
    print(table(scores))
    if flags.output:
        flags.output.write_text(json.dumps(scores, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
