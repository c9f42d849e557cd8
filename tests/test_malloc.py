"""glibc keeps the memory that this process frees; with another C library nothing happens."""

import ctypes
import platform
import subprocess
import sys

import pytest
from places import ROOT

from tfrecords_tools import malloc

FAULTS = """
import resource, numpy
from tfrecords_tools import malloc
if {kept}: malloc.keep_freed_memory()
def make(): numpy.ones(1 << 20, numpy.uint8), numpy.ones(3 << 20, numpy.uint8)
make()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): make()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(kept=kept)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_repeated_allocations_cause_no_page_faults():
    assert faults(True) < 100 < faults(False)


def test_another_c_library_is_not_an_error(monkeypatch):
    class Library:
        pass

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    malloc.keep_freed_memory()

    def missing(name):
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    malloc.keep_freed_memory()
