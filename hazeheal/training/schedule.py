"""When something is due: every so many steps, or every so many epochs that need not be whole steps."""

import fractions
import math

from hazeheal import config as configs


class Schedule:
    """Turns epochs into steps for one data set and one global batch.

    Batches cross the ends of epochs, so epoch e (from 0) is over at step ceil((e + 1) N / B).

    Args:
        num_images: N, pairs in an epoch.
        batch_size: B, the global batch.
    """

    def __init__(self, *, num_images, batch_size):
        self.steps_per_epoch = fractions.Fraction(num_images, batch_size)

    def total_steps(self, config) -> int:
        """Steps of the whole run."""
        epochs = fractions.Fraction(config.train.epochs).limit_denominator(10**6)
        return config.train.steps or max(1, math.ceil(epochs * self.steps_per_epoch))

    def epochs_done(self, step: int) -> int:
        return math.floor(step / self.steps_per_epoch)

    def every(self, text: str) -> "Every":
        """The steps at which an interval such as '10 epochs', '50 steps' or 'never' is due."""
        number, unit = configs.parse_interval(text)
        return Every(number * (self.steps_per_epoch if unit == "epoch" else 1))

    def steps(self, text: str) -> int:
        """The length of an interval in steps, rounded up."""
        number, unit = configs.parse_interval(text)
        return math.ceil(number * (self.steps_per_epoch if unit == "epoch" else 1))


class Every:
    """Due at step ceil(k * period) for k = 1, 2, ...; a period of 0 is never due."""

    def __init__(self, period: fractions.Fraction):
        self._period = period if not period else max(period, fractions.Fraction(1))

    def due(self, step: int) -> bool:
        return bool(self._period) and step > 0 and self.next(step - 1) == step

    def next(self, step: int):
        """The first step after `step` at which this is due; infinity if never."""
        if not self._period:
            return math.inf
        return math.ceil((math.floor(step / self._period) + 1) * self._period)
