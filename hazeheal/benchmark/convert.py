"""Speed of converting a folder of pairs to a data set, and synthetic pairs to measure with.

The conversion runs as a process, the way users start it.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from hazeheal.benchmark import child
from hazeheal.benchmark.timing import spread
from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.errors import HazeHealError

FEW_PAIRS = 2  # the time to convert these is the start time
DISTINCT_PAIRS = 16


def measure(folder: str | os.PathLike, *, encoding: str, pairs: int, size: int) -> dict:
    """Converts `pairs` pairs once and two of them once, with the default number of workers.

    Args:
        folder: Directory for images and data sets. The images remain for the next call.
        encoding: `keep` (PNG files unchanged) or `jpeg`.
        pairs: Number of pairs.
        size: Side of the images in pixels.

    Returns:
        Spreads of one value. seconds: of the command; start_seconds: of the command for two pairs;
        pairs_per_second: all pairs divided by `seconds`; pairs_per_second_running: the additional pairs divided by the
        additional seconds, missing if the shorter conversion took longer.
    """
    folder = pathlib.Path(folder)
    start_seconds, seconds = (
        _time_conversion(folder / f"{n}-pairs", encoding=encoding, pairs=n, size=size)
        for n in (FEW_PAIRS, pairs)
    )
    result = {
        "seconds": spread([seconds]),
        "start_seconds": spread([start_seconds]),
        "pairs_per_second": spread([pairs / seconds]),
    }
    if seconds > start_seconds:
        result["pairs_per_second_running"] = spread([(pairs - FEW_PAIRS) / (seconds - start_seconds)])
    return result


def _time_conversion(images, *, encoding, pairs, size):
    write_pairs(images, pairs=pairs, size=size)
    output = images.with_name(f"{images.name}-records")
    begin = time.perf_counter()
    run_conversion(images, output, encoding=encoding)
    seconds = time.perf_counter() - begin
    shutil.rmtree(output)
    return seconds


def write_pairs(folder: str | os.PathLike, *, pairs: int, size: int) -> None:
    """Writes synthetic pairs to `folder/hazy` and `folder/GT`, with the same file names in both.

    The first 16 are rendered. The others are hard links to their files, because rendering takes longer than everything
    that is measured with them.

    Args:
        folder: Directory; files that exist are not replaced.
        pairs: Number of pairs.
        size: Side of the images in pixels.
    """
    folder, distinct = pathlib.Path(folder), min(pairs, DISTINCT_PAIRS)
    synthetic_pairs.write_dataset(folder, pairs=distinct, size=size, progress=False)
    for index in range(distinct, pairs):
        for side in ("hazy", "GT"):
            target = folder / side / f"{index:04d}.png"
            if not target.exists():
                os.link(folder / side / f"{index % distinct:04d}.png", target)


def run_conversion(
    folder: str | os.PathLike, output_dir: str | os.PathLike, *, encoding: str, options: Sequence[str] = ()
) -> None:
    """Runs `hazeheal-tfrecords convert` on a folder of pairs.

    Args:
        folder: Contains `hazy/` and `GT/`.
        output_dir: The new data set.
        encoding: `keep` or `jpeg`.
        options: Further flags of the command.

    Raises:
        HazeHealError: The conversion failed; the message contains the last line of its output.
    """
    command = [sys.executable, "-m", "tfrecords_tools", "convert", f"--encoding={encoding}"]
    command += [f"--hazy_dir={folder}/hazy", f"--gt_dir={folder}/GT", f"--output_dir={output_dir}"]
    command += ["--val_fraction=0", "--name=benchmark", *options]
    environment = child.environment(cpu=True)
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise HazeHealError(f"the conversion {child.describe_failure(done)}")
