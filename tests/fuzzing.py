"""Campaigns of the fuzz tests: run many cases, count their results, and check that memory does not grow.

What else must hold (output that is right, inputs that are as before, nothing left half done) the tests check.
"""

import collections
import contextlib
import dataclasses
import hashlib
import math
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import time

import pytest
from fuzz_oracle import memory
from hypothesis import HealthCheck, Phase, given, settings

# An image of 300 million pixels, the most that is read, is 1.2 GB to Pillow, however few bytes it has on the disk.
# Those here have no pixels behind such a header, and Pillow holds one at a time. TensorFlow itself takes 0.7 GB.
MEMORY_GROWTH = 2 * 2**30  # of the test's process, over a campaign
# Cases of each campaign: in the ordinary suite, and of the 2,400 (or HAZEHEAL_FUZZ_CASES) of the slow one.
SMALL = {"folders": 45, "configuration": 120, "bytes": 45}
SHARES = {"folders": 800, "configuration": 900, "bytes": 700}
PROCESSES = {"folders": (2, 20), "configuration": (2, 12), "bytes": (2, 18)}  # small, full
SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["small", "full"])


def cases(part: str, *, full: bool) -> int:
    total = int(os.environ.get("HAZEHEAL_FUZZ_CASES", sum(SHARES.values())))
    return math.ceil(total * SHARES[part] / sum(SHARES.values())) if full else SMALL[part]


def campaign(title: str, count: int, strategy, check, *, base) -> collections.Counter:
    """Calls `check(case, folder)` on `count` cases of `strategy`, each in a folder of its own under `base`.

    Args:
        title: What the printed line begins with.
        count: Number of cases; always the same ones.
        strategy: Of cases; their repr is what a failure shows.
        check: Returns a word for how the case ended, `success` or `error`.
        base: Folder for the cases' folders.

    Returns:
        How many cases ended in which way. Both ways must have come.
    """
    tally = collections.Counter()

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(strategy)
    def one(case):
        folder = pathlib.Path(tempfile.mkdtemp(dir=base))
        try:
            tally[check(case, folder)] += 1
        finally:
            remove(folder)

    begin = time.monotonic()
    with memory_growth() as growth:
        one()
    text = ", ".join(f"{number} in {word}" for word, number in sorted(tally.items()))
    peak = "" if growth.peak is None else f", memory +{growth.peak / 2**20:.0f} MiB"
    print(f"fuzz {title}: {tally.total()} cases ended, {text}; {time.monotonic() - begin:.0f} s{peak}")
    assert growth.peak is None or growth.peak <= MEMORY_GROWTH
    assert tally["success"] and tally["error"], "cases that all end alike test nothing"
    return tally


def snapshot(*folders) -> dict:
    """{path: what is there} of everything in the folders: kind, size, time of change, content or target."""
    found, pending = {}, [os.fsencode(folder) for folder in folders]
    while pending:
        path = pending.pop()
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            content = None
            with os.scandir(path) as entries:
                pending += [entry.path for entry in entries]
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode) and status.st_size < 2**24:  # not the sparse ones
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).digest()
        else:
            content = status.st_size
        when = None if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
        found[path] = (stat.S_IFMT(status.st_mode), when, content)
    return found


def remove(folder) -> None:
    try:
        shutil.rmtree(folder)
    except RecursionError:  # deeper than Python's own removal goes
        subprocess.run(["rm", "-rf", "--", folder], check=True)


@dataclasses.dataclass
class Growth:
    peak: int | None = None


@contextlib.contextmanager
def memory_growth():
    """Gives a `Growth` that afterwards knows how many resident bytes came on top of those at the start."""
    growth, start = Growth(), memory("VmRSS")
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is there now
    except OSError:
        start = None
    yield growth
    if start is not None:
        growth.peak = (memory("VmHWM") or start) - start
