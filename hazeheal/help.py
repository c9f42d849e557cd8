"""How `--help` looks, of every command."""

import argparse
import shutil

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
