"""What the host adds up between two reports: means since the last log line and since the epoch began.

It is saved with every checkpoint, so that a resumed run reports the same means, bit for bit.
"""

import numpy as np


class Accumulators:
    """Sums of per-step metrics in float64.

    Attributes:
        skipped: Non-finite steps of the whole run.
        skipped_in_a_row: Those since the last finite one.
    """

    def __init__(self, names, *, spans=("log", "epoch")):
        """Args: `names` of the metrics, and the names of the spans to add up over."""
        self._names = tuple(names)
        self._sums = {span: np.zeros(len(self._names)) for span in spans}
        self._steps = dict.fromkeys(spans, 0)
        self.skipped = 0
        self.skipped_in_a_row = 0

    def add(self, rows) -> None:
        """Adds [steps, metrics] float32 rows; skipped steps count, but not in the means."""
        skipped = self._names.index("skipped")
        for row in np.asarray(rows, np.float64):
            if row[skipped]:
                self.skipped += 1
                self.skipped_in_a_row += 1
                continue
            self.skipped_in_a_row = 0
            for span, sums in self._sums.items():
                sums += row
                self._steps[span] += 1

    def take(self, span) -> dict:
        """Returns the means of `span`, {name: float}, and begins it anew; None where it has no steps."""
        count, sums = self._steps[span], self._sums[span]
        self._steps[span], self._sums[span] = 0, np.zeros(len(self._names))
        values = [float(v) / count if count else None for v in sums]
        return dict(zip(self._names, values, strict=True))

    def to_json(self) -> dict:
        """Plain values; Python's floats go through JSON without a loss."""
        return {
            "sums": {span: list(map(float, sums)) for span, sums in self._sums.items()},
            "steps": dict(self._steps),
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def load_json(self, saved: dict) -> None:
        self._sums = {span: np.array(sums) for span, sums in saved["sums"].items()}
        self._steps = dict(saved["steps"])
        self.skipped = saved["skipped"]
        self.skipped_in_a_row = saved["skipped_in_a_row"]
