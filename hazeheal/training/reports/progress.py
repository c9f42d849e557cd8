"""The terminal: one line of progress, and log lines that do not break it."""

import contextlib
import datetime
import logging
import os
import sys
import time

from tqdm import tqdm


class ProgressLine:
    """One line of progress: updated in place on a terminal, elsewhere a plain line now and then.

    Lines of the logger "hazeheal" are printed above it and do not break it.

    Args:
        total_steps: The step at which the run is complete.
        initial_step: The step it begins at.
        stream: Where to; by default `sys.stderr`.
        interval: Least seconds between two plain lines.
        shown: Whether anything is written at all.
    """

    def __init__(self, total_steps, *, initial_step=0, stream=None, interval=30.0, shown=True):
        self._stream = stream or sys.stderr
        self._shown = shown
        self._total = total_steps
        self._interval = interval
        self._begin = None  # (step, time) of the first update: before it lies the compilation
        self._printed = None
        self._last = (initial_step, "")
        self._bar = None
        if shown and self._stream.isatty():
            # Some terminals (containers, `script`) say that they are 0 wide, and tqdm would show nothing.
            sized = _columns(self._stream) > 0
            self._bar = _Bar(
                total=total_steps,
                initial=initial_step,
                file=self._stream,
                dynamic_ncols=sized,
                ncols=None if sized else 100,
                miniters=1,
                mininterval=0.2,
                bar_format="step {n_fmt}/{total_fmt} {percentage:3.0f}%{postfix} |{bar}| {elapsed}<{remaining}",
            )

    def update(self, step, *, epoch=None, losses=None, images_per_second=None):
        """Shows that `step` steps are done.

        Args:
            step: Number of steps done.
            epoch: Number of the epoch.
            losses: Dict of name to float; only the ones to be shown.
            images_per_second: Images a second over all replicas.
        """
        parts = [] if epoch is None else [f"epoch {epoch}"]
        parts += [f"{name} {value:.4g}" for name, value in (losses or {}).items()]
        parts += [] if images_per_second is None else [f"{images_per_second:.1f} images/s"]
        now = time.monotonic()
        self._begin = self._begin or (step, now)
        self._last = (step, ", ".join(parts))
        with contextlib.suppress(OSError):  # `hazeheal train 2>&1 | head` ends the pipe, not the training
            if self._bar is not None:
                self._bar.set_postfix_str(self._last[1], refresh=False)
                self._bar.update(step - self._bar.n)
            elif self._shown and (self._printed is None or now - self._printed[1] >= self._interval):
                self._print(now)

    def close(self):
        """Leaves the last state on the screen."""
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.refresh()
                self._bar.close()
            elif self._printed is not None and self._printed[0] != self._last[0]:
                self._print(time.monotonic())

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def _print(self, now):
        step, text = self._last
        words = [f"step {step}/{self._total} ({100 * step / max(1, self._total):.0f}%)"]
        words += [text] if text else []
        first_step, first_time = self._begin
        if first_step < step < self._total:
            seconds = (now - first_time) / (step - first_step) * (self._total - step)
            words.append(f"{datetime.timedelta(seconds=round(seconds))} left")
        self._printed = (step, now)
        # In one write, so that lines of several processes on one console do not mix.
        self._stream.write(", ".join(words) + "\n")
        self._stream.flush()


class _Bar(tqdm):
    monitor_interval = 0  # no watching thread: it would live through the forks of data workers


class ConsoleHandler(logging.Handler):
    """Prints records to `stream` (None: the `sys.stderr` of the moment), above a progress line.

    A console that is gone (a closed pipe) is not an error.
    """

    def __init__(self, stream):
        super().__init__()
        self._stream = stream

    def emit(self, record):
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
            stream = self._stream or sys.stderr
            _Bar.write(self.format(record) + "\n", file=stream, end="")
            stream.flush()


def _columns(stream):
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 0
