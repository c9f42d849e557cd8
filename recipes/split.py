"""The pairs of the recipe, split by scene: most to train on, a tenth to choose by, a tenth that no choice is made on.

    python recipes/split.py --data=DATA --output_dir=OUT

DATA holds rice1/{hazy,GT}, sots_outdoor_288/{hazy,GT} and sots_outdoor_full/{hazy,GT}. OUT gets folders of links
(turned images are files),

    OUT/{rice1,outdoor,mixed}/{hazy,GT}/      training and validation pairs, for `hazeheal-tfrecords convert`
    OUT/{rice1,outdoor,mixed}/val_scenes.txt  for its --val_keys
    OUT/{rice1,outdoor}_test/{hazy,GT}/       the tenth for the end

A scene is one clear image; all hazy images of it go the same way. The two outdoor sets are one here: they share
no scene. Outdoor has seven times as many pairs as RICE1: in `mixed` each training pair of RICE1 is there four times, turned
by 0, 90, 180 and 270 degrees (007_hazy.png, 90007_hazy.png, ...): a satellite's image has no upper side.
"""

import argparse
import collections
import hashlib
import pathlib
import re
import sys

from PIL import Image

SETS = {"rice1": ("rice1",), "outdoor": ("sots_outdoor_288", "sots_outdoor_full")}
PARTS = {"test": 0.1, "val": 0.1}  # the rest is to train on
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
PAIRING = r"^(\d+)"  # of both sets: 007_hazy and 007_GT, 0040_1_0.08 and 0040


def scenes_of(folders) -> dict:
    """{scene: ([hazy files], clear file)}, by the number that names begin with."""
    scenes = collections.defaultdict(lambda: ([], []))
    for folder in folders:
        for place, side in (("hazy", 0), ("GT", 1)):
            for path in sorted((folder / place).iterdir()):
                scenes[re.match(PAIRING, path.stem)[1]][side].append(path.resolve())
    wrong = [scene for scene, (hazy, clear) in scenes.items() if not hazy or len(clear) != 1]
    if wrong:
        raise SystemExit(f"{folders}: not one clear image and some hazy ones: {', '.join(wrong)}")
    return {scene: (hazy, clear) for scene, (hazy, (clear,)) in scenes.items()}


def part_of(names, *, seed) -> dict:
    """{scene: train, val or test}, the same for a scene whatever else is there but for the counts."""
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    parts, start = dict.fromkeys(names, "train"), 0
    for part, share in PARTS.items():
        count = round(share * len(order))
        parts |= dict.fromkeys(order[start : start + count], part)
        start += count
    return parts


def turn(source, folder):
    """Writes an image in all of TURNS, in front of whose names stand the degrees."""
    for degrees, transposition in TURNS.items():
        with Image.open(source) as image:
            image.convert("RGB").transpose(transposition).save(folder / f"{degrees}{source.stem}.png")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data", required=True, type=pathlib.Path)
    parse.add_argument("--output_dir", required=True, type=pathlib.Path, help="must not be there yet")
    parse.add_argument("--seed", type=int, default=0)
    flags = parse.parse_args(argv)
    if flags.output_dir.exists():
        raise SystemExit(f"--output_dir={flags.output_dir} is there already; name another, or remove it")
    val = collections.defaultdict(list)
    for name, folders in SETS.items():
        scenes = scenes_of([flags.data / folder for folder in folders])
        parts = part_of(scenes, seed=flags.seed)
        for scene, (hazy, clear) in scenes.items():
            if parts[scene] == "val":
                val[name].append(clear.name)
                val["mixed"].append(clear.name)
            for target in (f"{name}_test",) if parts[scene] == "test" else (name, "mixed"):
                turned = (target, name, parts[scene]) == ("mixed", "rice1", "train")
                for place, images in (("GT", [clear]), ("hazy", hazy)):
                    folder = flags.output_dir / target / place
                    folder.mkdir(parents=True, exist_ok=True)
                    for path in images:
                        (folder / path.name).symlink_to(path)
                        if turned:
                            turn(path, folder)
        counts = collections.Counter(parts.values())
        print(f"{name}: " + ", ".join(f"{counts[part]} scenes {part}" for part in ("train", *PARTS)))
    for name, listed in val.items():
        (flags.output_dir / name / "val_scenes.txt").write_text("".join(f"{scene}\n" for scene in listed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
