"""What the host accumulates between two reports: means of metrics, and the speed with and without overhead.

Both are saved with every checkpoint, so that a resumed run reports the same means, bit for bit.
"""

from collections.abc import Sequence

import numpy as np

from hazeheal.training.step.optimizer import LOSS_SCALE_MIN

SPANS = ("log", "epoch")  # since the last log line, and since the epoch began
RATES = ("images_per_second", "images_per_second_wall", "step_seconds", "input_wait_share", "overhead_share")
_SUMS = ("steps", "seconds", "waited", "outside")


class Accumulators:
    """Sums of per-step metrics in float64, over each of `SPANS`.

    Attributes:
        skipped: Number of non-finite steps of the whole run.
        skipped_in_a_row: Number of non-finite steps since the last finite one. Steps above the lowest loss scale do not
            count: they are the search for the scale.
        longest_skipped: Length of the longest such series, as far as the last call of `add` went.
        last_finite: Whether the last step was finite.
    """

    def __init__(self, names: Sequence[str]):
        """Starts at zero; `names` are the metrics, with `skipped` and `loss_scale` among them."""
        self._names = tuple(names)
        self._sums = {span: np.zeros(len(self._names)) for span in SPANS}
        self._steps = dict.fromkeys(SPANS, 0)
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.longest_skipped = 0
        self.last_finite = True

    def add(self, rows: np.ndarray) -> None:
        """Adds `[steps, metrics]` float32 rows; skipped steps are counted but left out of the means."""
        skipped, loss_scale = self._names.index("skipped"), self._names.index("loss_scale")
        self.longest_skipped = 0
        for row in rows.astype(np.float64):
            self.last_finite = not row[skipped]
            if row[skipped]:
                self.skipped += 1
                self.skipped_in_a_row += int(row[loss_scale] <= LOSS_SCALE_MIN)
                self.longest_skipped = max(self.longest_skipped, self.skipped_in_a_row)
                continue
            self.skipped_in_a_row = 0
            for span in SPANS:
                self._sums[span] += row
                self._steps[span] += 1

    def take(self, span: str) -> dict[str, float | None]:
        """Returns the means over `span`, None where it has no steps, and starts the span again."""
        count, sums = self._steps[span], self._sums[span]
        self._steps[span], self._sums[span] = 0, np.zeros(len(self._names))
        return {name: float(value) / count if count else None for name, value in zip(self._names, sums, strict=True)}

    def to_json(self) -> dict:
        """Returns plain JSON values; Python writes floats so that they read back exactly."""
        return {
            "sums": {span: sums.tolist() for span, sums in self._sums.items()},
            "steps": dict(self._steps),
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "last_finite": self.last_finite,
        }

    def load_json(self, saved: dict) -> None:
        """Restores the values of `to_json`."""
        self._sums = {span: np.array(sums) for span, sums in saved["sums"].items()}
        self._steps = dict(saved["steps"])
        self.skipped = saved["skipped"]
        self.skipped_in_a_row = saved["skipped_in_a_row"]
        self.last_finite = saved.get("last_finite", not self.skipped_in_a_row)  # 0.1.0 did not save it


class Clock:
    """Measures the speed of the training loop, and how much of the time is spent outside of it.

    Time counts from the end of a process's first call of the loop, which compiles, to the end of its last one. What
    happens between two calls (validation, samples, saves, reports) is the overhead.
    """

    def __init__(self, batch_size: int):
        """Starts at zero; `batch_size` is the global batch."""
        self._batch_size = batch_size
        self._last_end = None  # of a call of the loop
        self._recent, self._total = dict.fromkeys(_SUMS, 0.0), dict.fromkeys(_SUMS, 0.0)

    def add(self, steps: int, *, begin: float, end: float, waited: float) -> None:
        """Counts a call of the loop.

        Args:
            steps: Number of steps.
            begin, end: When the call began and ended, in seconds of any one clock.
            waited: Seconds of it spent waiting for input.
        """
        if self._last_end is not None:
            values = {"steps": steps, "seconds": end - begin, "waited": waited, "outside": begin - self._last_end}
            for sums in (self._recent, self._total):
                for name in _SUMS:
                    sums[name] += values[name]
        self._last_end = end

    def take(self) -> dict[str, float | None]:
        """Returns the rates since the last call, None where nothing was measured, and starts again.

        `images_per_second`, `step_seconds` and `input_wait_share` are those of the loop alone; `overhead_share` is the
        share of the time outside of it, and `images_per_second_wall` the rate over all of the time.
        """
        sums, self._recent = self._recent, dict.fromkeys(_SUMS, 0.0)
        return self._rates(sums)

    def total(self) -> dict[str, float | None]:
        """Returns the same rates for the whole run, including what was measured before a restart."""
        return self._rates(self._total)

    def _rates(self, sums):
        steps, seconds, waited, outside = (sums[name] for name in _SUMS)
        if not steps:
            return dict.fromkeys(RATES)
        images = steps * self._batch_size
        values = (images / seconds, images / (seconds + outside), seconds / steps)
        return dict(zip(RATES, (*values, min(1.0, waited / seconds), outside / (seconds + outside)), strict=True))

    def to_json(self) -> dict:
        """Returns plain JSON values."""
        return dict(self._total)

    def load_json(self, saved: dict) -> None:
        """Restores the values of `to_json`; those of version 0.1 have `seconds` and `steps` only."""
        self._total = dict.fromkeys(_SUMS, 0.0) | saved
