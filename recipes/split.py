"""Splits all sets by scene into training, validation and test parts.

    python recipes/split.py --data=DATA --output_dir=OUT

A scene is one clear image, or all images that SCENES counts as one. The scenes of each set are ordered by the SHA-256 of
"SEED/SCENE"; the first tenth is for tests, the second for validation, the rest for training. Test images decide nothing.

The output consists of folders of symbolic links:

    OUT/train/{hazy,GT}/SET/      pairs for training and validation, with equal names in both folders
    OUT/train/val_keys.txt        those for validation, for `hazeheal-tfrecords convert --val_keys`
    OUT/test/SET/{hazy,GT}/       pairs for tests
    OUT/clear/PART/SET/           clear images to apply haze to, PART is train, val or test (`synthesize.py`)
"""

import argparse
import collections
import hashlib
import pathlib
import re
import sys

# {set: (folders with hazy/ and GT/, regular expression of the scene in the file names)}
PAIRS = {
    "rice1": (("rice1",), r"^(\d+)"),
    "outdoor": (("sots_outdoor_288", "sots_outdoor_full"), r"^(\d+)"),
    "dense": (("dense_haze_600",), r"^(\d+)"),
    "i_haze": (("i_haze_284",), r"^(\d+)"),
    "its": (("its_288",), r"^(\d+)"),
    "frida": (("frida_288",), r"^frida(\d+)"),
}
CLEAR = {"aerial": "clear/rsscn7_288", "sun": "clear/sun_outdoor_288", "other": "clear/other_384"}
INDOOR = ("its", "i_haze")  # sets whose clear images also get synthetic haze
SHARES = {"test": 0.1, "val": 0.1}  # of the scenes; the rest is for training


def find_pairs(folders, scene) -> dict:
    """{scene: [(hazy file, clear file)]}; the clear file of a scene, or else that of equal name, belongs to a hazy one."""
    scenes = collections.defaultdict(list)
    for folder in folders:
        clear = {path.stem: path for path in sorted((folder / "GT").iterdir())}
        by_scene = collections.defaultdict(list)
        for path in clear.values():
            by_scene[re.search(scene, path.stem)[1]].append(path)
        for hazy in sorted((folder / "hazy").iterdir()):
            name = re.search(scene, hazy.stem)[1]
            partners = by_scene[name] if len(by_scene[name]) == 1 else [clear[hazy.stem]]
            scenes[name].append((hazy, *partners))
    return dict(scenes)


def assign_parts(names, *, seed) -> dict:
    """{scene: "train", "val" or "test"}, in the order of a hash of the seed and the scene's name."""
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    parts, start = dict.fromkeys(names, "train"), 0
    for part, share in SHARES.items():
        count = int(share * len(order) + 0.5)
        parts |= dict.fromkeys(order[start : start + count], part)
        start += count
    return parts


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data", required=True, type=pathlib.Path)
    parse.add_argument("--output_dir", required=True, type=pathlib.Path, help="must not exist yet")
    parse.add_argument("--seed", type=int, default=0)
    flags = parse.parse_args(argv)
    out = flags.output_dir
    if out.exists():
        raise SystemExit(f"--output_dir={out} exists already; name another directory or remove it")
    val_keys = []
    for name, (folders, pattern) in PAIRS.items():
        scenes = find_pairs([flags.data / folder for folder in folders], pattern)
        parts = assign_parts(scenes, seed=flags.seed)
        for scene, pairs in scenes.items():
            part = parts[scene]
            for hazy, clear in pairs:
                folder = out / "test" / name if part == "test" else out / "train"
                inner = "" if part == "test" else name
                link(hazy, folder / "hazy" / inner / hazy.name)
                link(clear, folder / "GT" / inner / f"{hazy.stem}{clear.suffix}")
                if part == "val":
                    val_keys.append(f"{name}/{hazy.name}")
            if name in INDOOR:
                link(pairs[0][1], out / "clear" / part / name / pairs[0][1].name)
        report(name, parts)
    for name, folder in CLEAR.items():
        files = {path.name: path for path in sorted((flags.data / folder).iterdir())}
        parts = assign_parts(files, seed=flags.seed)
        for file, part in parts.items():
            link(files[file], out / "clear" / part / name / file)
        report(name, parts)
    (out / "train/val_keys.txt").write_text("".join(f"{key}\n" for key in val_keys))
    return 0


def report(name, parts):
    counts = collections.Counter(parts.values())
    print(f"{name}: " + ", ".join(f"{counts[part]} scenes {part}" for part in ("train", *SHARES)))


if __name__ == "__main__":
    sys.exit(main())
