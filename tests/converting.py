"""Shared by the tests of conversion: pairs of image files, calls of the command, and its results."""

import json

import numpy as np
from PIL import Image

from hazeheal.data import records
from tfrecords_tools.__main__ import main


def image(seed, height=40, width=56):
    """Returns uint8 [height, width, 3]: smooth waves and some noise, which compress like a photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / rng.uniform(4, 20) + y / rng.uniform(4, 20) + rng.uniform(0, 6)) for _ in range(3)]
    return np.clip(128 + 90 * np.stack(waves, -1) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def hazed(clear, t):
    return (clear * t + 235 * (1 - t)).astype(np.uint8)


def write_pairs(folder, *, scenes=8, versions=2, kind="jpg", height=40, width=56):
    """Writes `folder/hazy/0001_0.8_1.jpg`, ... and `folder/GT/0001.jpg`: several hazy images of each clear image."""
    for name in ("hazy", "GT"):
        (folder / name).mkdir(parents=True)
    for scene in range(1, scenes + 1):
        clear = image(scene, height, width)
        Image.fromarray(clear).save(folder / f"GT/{scene:04d}.{kind}")
        for version in range(1, versions + 1):
            haze = hazed(clear, 0.3 + 0.6 * version / (versions + 1))
            Image.fromarray(haze).save(folder / f"hazy/{scene:04d}_0.8_{version}.{kind}")
    return folder


def arguments(source, output, *more):
    return [
        "convert",
        f"--hazy_dir={source}/hazy",
        f"--gt_dir={source}/GT",
        f"--output_dir={output}",
        "--name=set",
        *more,
    ]


def convert(source, output, *more, workers=1):
    return main(arguments(source, output, f"--workers={workers}", *more))


def all_records(directory, split):
    """Reads every record of a split with the index; returns (pair, row of the index)."""
    opened = records.open_split(directory, split)
    found = []
    for number, row in enumerate(opened.index):
        data = opened.shards[row["shard"]].read_bytes()
        payload = data[int(row["offset"]) : int(row["offset"]) + int(row["length"])]
        records.check_payload(payload, split=opened, record=number)
        found.append((records.parse(payload), row))
    return found


def contents(directory):
    """Returns {file: bytes} of a data set, without the manifest's provenance, which differs between runs."""
    found = {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*"))}
    manifest = json.loads(found["manifest.json"])
    manifest.pop("provenance")
    return found | {"manifest.json": json.dumps(manifest)}
