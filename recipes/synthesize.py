"""Applies haze to the clear images of `split.py`, for training, validation and tests.

    python recipes/synthesize.py --data=DATA --split=OUT [--workers=2]

Writes pairs of `recipes/haze.py` beside the real ones, JPEG of quality 95:

    OUT/train/{hazy,GT}/outdoor_haze, aerial_haze, indoor_haze    several versions of each clear image
    OUT/train/{hazy,GT}/fog                                       the same, with fog under an overcast sky
    OUT/train/{hazy,GT}/reside_haze                               the same, with haze as in RESIDE's outdoor sets
    OUT/train/{hazy,GT}/mosaic, flat                              grids of pairs; pictures without haze or detail
    OUT/train/{hazy,GT}/rice1/*_turned*.png                       training pairs of RICE1, turned by 90, 180, 270 degrees
    OUT/test/{outdoor_haze,aerial_haze}/{hazy,GT}/                one version of each clear image of the test part

The haze of an image depends on the seed, its name and the version alone. Outdoor images need the depth maps in
DATA/clear/depth; those that doubtful.txt names are left out. A file that exists is not written again. `--versions=1` takes
a third of the time, and a later run without it adds the rest.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import os
import pathlib
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

import haze  # noqa: E402

OUTDOOR = {"sun": "sun_outdoor_288", "other": "other_384"}  # {set of split.py: folder of its depth maps}
INDOOR = ("its", "i_haze")
# {kind: number of versions of each training image}
VERSIONS = {"outdoor_haze": 4, "fog": 2, "reside_haze": 2, "aerial_haze": 6, "indoor_haze": 20}
MOSAICS, FLATS = 300, 150
FLAT_SIZE = (256, 256)
LEAST_CONTRAST, ATTEMPTS = 0.25, 8


def generator(seed, *words):
    digest = hashlib.sha256("/".join(map(str, (seed, *words))).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.frombuffer(digest, "<u4").tolist()))


@functools.cache
def depth_files(data):
    """The depth maps that are usable, {(set, name): path}."""
    folder = pathlib.Path(data) / "clear/depth"
    doubtful = set((folder / "doubtful.txt").read_text().split())
    files = {(name, path.stem): path for name, sub in OUTDOOR.items() for path in sorted((folder / sub).iterdir())}
    return {key: path for key, path in files.items() if f"{OUTDOOR[key[0]]}/{path.stem}" not in doubtful}


@functools.cache
def training_depths(data, split):
    """The depth maps of training images, which lend their depth to others."""
    training = {(name, p.stem) for name in OUTDOOR for p in (pathlib.Path(split) / "clear/train" / name).iterdir()}
    return [path for key, path in depth_files(data).items() if key in training]


def load_depth(path):
    return haze.FAR ** (np.asarray(Image.open(path).convert("L"), np.float32) / 255)


def load(path):
    return np.asarray(Image.open(path).convert("RGB"))


def make_haze(job):
    """Writes one pair of one of VERSIONS.

    Where haze hides nearly everything, what is below is anybody's guess, and such pairs would dominate the loss. For
    training haze is drawn again while less than LEAST_CONTRAST of the contrast is left, at most ATTEMPTS times.
    """
    flags, kind, part, (name, path), version, hazy_file, clear_file = job
    if hazy_file.exists() and clear_file.exists():
        return
    image = load(path)
    for attempt in range(ATTEMPTS if part == "train" else 1):
        rng = generator(flags.seed, name, path.stem, version, *([attempt] if attempt else []))
        hazy, clear = draw_pair(rng, image, kind, flags, (name, path.stem))
        if haze.contrast_kept(hazy, clear) >= LEAST_CONTRAST:
            break
    save(hazy, hazy_file)
    save(clear, clear_file)


def draw_pair(rng, clear, kind, flags, key):
    if kind == "aerial_haze":
        return haze.aerial_pair(rng, clear)
    if kind in ("reside_haze", "fog"):
        function = haze.fog_pair if kind == "fog" else haze.reside_pair
        return function(rng, clear, depth=load_depth(depth_files(str(flags.data))[key]))
    others = training_depths(str(flags.data), str(flags.split))
    other = load_depth(others[rng.integers(len(others))])
    if kind == "indoor_haze":
        return haze.indoor_pair(rng, clear, other_depth=other)
    return haze.outdoor_pair(rng, clear, depth=load_depth(depth_files(str(flags.data))[key]), other_depth=other)


def make_mosaic(job):
    flags, number, sources, hazy_file, clear_file = job
    if hazy_file.exists() and clear_file.exists():
        return
    rng = generator(flags.seed, "mosaic", number)
    side, size = int(rng.integers(2, 5)), int(rng.integers(128, 257))
    pairs = []
    for _ in range(side * side):
        hazy, clear = sources[rng.integers(len(sources))]
        pairs.append([_square(load(path), size) for path in (hazy, clear)])
    for image, file in zip(haze.mosaic_pair(rng, pairs), (hazy_file, clear_file), strict=True):
        save(image, file)


def training_pairs(root, name):
    """[(hazy file, clear file)] of the real pairs of a set for training."""
    val = set((root / "val_keys.txt").read_text().split())
    return [
        (path, next((root / "GT" / name).glob(f"{path.stem}.*")))
        for path in sorted((root / "hazy" / name).iterdir())
        if "_turned" not in path.stem and f"{name}/{path.name}" not in val
    ]


def make_turned(job):
    """Writes one image turned by a number of quarters; seen from above, no side is up."""
    source, target, quarters = job
    if not target.exists():
        save(np.ascontiguousarray(np.rot90(load(source), quarters)), target)


def _square(image, size):
    side = min(image.shape[:2])
    return np.asarray(Image.fromarray(image[:side, :side]).resize((size, size), Image.Resampling.BICUBIC))


def make_flat(job):
    flags, number, hazy_file, clear_file = job
    hazy, clear = haze.flat_pair(generator(flags.seed, "flat", number), FLAT_SIZE)
    save(hazy, hazy_file)
    save(clear, clear_file)


def save(image, path):
    """Writes an image under a temporary name first, so that a file that exists is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    if path.suffix == ".png":
        Image.fromarray(image).save(temporary, "PNG")
    else:
        Image.fromarray(image).save(temporary, "JPEG", quality=95, subsampling=0)
    temporary.replace(path)


def haze_jobs(flags):
    """The jobs of `make_haze`, with the keys of those for validation."""
    jobs, val_keys = [], []
    depths = depth_files(str(flags.data))
    kinds = dict.fromkeys(("outdoor_haze", "fog", "reside_haze"), tuple(OUTDOOR))
    kinds |= {"aerial_haze": ("aerial",), "indoor_haze": INDOOR}
    parts = {"reside_haze": ("train",), "fog": ("train", "val"), "indoor_haze": ("train", "val")}
    for kind, sets in kinds.items():
        for part in parts.get(kind, ("train", "val", "test")):
            versions = min(VERSIONS[kind], flags.versions) if part == "train" else 1
            root = flags.split / ("test" if part == "test" else "train")
            for name in sets:
                for path in sorted((flags.split / "clear" / part / name).iterdir()):
                    if name in OUTDOOR and (name, path.stem) not in depths:
                        continue
                    for version in range(versions):
                        file = f"{name}_{path.stem}_v{version}.jpg"
                        folders = [
                            root / kind / side if part == "test" else root / side / kind for side in ("hazy", "GT")
                        ]
                        jobs.append((flags, kind, part, (name, path), version, *(folder / file for folder in folders)))
                        if part == "val":
                            val_keys.append(f"{kind}/{file}")
    return jobs, val_keys


def mosaic_jobs(flags):
    """Mosaics of training pairs: those of RICE1 and aerial images."""
    root = flags.split / "train"
    # As many of RICE1, which has a hundredth of the pairs, as of the others.
    sources = [pair for pair in training_pairs(root, "rice1") for _ in range(90)]
    sources += training_pairs(root, "aerial_haze")
    return [
        (flags, number, sources, *(root / side / f"mosaic/{number:04d}.jpg" for side in ("hazy", "GT")))
        for number in range(MOSAICS)
    ]


def run(function, jobs, *, workers):
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(function, jobs, chunksize=16), start=1):
            if done % 500 == 0 or done == len(jobs):
                print(f"{function.__name__}: {done} of {len(jobs)}", flush=True)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data", required=True, type=pathlib.Path)
    parse.add_argument("--split", required=True, type=pathlib.Path, help="the output of split.py")
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--versions", type=int, default=max(VERSIONS.values()), help="at most N of a training image")
    parse.add_argument("--workers", type=int, default=os.cpu_count())
    flags = parse.parse_args(argv)
    root = flags.split / "train"
    jobs, val_keys = haze_jobs(flags)
    run(make_haze, jobs, workers=flags.workers)
    known = (root / "val_keys.txt").read_text().splitlines()
    (root / "val_keys.txt").write_text("".join(f"{key}\n" for key in dict.fromkeys([*known, *val_keys])))
    run(make_mosaic, mosaic_jobs(flags), workers=flags.workers)
    turned = [
        (image, image.with_name(f"{image.stem}_turned{90 * quarters}.png"), quarters)
        for pair in training_pairs(root, "rice1")
        for image in pair
        for quarters in (1, 2, 3)
    ]
    run(make_turned, turned, workers=flags.workers)
    flats = [
        (flags, number, *(root / side / f"flat/{number:04d}.png" for side in ("hazy", "GT"))) for number in range(FLATS)
    ]
    run(make_flat, flats, workers=flags.workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
