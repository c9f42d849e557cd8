"""Properties of this machine's CPU, and how many of its cores this process may use."""

import os
import pathlib
import platform


def usable_cores() -> int:
    """Returns the number of cores that this process may run on, which a batch system may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_cpu() -> tuple[str, frozenset[str] | None]:
    """Returns the CPU's name and its flags as Linux names them (`avx2`, `avx512_bf16`, ...); None if unknown."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, frozenset(fields["flags"].split()) if "flags" in fields else None
