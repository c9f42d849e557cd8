"""The console: text that stays on one line, `--help` that fills the terminal, progress bars."""

import argparse
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING

from hazeheal.errors import UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

# Control characters, line and paragraph separators, and surrogates (bytes that are not UTF-8).
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
