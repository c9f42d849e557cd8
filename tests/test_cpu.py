"""The CPU as /proc/cpuinfo describes it, and where oneDNN is enabled."""

import os
import pathlib
import subprocess
import sys

import pytest
from places import ROOT

from hazeheal.utils.cpu import describe_cpu

X86 = "processor\t: 0\nmodel name\t: A CPU: the 2nd\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nmodel name\t: Other\nflags\t: sse\n"


def test_the_first_processor_is_described(monkeypatch):
    monkeypatch.setattr(pathlib.Path, "read_text", lambda self, **_: X86)
    assert describe_cpu() == ("A CPU: the 2nd", frozenset(("fpu", "avx2")))


def test_unknown_flags(monkeypatch):
    monkeypatch.setattr(pathlib.Path, "read_text", lambda self, **_: "BogoMIPS : 50\nFeatures : fp asimd\n")
    name, flags = describe_cpu()
    assert name and flags is None

    def fail(self, **_):
        raise FileNotFoundError(self)

    monkeypatch.setattr(pathlib.Path, "read_text", fail)
    assert describe_cpu() == (name, None)


@pytest.mark.parametrize(
    ("machine", "set_before", "wanted"),
    [("x86_64", None, "1"), ("AMD64", None, "1"), ("x86_64", "0", "0"), ("aarch64", None, None)],
)
def test_onednn_is_enabled_on_x86_unless_it_is_set(machine, set_before, wanted):
    code = "import os, platform; platform.machine = lambda: {!r}; import hazeheal; print(os.environ.get({!r}))"
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    if set_before is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = set_before
    done = subprocess.run(
        [sys.executable, "-c", code.format(machine, "TF_ENABLE_ONEDNN_OPTS")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(wanted)
