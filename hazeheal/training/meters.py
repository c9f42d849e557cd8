"""What a run measures of itself: its speed, and profiles of chosen steps."""

import logging
import time

import tensorflow as tf

from hazeheal import config as configs

LOG = logging.getLogger("hazeheal")


class Clock:
    """Measures images/s, step time and the share of time spent waiting for input between two logs."""

    def __init__(self, batch_size):
        self._batch_size = batch_size
        self._compiled = False
        self._begin()

    def _begin(self):
        self._busy, self._steps, self._waited = 0.0, 0, 0.0
        self._mark = time.perf_counter()

    def add(self, steps, waited):
        """Counts a call of the loop; the first one is left out: it compiles."""
        now = time.perf_counter()
        if self._compiled:
            self._busy += now - self._mark
            self._steps += steps
            self._waited += waited
        self._compiled = True
        self._mark = now

    def take(self) -> dict:
        """Returns the rates since the last call (None where nothing was measured) and begins anew."""
        busy, steps, waited = self._busy, self._steps, self._waited
        self._begin()
        if not steps:
            return dict.fromkeys(("images_per_second", "step_seconds", "input_wait_share"))
        return {
            "images_per_second": steps * self._batch_size / busy,
            "step_seconds": busy / steps,
            "input_wait_share": waited / busy,
        }


class Profile:
    """Writes a profile of the steps in `profile.steps` for TensorBoard."""

    def __init__(self, config, directory):
        self._steps = configs.profile_steps(config) or ()
        self._directory = directory
        self._running = False

    def next(self, at):
        return next((s for s in self._steps if s > at), float("inf"))

    def at(self, step):
        if not self._steps:
            return
        if not self._running and self._steps[0] <= step < self._steps[1]:
            tf.profiler.experimental.start(str(self._directory))
            self._running = True
        elif step >= self._steps[1]:
            self.stop()

    def stop(self):
        if self._running:
            tf.profiler.experimental.stop()
            LOG.info("profile of steps %d to %d written to %s", *self._steps, self._directory)
            self._running = False
