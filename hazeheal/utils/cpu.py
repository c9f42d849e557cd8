"""What the processor says of itself, and how much of it is ours."""

import os
import pathlib
import platform


def usable_cores() -> int:
    """Cores that this process may run on, which a batch system may have limited, or all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_cpu() -> tuple[str, frozenset | None]:
    """Returns its name, and its abilities by Linux's names (`avx2`, `avx512_bf16`, ...), None where they are not told."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = dict.fromkeys(("model name", "flags"))
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in told and told[name.strip()] is None:
            told[name.strip()] = value.strip()
    flags = told["flags"]
    name = told["model name"] or platform.processor() or platform.machine()
    return name, None if flags is None else frozenset(flags.split())
