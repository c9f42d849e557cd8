"""Images by rule to measure with, where the user names no data set: drawn once, linked under many names."""

import os
import pathlib
import subprocess
import sys

from hazeheal.benchmark import child
from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.errors import HazeHealError

DRAWN = 16


def write_pairs(folder, *, pairs: int, size: int) -> None:
    """Writes `pairs` pairs of `size` x `size` pixels to `folder/hazy` and `folder/GT`, of the same names.

    The first 16 are drawn; the others are links to their files, as drawing takes longer than all that is
    done with them.
    """
    folder, drawn = pathlib.Path(folder), min(pairs, DRAWN)
    synthetic_pairs.write_dataset(folder, pairs=drawn, size=size, progress=False)
    for index in range(drawn, pairs):
        for side in ("hazy", "GT"):
            target = folder / side / f"{index:04d}.png"
            if not target.exists():
                os.link(folder / side / f"{index % drawn:04d}.png", target)


def convert(folder, output_dir, *, encoding: str, options=()) -> None:
    """Runs the conversion of a folder of pairs as its users do, as a process; `options` are more of its flags.

    Raises:
        HazeHealError: It failed; the message holds the last line it wrote.
    """
    command = [sys.executable, "-m", "tfrecords_tools", "convert", f"--encoding={encoding}"]
    command += [f"--hazy_dir={folder}/hazy", f"--gt_dir={folder}/GT", f"--output_dir={output_dir}"]
    command += ["--val_fraction=0", "--name=benchmark", *options]
    done = subprocess.run(
        command, env=child.environment(cpu=True), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise HazeHealError(f"the conversion {child.ended(done)}")
