"""A torch DataLoader over a folder of pairs, written as usual: PIL, one worker process per core, shuffled.

    python benchmarks/peers/torch_loader.py FOLDER [--seconds=5]

FOLDER/hazy and FOLDER/GT contain files with the same names. Each item is the same random crop of both images, randomly flipped
and rotated by multiples of 90 degrees. It is uint8, as in HazeHeal, to transfer few bytes. Prints the figures as JSON.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import numpy as np
import torch
from PIL import Image


class PairFolder(torch.utils.data.Dataset):
    """{'hazy', 'clear'}: uint8 [3, crop, crop]."""

    def __init__(self, folder, crop):
        self.folder, self.crop = folder, crop
        self.names = sorted(path.name for path in (folder / "hazy").iterdir())

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        name = self.names[index]
        with Image.open(self.folder / "hazy" / name) as hazy, Image.open(self.folder / "GT" / name) as clear:
            left, top = (torch.randint(side - self.crop + 1, ()).item() for side in hazy.size)
            box = (left, top, left + self.crop, top + self.crop)
            pair = np.stack([np.asarray(image.convert("RGB").crop(box)) for image in (hazy, clear)])
        pair = np.rot90(pair, torch.randint(4, ()).item(), axes=(1, 2))
        if torch.rand(()) < 0.5:
            pair = pair[:, :, ::-1]
        both = torch.from_numpy(np.ascontiguousarray(pair.transpose(0, 3, 1, 2)))
        return {"hazy": both[0], "clear": both[1]}


def repeat(loader):
    """Yields batches without end, epoch after epoch."""
    while True:
        yield from loader


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder", type=pathlib.Path)
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--batch_size", type=int, default=4)
    parse.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parse.add_argument("--seconds", type=float, default=5)
    flags = parse.parse_args(argv)
    loader = torch.utils.data.DataLoader(
        PairFolder(flags.folder, flags.crop_size),
        batch_size=flags.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=flags.workers,
        persistent_workers=True,
    )
    batches = repeat(loader)
    for _ in range(4 * flags.workers):  # twice the number of prefetched batches
        next(batches)
    count, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < flags.seconds:
        next(batches)
        count += 1
    print(json.dumps({"pairs_per_second": count * flags.batch_size / seconds, "torch": torch.__version__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
