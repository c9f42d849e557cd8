"""Folders of empty files for tests of pairing, which opens no file."""

import random


def make(folder, names):
    """Creates empty files (pairing opens none) in a shuffled order; returns the folder."""
    names = list(names)
    random.Random(0).shuffle(names)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def two(tmp_path, hazy, clear):
    return make(tmp_path / "hazy", hazy), make(tmp_path / "GT", clear)


def joined(result):
    return {pair.hazy: pair.clear for pair in result.pairs}
