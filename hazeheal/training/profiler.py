"""Profiles of chosen steps for TensorBoard's profile plugin."""

import logging
import pathlib

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal import config_fields

LOG = logging.getLogger("hazeheal")


class Profiler:
    """Profiles the steps in `profile.steps`. A profile that fails costs a warning, not the training."""

    def __init__(self, config: ConfigDict, directory: pathlib.Path):
        """Does nothing yet; the profile is written to `directory`."""
        self._steps = config_fields.profile_steps(config) or ()
        self._directory = directory
        self._running = False

    def next(self, step: int) -> float:
        """Returns the first step after `step` at which a profile starts or stops; infinity if there is none."""
        return next((s for s in self._steps if s > step), float("inf"))

    def update(self, step: int) -> None:
        """Starts or stops the profile where it is due at `step`."""
        if not self._steps:
            return
        if not self._running and self._steps[0] <= step < self._steps[1]:
            self._running = self._try(tf.profiler.experimental.start, str(self._directory))
        elif step >= self._steps[1]:
            self.stop()

    def stop(self) -> None:
        """Ends and writes a running profile."""
        if self._running:
            self._running = False
            if self._try(tf.profiler.experimental.stop):
                LOG.info("profile of steps %d to %d written to %s", *self._steps, self._directory)

    def _try(self, action, *args):
        try:
            action(*args)
            return True
        except (OSError, tf.errors.OpError) as error:
            LOG.warning("no profile of steps %d to %d: %s", *self._steps, str(error).splitlines()[0])
            self._steps = ()
            return False
