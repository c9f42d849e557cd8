"""Miniature trees of the public data sets: their folders and names, with small images made here."""

import pathlib
import re

import numpy as np
from converting import hazed, image
from PIL import Image

HEIGHT, WIDTH = 24, 32


def names(one, number):
    """The names of pair `number`, after the example that the table gives of its data set."""

    def renumbered(name):
        first = re.match(r"\d+", name)[0]
        return f"{int(first) + number:0{len(first)}}" + name[len(first) :]

    return tuple(map(renumbered, one.example))


def plant(one, root, *, pairs=2, border=0):
    """Writes a data set's tree below `root`, every split of it.

    Args:
        one: Of `PUBLIC_SETS`.
        root: A folder.
        pairs: In each split.
        border: White pixels around the clear images.

    Returns:
        [(hazy path, clear path)], in order.
    """
    made = []
    for split, folders in enumerate(one.splits.values()):
        for number in range(pairs):
            hazy, clear = (
                pathlib.Path(root) / folder / name
                for folder, name in zip(folders, names(one, number), strict=True)
            )
            below = image(100 * split + number, HEIGHT, WIDTH)
            framed = np.pad(below, ((border, border), (border, border), (0, 0)), constant_values=255)
            for path, array in ((hazy, hazed(below, 0.5)), (clear, framed)):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
            made.append((hazy, clear))
    return made
