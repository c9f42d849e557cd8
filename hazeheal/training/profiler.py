"""What a run measures of itself: its speed, and profiles of chosen steps."""

import logging

import tensorflow as tf

from hazeheal import config as configs

LOG = logging.getLogger("hazeheal")


class Clock:
    """Measures images/s, step time and the share of time spent waiting for input.

    All of the training loop alone: validation, samples and saving between two calls of it do not count,
    nor does the first call, which compiles.
    """

    def __init__(self, batch_size):
        self._batch_size = batch_size
        self._compiled = False
        self._busy, self._steps, self._waited = 0.0, 0, 0.0
        self._whole_busy, self._whole_steps = 0.0, 0

    def add(self, steps, *, seconds, waited):
        """Counts a call of the loop: `steps` in `seconds`, of which `waited` for input."""
        if self._compiled:
            self._busy += seconds
            self._steps += steps
            self._waited += waited
            self._whole_busy += seconds
            self._whole_steps += steps
        self._compiled = True

    def take(self) -> dict:
        """Returns the rates since the last call (None where nothing was measured) and begins anew."""
        busy, steps, waited = self._busy, self._steps, self._waited
        self._busy, self._steps, self._waited = 0.0, 0, 0.0
        if not steps:
            return dict.fromkeys(("images_per_second", "step_seconds", "input_wait_share"))
        return {
            "images_per_second": steps * self._batch_size / busy,
            "step_seconds": busy / steps,
            "input_wait_share": min(1.0, waited / busy),
        }

    def images_per_second(self):
        """The rate of the whole run, what was measured before a restart included; None where nothing was."""
        return self._whole_steps * self._batch_size / self._whole_busy if self._whole_steps else None

    def to_json(self) -> dict:
        return {"seconds": self._whole_busy, "steps": self._whole_steps}

    def load_json(self, saved: dict) -> None:
        self._whole_busy, self._whole_steps = saved["seconds"], saved["steps"]


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
            self._running = self._guard(tf.profiler.experimental.start, str(self._directory))
        elif step >= self._steps[1]:
            self.stop()

    def stop(self):
        if self._running:
            self._running = False
            if self._guard(tf.profiler.experimental.stop):
                LOG.info("profile of steps %d to %d written to %s", *self._steps, self._directory)

    def _guard(self, action, *args):
        """Says whether it worked: a profile that cannot be had must not end the training."""
        try:
            action(*args)
            return True
        except (OSError, tf.errors.OpError) as error:
            LOG.warning("no profile of steps %d to %d: %s", *self._steps, str(error).splitlines()[0])
            self._steps = ()
            return False
