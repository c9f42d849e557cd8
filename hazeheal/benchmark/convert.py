"""How fast a folder of pairs becomes a data set: the whole command, and what it does besides starting."""

import pathlib
import shutil
import time

from hazeheal.benchmark.pairs import convert, write_pairs
from hazeheal.benchmark.timing import spread

FEW = 2


def measure(folder, *, encoding: str, pairs: int, size: int) -> dict:
    """Converts the same pairs once, and two of them once, with the default number of workers.

    Args:
        folder: A directory for images and data sets; the images stay for the next call.
        encoding: `keep` (PNG files as they are) or `jpeg`.
        pairs, size: How many, and their side in pixels.

    Returns:
        seconds: of the whole command; start_seconds: of the command for two pairs; pairs_per_second: all
        pairs over `seconds`; pairs_per_second_running: the pairs that are more over the seconds that are
        more, or none where the machine was too uneven to tell. Spreads of one value.
    """
    folder = pathlib.Path(folder)
    begun, took = (
        _seconds(folder / f"{n}-pairs", encoding=encoding, pairs=n, size=size) for n in (FEW, pairs)
    )
    found = {
        "seconds": spread([took]),
        "start_seconds": spread([begun]),
        "pairs_per_second": spread([pairs / took]),
    }
    if took > begun:
        found["pairs_per_second_running"] = spread([(pairs - FEW) / (took - begun)])
    return found


def _seconds(images, *, encoding, pairs, size):
    write_pairs(images, pairs=pairs, size=size)
    output = images.with_name(f"{images.name}-records")
    begin = time.perf_counter()
    convert(images, output, encoding=encoding)
    seconds = time.perf_counter() - begin
    shutil.rmtree(output)
    return seconds
