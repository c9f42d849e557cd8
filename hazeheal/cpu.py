"""What the processor says of itself."""

import pathlib
import platform


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
