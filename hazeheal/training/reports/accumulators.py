"""What the host accumulates between two reports: means of metrics and the speed of the loop.

Both are saved with every checkpoint, so that a resumed run reports the same means, bit for bit.
"""

from collections.abc import Sequence

import numpy as np

from hazeheal.training.step.optimizer import LOSS_SCALE_MIN

SPANS = ("log", "epoch")  # since the last log line, and since the epoch began


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
    """Measures images per second, seconds per step and the share of time spent waiting for input.

    Only the training loop is timed. Validation, samples and saves between two calls of the loop do not count, nor
    does the first call, which compiles.
    """

    def __init__(self, batch_size: int):
        """Starts at zero; `batch_size` is the global batch."""
        self._batch_size = batch_size
        self._compiled = False
        self._seconds, self._steps, self._waited = 0.0, 0, 0.0
        self._total_seconds, self._total_steps = 0.0, 0

    def add(self, steps: int, *, seconds: float, waited: float) -> None:
        """Counts a call of the loop: `steps` in `seconds`, of which it waited `waited` seconds for input."""
        if self._compiled:
            self._seconds += seconds
            self._steps += steps
            self._waited += waited
            self._total_seconds += seconds
            self._total_steps += steps
        self._compiled = True

    def take(self) -> dict[str, float | None]:
        """Returns the rates since the last call, None where nothing was measured, and starts again."""
        seconds, steps, waited = self._seconds, self._steps, self._waited
        self._seconds, self._steps, self._waited = 0.0, 0, 0.0
        return {
            "images_per_second": steps * self._batch_size / seconds if steps else None,
            "step_seconds": seconds / steps if steps else None,
            "input_wait_share": min(1.0, waited / seconds) if steps else None,
        }

    def images_per_second(self) -> float | None:
        """Returns the rate of the whole run, including what was measured before a restart."""
        return self._total_steps * self._batch_size / self._total_seconds if self._total_steps else None

    def to_json(self) -> dict:
        """Returns plain JSON values."""
        return {"seconds": self._total_seconds, "steps": self._total_steps}

    def load_json(self, saved: dict) -> None:
        """Restores the values of `to_json`."""
        self._total_seconds, self._total_steps = saved["seconds"], saved["steps"]
