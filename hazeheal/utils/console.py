"""Console output: texts on one line, argument parsers and their help, progress bars."""

import argparse
import shutil
import sys
import unicodedata
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hazeheal.errors import UsageError
from hazeheal.utils.progress_lines import ProgressLines

if TYPE_CHECKING:
    from tqdm import tqdm

_MAX_HELP_WIDTH = 110
# Unicode categories: control characters, line and paragraph separators, and surrogates (bytes that are
# not valid UTF-8).
_ESCAPED = ("Cc", "Zl", "Zp", "Cs")


def one_line(text: object) -> str:
    r"""Returns `text` with its control characters and line breaks escaped, a line break as `\n`."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c for c in str(text))


def error_text(error: BaseException) -> str:
    """Returns the message of an exception as one line, or its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def first_few(names: Sequence[str], limit: int = 3) -> str:
    """Returns up to `limit` names as `a, b, c, ...`, for a message about many files."""
    return ", ".join(one_line(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")


def plural(count: int, noun: str) -> str:
    """Returns `1 shard` or `3 shards`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_bytes(count: int) -> str:
    """Returns a number of bytes as `12.3 GB` or `45 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def shorten(value: object, *, as_text: Callable[[object], str] = str) -> str:
    """Returns a value as text for an error message, at most 60 characters of it."""
    try:
        text = as_text(value)
    except ValueError:
        return "(an integer of thousands of digits)"  # which Python refuses to convert
    return text if len(text) <= 60 else f"{text[:60]}..."


def align(rows: Sequence[Sequence[str]], *, left: Container[int] = ()) -> str:
    """Returns rows of equally many cells as lines of aligned columns; those whose number is in `left` are left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        columns = enumerate(zip(row, widths, strict=True))
        cells = [cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in columns]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def escape_unencodable_output() -> None:
    """Makes stdout and stderr escape characters that their encoding lacks, instead of raising an error.

    These are file names that are not valid UTF-8, and any non-ASCII text in the C locale.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a caller may have replaced the stream
            stream.reconfigure(errors="backslashreplace")


class HelpFormatter(argparse.HelpFormatter):
    """Wraps the paragraphs of a description or epilog to the terminal; indented lines (examples) stay unchanged."""

    def __init__(self, prog: str):
        super().__init__(prog, width=min(shutil.get_terminal_size().columns - 2, _MAX_HELP_WIDTH))

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
    """An argument parser without abbreviated flags, whose errors are raised as `UsageError` in one line."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raises `UsageError` with argparse's message."""
        raise UsageError(f"{message}; see {self.prog} --help")


def progress_bar(*, lines: bool = False, **options: Any) -> "tqdm | ProgressLines":
    """Returns a tqdm bar on stderr, which is displayed only on a terminal.

    Args:
        lines: Whether to print plain lines elsewhere (`ProgressLines`), for long work.
        options: Settings of tqdm.
    """
    if lines and not sys.stderr.isatty():
        return ProgressLines(**options)
    from tqdm import tqdm  # its import takes longer than `--help`

    # A fixed width, because some terminals (containers, `script`) report a width of 0.
    return tqdm(**{"ncols": 80, "disable": not sys.stderr.isatty()} | options)
