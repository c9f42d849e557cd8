"""Splits the recipe's pairs by scene into training, validation and test parts.

    python recipes/split.py --data=DATA --output_dir=OUT

DATA contains rice1/{hazy,GT}, sots_outdoor_288/{hazy,GT} and sots_outdoor_full/{hazy,GT}. The output consists of folders
of symbolic links (rotated images are files):

    OUT/{rice1,outdoor,mixed}/{hazy,GT}/      training and validation pairs, for `hazeheal-tfrecords convert`
    OUT/{rice1,outdoor,mixed}/val_scenes.txt  for its --val_keys
    OUT/{rice1,outdoor}_test/{hazy,GT}/       test pairs, a tenth of the scenes; no choice is based on them

A scene is one clear image. All its hazy images go to the same part. The two outdoor sets share no scene and count as one
set. Outdoor has seven times as many pairs as RICE1. Therefore `mixed` contains each training pair of RICE1 four times,
rotated by 0, 90, 180 and 270 degrees (007_hazy.png, 90007_hazy.png, ...): a satellite image has no upright orientation.
"""

import argparse
import collections
import hashlib
import pathlib
import re
import sys

from PIL import Image

SETS = {"rice1": ("rice1",), "outdoor": ("sots_outdoor_288", "sots_outdoor_full")}
PARTS = {"test": 0.1, "val": 0.1}  # shares of the scenes; the rest is for training
ROTATIONS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
PAIRING = r"^(\d+)"  # the scene's number in both sets: 007_hazy and 007_GT, 0040_1_0.08 and 0040


def find_scenes(folders) -> dict:
    """{scene: ([hazy files], clear file)}, keyed by the number that file names begin with."""
    scenes = collections.defaultdict(lambda: ([], []))
    for folder in folders:
        for subfolder, side in (("hazy", 0), ("GT", 1)):
            for path in sorted((folder / subfolder).iterdir()):
                scenes[re.match(PAIRING, path.stem)[1]][side].append(path.resolve())
    incomplete = [scene for scene, (hazy, clear) in scenes.items() if not hazy or len(clear) != 1]
    if incomplete:
        raise SystemExit(
            f"{folders}: these scenes do not have exactly one clear image and at least one hazy image: "
            f"{', '.join(incomplete)}"
        )
    return {scene: (hazy, clear) for scene, (hazy, (clear,)) in scenes.items()}


def assign_parts(names, *, seed) -> dict:
    """{scene: "train", "val" or "test"}, in the order of a hash of the seed and the scene's name."""
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    parts, start = dict.fromkeys(names, "train"), 0
    for part, share in PARTS.items():
        count = round(share * len(order))
        parts |= dict.fromkeys(order[start : start + count], part)
        start += count
    return parts


def write_rotations(source, folder):
    """Writes an image in each of ROTATIONS; the file's name starts with the angle in degrees."""
    for degrees, transposition in ROTATIONS.items():
        with Image.open(source) as image:
            image.convert("RGB").transpose(transposition).save(folder / f"{degrees}{source.stem}.png")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data", required=True, type=pathlib.Path)
    parse.add_argument("--output_dir", required=True, type=pathlib.Path, help="must not exist yet")
    parse.add_argument("--seed", type=int, default=0)
    flags = parse.parse_args(argv)
    if flags.output_dir.exists():
        raise SystemExit(f"--output_dir={flags.output_dir} exists already; name another directory or remove it")
    val_scenes = collections.defaultdict(list)
    for name, folders in SETS.items():
        scenes = find_scenes([flags.data / folder for folder in folders])
        parts = assign_parts(scenes, seed=flags.seed)
        for scene, (hazy, clear) in scenes.items():
            if parts[scene] == "val":
                val_scenes[name].append(clear.name)
                val_scenes["mixed"].append(clear.name)
            for target in (f"{name}_test",) if parts[scene] == "test" else (name, "mixed"):
                rotate = (target, name, parts[scene]) == ("mixed", "rice1", "train")
                for subfolder, images in (("GT", [clear]), ("hazy", hazy)):
                    folder = flags.output_dir / target / subfolder
                    folder.mkdir(parents=True, exist_ok=True)
                    for path in images:
                        (folder / path.name).symlink_to(path)
                        if rotate:
                            write_rotations(path, folder)
        counts = collections.Counter(parts.values())
        print(f"{name}: " + ", ".join(f"{counts[part]} scenes {part}" for part in ("train", *PARTS)))
    for name, listed in val_scenes.items():
        (flags.output_dir / name / "val_scenes.txt").write_text("".join(f"{scene}\n" for scene in listed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
