"""Speed of converting a folder of pairs to a data set, and synthetic pairs to measure with.

The conversion runs as a process, the way users start it.
"""

import os
import pathlib
import tempfile
import time
from collections.abc import Sequence

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.errors import HazeHealError
from hazeheal.utils.subprocesses import describe_failure, run_module

DISTINCT_PAIRS = 16


def measure(folder: str | os.PathLike, *, encoding: str, pairs: int) -> dict:
    """Converts a folder once, with the default number of workers.

    Args:
        folder: Contains `pairs` pairs in `hazy/` and `GT/`.
        encoding: `keep` (image files unchanged) or `jpeg`.
        pairs: Number of pairs.

    Returns:
        seconds of the command, including its start, and pairs_per_second; lists of one value.
    """
    with tempfile.TemporaryDirectory(prefix="hazeheal-benchmark-") as output:
        begin = time.perf_counter()
        run_conversion(folder, pathlib.Path(output, "records"), encoding=encoding)
        seconds = time.perf_counter() - begin
    return {"seconds": [seconds], "pairs_per_second": [pairs / seconds]}


def write_pairs(folder: str | os.PathLike, *, pairs: int, size: int) -> None:
    """Writes synthetic pairs of `size` x `size` pixels to `folder/hazy` and `folder/GT`.

    The first 16 are rendered. The others are hard links to their files, because rendering takes longer than everything
    that is measured with them.
    """
    distinct = min(pairs, DISTINCT_PAIRS)
    synthetic_pairs.write_dataset(folder, pairs=distinct, size=size, progress=False)
    for index in range(distinct, pairs):
        for side in ("hazy", "GT"):
            images = pathlib.Path(folder, side)
            os.link(images / f"{index % distinct:04d}.png", images / f"{index:04d}.png")


def run_conversion(
    folder: str | os.PathLike, output_dir: str | os.PathLike, *, encoding: str, options: Sequence[str] = ()
) -> None:
    """Runs `hazeheal-tfrecords convert` on `folder/hazy` and `folder/GT`.

    Args:
        folder: A directory.
        output_dir: The new data set.
        encoding: `keep` or `jpeg`.
        options: Further flags of the command.

    Raises:
        HazeHealError: The conversion failed. The message contains the last line of its output.
    """
    flags = [f"--hazy_dir={folder}/hazy", f"--gt_dir={folder}/GT", f"--output_dir={output_dir}"]
    flags += [f"--encoding={encoding}", "--val_fraction=0", "--name=benchmark", *options]
    done = run_module("tfrecords_tools", "convert", *flags, hide_gpus=True)
    if done.returncode:
        raise HazeHealError(f"the conversion failed: {describe_failure(done)}")
