"""What all commands share of argparse: how `--help` looks, and how bad usage is told."""

import argparse
import shutil

from hazeheal.errors import UsageError

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
