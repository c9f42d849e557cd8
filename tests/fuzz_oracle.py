"""Shared by the fuzz tests: runs of a command, and the oracle that judges how it ended.

For any arguments and any files, the oracle requires:

    exit code  0, or 1 (error), or 2 (bad usage); nothing comes out of `main` but the code
    stderr     after a failure it ends in one line, `PROGRAM: error: ...`. Before it, and after a success, there is
               nothing but the lists that `hazeheal-tfrecords convert` documents (`is_report`): orphans, ambiguous
               names, sizes that differ, images that cannot be read, each with one line an entry; and the lines of
               progress of work that takes more than 10 seconds
    never      a traceback, a warning, a control character on stderr (a name with a line break or an escape sequence
               is shown escaped), more than `SECONDS` (`SECONDS_PROCESS`), more memory than the bounds below
"""

import contextlib
import dataclasses
import faulthandler
import io
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
import warnings

from places import ROOT

from hazeheal import __main__ as hazeheal_main
from tfrecords_tools import __main__ as tools_main

TOOLS, TRAIN = "hazeheal-tfrecords", "hazeheal train"
SECONDS = 60  # of one command in this process, which takes well under one on a free machine
SECONDS_PROCESS = 240  # of a process of its own, some of which first import TensorFlow
MEMORY_PROCESS = 5 * 2**29  # resident, of a process of its own
ADDRESS_SPACE = 16 * 2**30  # RLIMIT_AS of such a process: what goes for more than a machine has fails there


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
def watchdog(what, seconds):
    """Turns a hang into a failure: by an exception, and, where Python's code is not reached, by ending the tests."""

    def hang(*_):
        raise Hang(f"more than {seconds} s: {what}")

    previous = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
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
        watchdog(argv, SECONDS),
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


def tools(argv) -> Ended:
    """`hazeheal-tfrecords ARGV` in this process."""
    return run(tools_main.main, argv)


def hazeheal(argv) -> Ended:
    """`hazeheal ARGV` in this process."""
    return run(hazeheal_main.main, argv)


def run_process(module: str, argv) -> Ended:
    """Runs `python -m MODULE ARGV` as a process of its own, with a limit on its address space."""
    argv = tuple(map(str, argv))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"  # no messages about a missing driver
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, watchdog(argv, SECONDS_PROCESS):
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
                peak = max(peak, memory("VmHWM", process.pid) or 0)
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
    """Whether `lines` are what `convert` lists on stderr: a title with a count and so many lines, and bad images."""
    lines = list(lines)
    titles = "|".join(
        (
            "hazy images without a clear image",
            "clear images without a hazy image",
            "ambiguous names",
            "pairs of different sizes",
            "pairs with an image that cannot be read",
        )
    )
    work = r"scanning --\w+|pairing|reading headers|comparing clear images|comparing newer files|finished shards"
    while lines:
        line = lines.pop(0)
        if title := re.fullmatch(rf"(?:{titles}): ([0-9]+)", line):
            entries, lines = lines[: int(title[1])], lines[int(title[1]) :]
            if len(entries) < int(title[1]) or not all(re.match(r"  .", entry) for entry in entries):
                return False
        elif re.fullmatch(rf"(?:{work}): [0-9,]+(?: of [0-9,]+)? \w+, [0-9.,]+/s", line):
            continue
        elif not re.match(r"  (bad|skipped): .+|  \.\.\. and [0-9]+ more$", line):
            return False
    return True


def memory(name: str, pid="self") -> int | None:
    """A line of /proc/PID/status in bytes; None where there is none (a process that ended, another system)."""
    with contextlib.suppress(OSError):
        match = re.search(rf"^{name}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
        return int(match[1]) * 1024 if match else None
    return None
