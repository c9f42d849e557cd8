"""What `run_jax.py` and `run_peer.py` share: how a step is timed, and when two losses count as equal."""

import json
import time

import numpy as np

TOLERANCE = 5e-3  # relative, of the losses of a check; measured on a CPU: 1e-6
WARM_UP = 2  # untimed steps


class TimedStep:
    """A step that is prepared, and then timed in one or more rounds.

    Subclasses define `prepare`, which compiles and leaves little on the device and returns {`start`: seconds}; `warm_up`, which
    runs untimed steps; `train`, which runs a number of steps and returns their last losses on the host; and `figures`, what is
    known after a round besides the speed.

    Attributes:
        batch_size: Images per step; `prepare` sets it.
    """

    batch_size = _seconds = None

    def measure(self, seconds):
        """Times steps for about this long; the first call also runs untimed ones."""
        if self._seconds is None:
            self.warm_up()
            self._seconds = self.run(WARM_UP)
        return self.time(max(1, round(float(seconds) / self._seconds)))

    def time(self, steps):
        """Times a number of steps."""
        self._seconds = self.run(steps)
        speed = {"images_per_second": self.batch_size / self._seconds, "step_seconds": self._seconds}
        return speed | self.figures()

    def run(self, steps):
        """Runs steps; returns the seconds of each."""
        begin = time.perf_counter()
        losses = self.train(steps)
        seconds = (time.perf_counter() - begin) / steps
        if not np.isfinite(losses).all():
            raise ValueError(f"the losses are not finite: {np.asarray(losses).tolist()}")
        return seconds

    def print_figures(self, steps, about):
        """Prepares and times the step, and prints everything as JSON; `about` is the device and the versions."""
        prepared = self.prepare()
        self.measure(0)
        print(json.dumps(prepared | self.time(steps) | about))


def relative_difference(what, found, expected, *, framework):
    """Returns the relative difference of a loss from TensorFlow's.

    Raises:
        ValueError: It is larger than `TOLERANCE`.
    """
    difference = abs(found - expected) / (abs(expected) or 1.0)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{what} is {found:.6g} with {framework} and {expected:.6g} with TensorFlow: the relative difference "
            f"{difference:.1e} is larger than {TOLERANCE:.0e}"
        )
    return difference
