"""Progress bars: shown on a terminal alone, and of a width that is not asked for."""

import sys

from tqdm import tqdm


def progress_bar(**options) -> tqdm:
    """A tqdm bar on stderr; `options` are tqdm's, in place of those here."""
    # No width is asked for, as some terminals (containers, `script`) say that they are 0 wide.
    return tqdm(**{"ncols": 80, "disable": not sys.stderr.isatty()} | options)
