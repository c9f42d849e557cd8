"""The progress line of a training on stderr."""

import contextlib
import datetime
import os
import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

LINE_SECONDS = 30.0  # least time between two lines where stderr is not a terminal


class ProgressLine:
    """Displays the progress of a run: a bar on a terminal, elsewhere a line every `LINE_SECONDS`.

    A closed stderr (`hazeheal train 2>&1 | head`) ends the output, not the training.
    """

    def __init__(self, total_steps: int, *, initial_step: int = 0, enabled: bool = True):
        """Displays the empty bar on a terminal.

        Args:
            total_steps: The step at which the run is complete.
            initial_step: The step at which it starts.
            enabled: Whether anything is written.
        """
        self._total = total_steps
        self._first = None  # (step, time) of the first update: compilation comes before it
        self._next_line = 0.0
        is_terminal = sys.stderr.isatty()
        self._prints_lines = enabled and not is_terminal
        # Some terminals (containers, `script`) report a width of 0, at which tqdm displays nothing.
        has_width = is_terminal and os.get_terminal_size(sys.stderr.fileno()).columns > 0
        self._bar = _Bar(
            total=total_steps,
            initial=initial_step,
            file=sys.stderr,
            disable=not (enabled and is_terminal),
            dynamic_ncols=has_width,
            ncols=None if has_width else 100,
            miniters=1,
            mininterval=0.2,
            bar_format="step {n_fmt}/{total_fmt} {percentage:3.0f}%{postfix} |{bar}| {elapsed}<{remaining}",
        )

    def update(self, step: int, *, epoch: int, losses: Mapping[str, float], images_per_second: float | None) -> None:
        """Displays that `step` steps are done; `images_per_second` is over all replicas, None if not measured."""
        parts = [f"epoch {epoch}", *(f"{name} {value:.4g}" for name, value in losses.items())]
        if images_per_second is not None:
            parts.append(f"{images_per_second:.1f} images/s")
        with contextlib.suppress(OSError):
            self._bar.set_postfix_str(", ".join(parts), refresh=False)
            self._bar.update(step - self._bar.n)
            if self._prints_lines:
                self._print_line(step, parts)

    def _print_line(self, step, parts):
        now = time.monotonic()
        self._first = self._first or (step, now)
        if now < self._next_line and step < self._total:
            return
        self._next_line = now + LINE_SECONDS
        parts = [f"step {step}/{self._total} ({100 * step / self._total:.0f}%)", *parts]
        first_step, first_time = self._first
        if first_step < step < self._total:
            seconds = (now - first_time) / (step - first_step) * (self._total - step)
            parts.append(f"{datetime.timedelta(seconds=round(seconds))} left")
        # One write, so that the lines of several processes do not mix.
        sys.stderr.write(", ".join(parts) + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Ends the bar."""
        with contextlib.suppress(OSError):
            self._bar.close()


class _Bar(tqdm):
    monitor_interval = 0  # no monitor thread: it would be running while the data workers are forked
