"""The progress line of a training, and log messages that do not break it."""

import contextlib
import datetime
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm


class ProgressLine:
    """Shows the progress of a run: a bar that is updated in place on a terminal, elsewhere a line now and then.

    A closed pipe (`hazeheal train 2>&1 | head`) ends the output, not the training.

    Args:
        total_steps: The step at which the run is complete.
        initial_step: The step at which it starts.
        stream: The output; None for `sys.stderr`.
        interval: Least number of seconds between two lines outside of a terminal.
        enabled: Whether anything is written.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        initial_step: int = 0,
        stream: TextIO | None = None,
        interval: float = 30.0,
        enabled: bool = True,
    ):
        self._stream = stream or sys.stderr
        self._enabled = enabled
        self._total = total_steps
        self._interval = interval
        self._first = None  # (step, time) of the first update: compilation comes before it
        self._printed = None  # (step, time) of the last line
        self._last = (initial_step, "")
        self._bar = None
        if enabled and self._stream.isatty():
            # Some terminals (containers, `script`) report a width of 0, at which tqdm shows nothing.
            has_width = os.get_terminal_size(self._stream.fileno()).columns > 0
            self._bar = _Bar(
                total=total_steps,
                initial=initial_step,
                file=self._stream,
                dynamic_ncols=has_width,
                ncols=None if has_width else 100,
                miniters=1,
                mininterval=0.2,
                bar_format="step {n_fmt}/{total_fmt} {percentage:3.0f}%{postfix} |{bar}| {elapsed}<{remaining}",
            )

    def update(
        self,
        step: int,
        *,
        epoch: int | None = None,
        losses: Mapping[str, float] | None = None,
        images_per_second: float | None = None,
    ) -> None:
        """Shows that `step` steps are done.

        Args:
            step: Number of steps done.
            epoch: Number of the epoch.
            losses: The losses to show, by name.
            images_per_second: Over all replicas.
        """
        parts = [] if epoch is None else [f"epoch {epoch}"]
        parts += [f"{name} {value:.4g}" for name, value in (losses or {}).items()]
        parts += [] if images_per_second is None else [f"{images_per_second:.1f} images/s"]
        now = time.monotonic()
        self._first = self._first or (step, now)
        self._last = (step, ", ".join(parts))
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.set_postfix_str(self._last[1], refresh=False)
                self._bar.update(step - self._bar.n)
            elif self._enabled and (self._printed is None or now - self._printed[1] >= self._interval):
                self._print(now)

    def close(self) -> None:
        """Shows the last state if it is not shown yet."""
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.refresh()
                self._bar.close()
            elif self._printed is not None and self._printed[0] != self._last[0]:
                self._print(time.monotonic())

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _print(self, now):
        step, text = self._last
        parts = [f"step {step}/{self._total} ({100 * step / max(1, self._total):.0f}%)"]
        parts += [text] if text else []
        first_step, first_time = self._first
        if first_step < step < self._total:
            seconds = (now - first_time) / (step - first_step) * (self._total - step)
            parts.append(f"{datetime.timedelta(seconds=round(seconds))} left")
        self._printed = (step, now)
        # One write, so that the lines of several processes on one console do not mix.
        self._stream.write(", ".join(parts) + "\n")
        self._stream.flush()


class _Bar(tqdm):
    monitor_interval = 0  # no monitor thread: it would be running while the data workers are forked


class ConsoleHandler(logging.Handler):
    """Writes log messages above the progress line.

    Args:
        stream: The console; None for the current `sys.stderr` at each message. A closed one is not an error.
    """

    def __init__(self, stream: TextIO | None):
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one message."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
            stream = self._stream or sys.stderr
            _Bar.write(self.format(record) + "\n", file=stream, end="")
            stream.flush()
