"""What the fuzz tests share: a command run as a process runs it, and the oracle that judges how it ended.

The oracle, whatever the arguments and whatever lies on the disk:

    exit code  0, or 1 (error), or 2 (bad usage); nothing comes out of `main` but the code
    stderr     after a failure it ends in one line, `PROGRAM: error: ...`. Before it, and after a success, there is
               nothing but the lists that `hazeheal-tfrecords convert` documents (`is_report`): orphans, ambiguous
               names, sizes that differ, pictures that cannot be read, each with one line an entry
    never      a traceback, a warning, a control character on stderr (a name with a line break or an escape sequence
               is shown escaped), more than `SECONDS`, more memory than the bounds below

What else must hold (output that is right, inputs that are as before, nothing left half done) the tests check.
"""

import collections
import contextlib
import dataclasses
import faulthandler
import hashlib
import io
import math
import os
import pathlib
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unicodedata
import warnings

from hypothesis import HealthCheck, Phase, given, settings
from places import ROOT

TOOLS, TRAIN = "hazeheal-tfrecords", "hazeheal train"
SECONDS = 60  # of one command, which takes well under one on a free machine
# A picture of 300 million pixels, the most that is read, is 1.2 GB to Pillow, however few bytes it has on the disk.
# Those here have no pixels behind such a header, and Pillow holds one at a time. TensorFlow itself takes 0.7 GB.
MEMORY_GROWTH = 2 * 2**30  # of the test's process, over a campaign
MEMORY_PROCESS = 5 * 2**29  # resident, of a process of its own
ADDRESS_SPACE = 16 * 2**30  # RLIMIT_AS of such a process: what goes for more than a machine has fails there
# Cases of each campaign: in the ordinary suite, and of the 2,400 (or HAZEHEAL_FUZZ_CASES) of the slow one.
SMALL = {"folders": 45, "configuration": 120, "bytes": 45}
SHARES = {"folders": 800, "configuration": 900, "bytes": 700}
PROCESSES = {"folders": (2, 20), "configuration": (2, 12), "bytes": (2, 18)}  # small, full


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


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, what it wrote, and (of a process) its peak of resident bytes."""

    argv: tuple
    code: int
    out: str
    err: str
    peak: int | None = None


class Hang(BaseException):
    """No Exception, so that no handler in the code under test takes it for a broken file."""


@contextlib.contextmanager
def watchdog(what):
    """Turns a hang into a failure: by an exception, and, where Python's code is not reached, by ending the tests."""

    def hang(*_):
        raise Hang(f"more than {SECONDS} s: {what}")

    previous = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    except Hang as error:
        raise AssertionError(str(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)


def run(main, argv) -> Ended:
    """Calls `main(argv)` with the streams that a process has: real files, UTF-8, and warnings that are shown.

    What libraries in C write to the descriptors is caught as well.
    """
    argv = tuple(map(str, argv))
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        warnings.catch_warnings(record=True) as shown,
        _streams(out, err),
        watchdog(argv),
    ):
        warnings.resetwarnings()
        for unseen in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", unseen)
        code = main(list(argv))
        sys.stdout.flush()
        sys.stderr.flush()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8"))
    noise = "".join(warnings.formatwarning(w.message, w.category, w.filename, w.lineno) for w in shown)
    return Ended(argv, code, texts[0], noise + texts[1])


@contextlib.contextmanager
def _streams(out, err):
    before = sys.stdout, sys.stderr
    for stream in before:
        stream.flush()
    saved = os.dup(1), os.dup(2)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, "wb", closefd=False), encoding="utf-8", errors=errors)  # noqa: SIM115
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # text that cannot be written: the failure is under way
            sys.stdout.flush()
        sys.stdout, sys.stderr = before
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def run_process(module: str, argv) -> Ended:
    """Runs `python -m MODULE ARGV` as a process of its own, with a limit on its address space."""
    argv = tuple(map(str, argv))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"  # a driver that is not there is no matter of these commands
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, watchdog(argv):
        process = subprocess.Popen(
            [sys.executable, "-m", module, *argv],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            peak = 0
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            # The kernel's ru_maxrss counts what this process had when it was forked.
            while process.poll() is None:
                peak = max(peak, _status("VmHWM", process.pid) or 0)
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8"))
    return Ended(argv, process.returncode, *texts, peak)


def judge(ended: Ended, program: str) -> str:
    """Asserts that a command ended as the oracle says; returns `success` or `error`."""
    told = f"{ended.argv}\nexit code {ended.code}\n{ended.out[-3000:]}\n{ended.err[-3000:]}"
    assert "Traceback" not in ended.out + ended.err, told
    assert type(ended.code) is int and ended.code in (0, 1, 2), told
    *lines, end = ended.err.split("\n")
    assert end == "", f"stderr ends within a line: {told}"
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for line in lines for c in line), told
    assert ended.peak is None or ended.peak <= MEMORY_PROCESS, f"{ended.peak / 2**20:.0f} MiB: {told}"
    if ended.code:
        assert lines and re.match(rf"{program}: error: \S", lines[-1]), told
        lines.pop()
    assert is_report(lines) if program == TOOLS else not lines, told
    return "error" if ended.code else "success"


def is_report(lines) -> bool:
    """Whether `lines` are what `convert` lists on stderr: a title with a count and so many lines, and bad pictures."""
    lines = list(lines)
    titles = "|".join(
        (
            "hazy pictures without a clear one",
            "clear pictures without a hazy one",
            "ambiguous names",
            "pairs of two sizes",
            "pairs with a picture that cannot be read",
        )
    )
    while lines:
        line = lines.pop(0)
        if title := re.fullmatch(rf"(?:{titles}): ([0-9]+)", line):
            entries, lines = lines[: int(title[1])], lines[int(title[1]) :]
            if len(entries) < int(title[1]) or not all(re.match(r"  .", entry) for entry in entries):
                return False
        elif not re.match(r"  (bad|skipped): .+|  \.\.\. and [0-9]+ more$", line):
            return False
    return True


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
    growth, start = Growth(), _status("VmRSS")
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is there now
    except OSError:
        start = None
    yield growth
    if start is not None:
        growth.peak = (_status("VmHWM") or start) - start


def _status(name: str, pid="self") -> int | None:
    """A line of /proc/PID/status in bytes; None where there is none (a process that ended, another system)."""
    with contextlib.suppress(OSError):
        match = re.search(rf"^{name}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
        return int(match[1]) * 1024 if match else None
    return None
