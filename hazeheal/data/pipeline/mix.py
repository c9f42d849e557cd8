"""The mix: which share of the training images each part of a data set gets.

A data set of several sources has far more pairs of one than of another. With

    --config.data.mix="rice1/=1, sots/=2, synthetic/=2"

a fifth of the images of each epoch are pairs whose hazy file is in the folder `rice1/`, whatever their number. A prefix is
the beginning of the file's name with its folders. The longest prefix that a name begins with decides, an empty prefix
matches all names, and a weight of 0 leaves pairs out.

Each block of `BLOCK` positions holds every part as often as its share says, in shuffled order. A part is shuffled as a
data set of its own: all of its pairs are used before one is used again.
"""

from collections.abc import Sequence

import numpy as np

from hazeheal.data.pipeline.mix_weights import parse_mix
from hazeheal.data.records import Split
from hazeheal.errors import UsageError
from hazeheal.utils.console import shorten

BLOCK = 1000  # positions; shares are rounded to 1 / BLOCK


class Mix:
    """The parts of a training split and how often each is used.

    Attributes:
        prefixes: The prefix of each part.
        parts: The numbers of its records, int64 `[n]` each.
        counts: How many of `BLOCK` positions each part gets.
    """

    def __init__(self, text: str, split: Split) -> None:
        """Assigns the records of a split to the parts of a `data.mix`, which is not empty.

        Raises:
            UsageError: A pair belongs to no part, or a part has no pairs.
            DataError: The list of sources is damaged.
        """
        weights = parse_mix(text)
        names = [hazy for _, hazy, _ in split.read_sources()]
        by_length = sorted(weights, key=len, reverse=True)
        members = {prefix: [] for prefix in weights}
        for number, name in enumerate(names):
            prefix = next((prefix for prefix in by_length if name.startswith(prefix)), None)
            if prefix is None:
                raise UsageError(
                    f"mix={shorten(text)} has no part for {name}; add its prefix, with a weight of 0 to leave "
                    "such pairs out, or an empty prefix for all others (=1)"
                )
            members[prefix].append(number)
        for prefix, numbers in members.items():
            if weights[prefix] and not numbers:
                raise UsageError(
                    f"mix={shorten(text)}: no hazy file of split {split.name} begins with {prefix!r}, or all "
                    f"of them begin with a longer prefix; they begin with {_beginnings(names)}"
                )
        self.prefixes = [prefix for prefix in weights if weights[prefix]]
        self.parts = [np.array(members[prefix], np.int64) for prefix in self.prefixes]
        self.counts = _rounded([weights[prefix] for prefix in self.prefixes])

    def describe(self) -> str:
        """Returns the share and the number of pairs of each part."""
        rows = zip(self.prefixes, self.counts, self.parts, strict=True)
        return ", ".join(
            f"{prefix or 'others'} {count / BLOCK:.1%} ({len(part)} pairs)" for prefix, count, part in rows
        )


def _rounded(weights: Sequence[float]) -> list[int]:
    """Returns integers of at least 1 that add up to `BLOCK`, in proportion to weights (largest remainders)."""
    shares = np.array(weights) / sum(weights) * BLOCK
    counts = np.maximum(np.floor(shares), 1).astype(int)
    while (missing := BLOCK - counts.sum()) != 0:
        step = np.sign(missing)
        # Of those that may change, the one that is farthest from its share.
        error = np.where((step < 0) & (counts == 1), -np.inf, step * (shares - counts))
        counts[np.argmax(error)] += step
    return counts.tolist()


def _beginnings(names, most=8):
    """The folders that names begin with, or a few names, for an error."""
    folders = sorted({name.partition("/")[0] + "/" for name in names if "/" in name}) or sorted(names)
    return ", ".join(folders[:most]) + (", ..." if len(folders) > most else "")
