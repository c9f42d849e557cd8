"""How much memory this process can still use."""

import os
import pathlib
import re


def available_memory() -> int:
    """Returns the bytes that can be allocated without swapping: those of the machine or of the control group, if fewer.

    The page cache of files counts as available.
    """
    try:
        text = pathlib.Path("/proc/meminfo").read_text(encoding="utf-8")
        available = 1024 * int(re.search(r"^MemAvailable:\s*(\d+) kB", text, re.MULTILINE)[1])
    except OSError:  # not Linux
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = pathlib.Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        statistics = (group / "memory.stat").read_text(encoding="utf-8")
        cached = int(re.search(r"^file (\d+)$", statistics, re.MULTILINE)[1])
    except (OSError, ValueError, TypeError):  # no control group, or `max`
        return available
    return max(0, min(available, limit - used + cached))
