"""The console: text that stays on one line, `--help` that fills the terminal, progress bars."""

import argparse
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hazeheal.errors import UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

# Control characters, line and paragraph separators, and surrogates (bytes that are not UTF-8).
_ESCAPED = ("Cc", "Zl", "Zp", "Cs")


def one_line(text: object) -> str:
    """Returns `text` with its control characters and line breaks escaped, a line break as `\\n`."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c for c in str(text)
    )


def error_text(error: BaseException) -> str:
    """Returns the message of an exception as one line, or its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def first_few(names: Sequence[str], limit: int = 3) -> str:
    """Returns up to `limit` names as `a, b, c, ...`, for a message about many files."""
    return ", ".join(one_line(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")


def shorten(value: object, *, as_text: Callable[[object], str] = str) -> str:
    """Returns a value as text for an error message, at most 60 characters of it."""
    try:
        text = as_text(value)
    except ValueError:
        return "(an integer of thousands of digits)"  # which Python refuses to convert
    return text if len(text) <= 60 else f"{text[:60]}..."


def escape_unencodable_output() -> None:
    """Lets stdout and stderr show what their encoding cannot hold (names that are no UTF-8, a C locale) escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not one that a caller put in place of it
            stream.reconfigure(errors="backslashreplace")


WIDEST = 110  # longer lines cannot be read well


class HelpFormatter(argparse.HelpFormatter):
    """Fills the terminal with the paragraphs of a description or epilog; indented lines (examples) stay as they are."""

    def __init__(self, prog):
        super().__init__(prog, width=min(shutil.get_terminal_size().columns - 2, WIDEST))

    def _fill_text(self, text, width, indent):
        filled, paragraph = [], []
        for line in [*text.splitlines(), ""]:
            if line and not line[0].isspace():
                paragraph.append(line)
                continue
            if paragraph:
                filled.append(super()._fill_text(" ".join(paragraph), width, indent))
                paragraph = []
            filled.append(line)
        return "\n".join(filled).rstrip()


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage in front of it; takes no abbreviations."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message):
        raise UsageError(f"{message}; see {self.prog} --help")


def progress_bar(**options) -> "tqdm":
    """Returns a tqdm bar on stderr, shown on a terminal only; `options` override tqdm's defaults set here."""
    from tqdm import tqdm  # takes longer to import than `--help` takes to print

    # A fixed width: some terminals (containers, `script`) report a width of 0.
    return tqdm(**{"ncols": 80, "disable": not sys.stderr.isatty()} | options)
