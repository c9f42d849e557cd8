"""Text that stays on its line: the name of a file may hold line breaks, or what a terminal takes for a command."""

import sys
import unicodedata

# Control characters, line and paragraph separators, and the halves that stand for bytes which are no UTF-8.
_ESCAPED = ("Cc", "Zl", "Zp", "Cs")


def one_line(text) -> str:
    """Returns `text` with such characters escaped, a line break as `\\n`."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c for c in str(text)
    )


def shown(value, *, as_text=str) -> str:
    """A value for an error's text, cut where it is long; Python refuses to write out the largest integers."""
    try:
        text = as_text(value)
    except ValueError:
        return "(an integer of thousands of digits)"
    return text if len(text) <= 60 else f"{text[:60]}..."


def print_any_text() -> None:
    """Lets stdout and stderr show what their encoding cannot hold (names that are no UTF-8, a C locale) escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not one that a caller put in place of it
            stream.reconfigure(errors="backslashreplace")
