"""When the trainer logs, validates, draws samples and saves: intervals in steps, epochs or minutes."""

import contextlib
import fractions
import math
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from hazeheal import config_fields
from hazeheal.utils.pace import Pace

LOOP_SECONDS = 1.0
# The largest share of the time that each activity takes if its interval is in minutes; less than 5 % together.
SHARES = {"log": 0.005, "validate": 0.02, "sample": 0.01, "save": 0.01}


class Schedule:
    """The steps of one run: how many there are, and after which of them something is due.

    Batches cross the ends of epochs: with N pairs and a global batch of B, epoch e (from 0) ends at step
    ceil((e + 1) N / B). Logging, validation, samples and saving are also due at the last step.

    Intervals in minutes depend on a clock, so the groups of a job have to agree: between two calls of the loop, each
    asks `due_by_clock`, and all pass the answer of one of them to `agree`.

    Attributes:
        steps_per_epoch: N / B, a fraction.
        total_steps: Number of steps of the whole run.
        warmup_steps: Number of steps of the learning rate's warm-up.
        log, validate, sample, save: The `Interval` or `TimedInterval` of each.
        epoch: The `Interval` of the epochs.
    """

    def __init__(self, config: ConfigDict, *, num_pairs: int):
        """Reads the intervals of a configuration; `num_pairs` is N."""
        train = config.train
        self.steps_per_epoch = fractions.Fraction(num_pairs, train.batch_size)
        epochs = fractions.Fraction(train.epochs).limit_denominator(10**6)
        self.total_steps = train.steps or max(1, math.ceil(epochs * self.steps_per_epoch))
        self.warmup_steps = math.ceil(self._period(*config_fields.parse_interval(config.optimizer.warmup)))
        self.epoch = Interval(self.steps_per_epoch)
        self._timed = {}
        self.log = self._interval("log", train.log_every)
        self.validate = self._interval("validate", train.validate_every)
        self.sample = self._interval("sample", train.sample_every)
        self.save = self._interval("save", train.save_every)

    def start(self, saved: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """Starts the intervals in minutes, or resumes those in `saved`, which `to_json` returned."""
        for name, interval in self._timed.items():
            interval.start(**(saved or {}).get(name, {}))

    def due_by_clock(self) -> list[bool]:
        """Returns for each interval in minutes whether it is over, by the clock of this process."""
        return [interval.is_due() for interval in self._timed.values()]

    def agree(self, due: Sequence[float]) -> None:
        """Sets for each interval in minutes whether it is over, as all groups have agreed."""
        for interval, is_over in zip(self._timed.values(), due, strict=True):
            interval.is_over = bool(is_over)

    def next_stop(self, step: int) -> int:
        """Returns the next step after `step` after which something is due, other than the row of an epoch."""
        intervals = (self.log, self.validate, self.sample, self.save)
        return min(self.total_steps, *(interval.next(step) for interval in intervals))

    def epochs_done(self, step: int) -> int:
        """Returns the number of complete epochs after `step` steps."""
        return math.floor(step / self.steps_per_epoch)

    def to_json(self) -> dict[str, dict[str, float]]:
        """Returns what a checkpoint must hold so that a resumed run continues the intervals in minutes.

        The interval between saves starts again with every checkpoint.
        """
        return {name: interval.to_json() for name, interval in self._timed.items() if name != "save"}

    def _interval(self, name, text):
        number, unit = config_fields.parse_interval(text)
        if unit != "minute" or not number:
            return Interval(self._period(number, unit), last=self.total_steps)
        self._timed[name] = TimedInterval(float(60 * number), share=SHARES[name], last=self.total_steps)
        return self._timed[name]

    def _period(self, number, unit):
        return number * (self.steps_per_epoch if unit == "epoch" else 1)


class LoopLength:
    """How many steps run between two returns to Python.

    Python reacts to signals, writes files and, with several groups, communicates between two calls of the compiled loop.
    At `LOOP_SECONDS` a call this costs less than 1 % of the time even if a step takes 5 ms, and a signal is noticed soon
    even if it takes seconds.
    """

    def __init__(self, steps: int):
        """`steps` is `train.steps_per_loop`; 0: as many as take `LOOP_SECONDS`, starting with one."""
        self._fixed = steps
        self._steps = steps or 1

    def wanted(self) -> int:
        """Returns the number of steps for the next call."""
        return self._steps

    def add(self, steps: int, *, seconds: float) -> None:
        """Adapts the number to a call of `steps` steps. It doubles at most, since a call may have been an exception."""
        if not self._fixed:
            fitting = int(LOOP_SECONDS * steps / max(seconds, 1e-9))
            self._steps = max(1, min(fitting, 2 * self._steps))


class Interval:
    """Due at step ceil(k * period) for k = 1, 2, ..., and at the last step."""

    def __init__(self, period: fractions.Fraction, *, last: int | None = None):
        """Sets the period in steps.

        Args:
            period: At least one step is used; 0: never due but at the last step.
            last: The last step of the run; None: nothing is due because of it.
        """
        self._period = period if not period else max(period, fractions.Fraction(1))
        self._last = last

    def due(self, step: int) -> bool:
        """Returns whether this is due after `step` steps."""
        return step == self._last or (bool(self._period) and step > 0 and self.next(step - 1) == step)

    def next(self, step: int) -> float:
        """Returns the first step after `step` at which the period is over; infinity if it never is."""
        if not self._period:
            return math.inf
        return math.ceil((math.floor(step / self._period) + 1) * self._period)

    def measured(self) -> contextlib.AbstractContextManager:
        """Context manager around the activity; only a `TimedInterval` needs to know how long it takes."""
        return contextlib.nullcontext()


class TimedInterval(Pace):
    """Due when the groups have agreed that its time is over, and at the last step.

    Attributes:
        is_over: What they have agreed on last.
    """

    def __init__(self, seconds: float, *, share: float, last: int):
        """Sets the interval in seconds, the largest `share` of the time for its activity, and the run's last step."""
        super().__init__(seconds, share=share)
        self._last = last
        self.is_over = False

    def due(self, step: int) -> bool:
        """Returns whether this is due after `step` steps."""
        return step == self._last or self.is_over

    def next(self, step: int) -> float:
        """Returns infinity: no step is known before."""
        return math.inf
