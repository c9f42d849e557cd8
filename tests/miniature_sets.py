"""Miniature copies of the public data sets: their folders and names, with small synthetic images."""

import pathlib
import re

import numpy as np
from converting import hazed, image
from PIL import Image

HEIGHT, WIDTH = 24, 32


def names(one, number):
    """Returns the names of pair `number`, formed like the example in the table of public data sets."""

    def renumbered(name):
        first = re.match(r"\d+", name)[0]
        return f"{int(first) + number:0{len(first)}}" + name[len(first) :]

    return tuple(map(renumbered, one.example))


def plant(one, root, *, pairs=2, border=0):
    """Writes the folders of all splits of a data set below `root`.

    Args:
        one: An entry of `PUBLIC_SETS`.
        root: A folder.
        pairs: Number of pairs in each split.
        border: Width of a white border around the clear images, in pixels.

    Returns:
        [(hazy path, clear path)], in order.
    """
    made = []
    for split, folders in enumerate(one.splits.values()):
        for number in range(pairs):
            hazy, clear = (
                pathlib.Path(root) / folder / name for folder, name in zip(folders, names(one, number), strict=True)
            )
            below = image(100 * split + number, HEIGHT, WIDTH)
            framed = np.pad(below, ((border, border), (border, border), (0, 0)), constant_values=255)
            for path, array in ((hazy, hazed(below, 0.5)), (clear, framed)):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
            made.append((hazy, clear))
    return made
