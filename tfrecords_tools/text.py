"""Text for reports: sizes and shortened lists."""

import sys
from collections.abc import Sequence

from hazeheal.utils.console import one_line

LISTED = 20


def format_bytes(count: float) -> str:
    """Returns `1536` as `1.5 KiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def print_list(lines: Sequence[str]) -> None:
    """Prints the first `LISTED` lines to stderr, indented, and the number of the others."""
    for line in lines[:LISTED]:
        print(f"  {one_line(line)}", file=sys.stderr)
    if len(lines) > LISTED:
        print(f"  ... and {len(lines) - LISTED} more", file=sys.stderr)


def describe_differences(expected: dict, actual: dict) -> str:
    """Returns `key=VALUE there, VALUE now` for each key whose actual value, in a directory, is not the expected one."""
    return ", ".join(
        f"{key}={actual.get(key)} there, {expected.get(key)} now"
        for key in sorted(expected.keys() | actual.keys())
        if expected.get(key) != actual.get(key)
    )
