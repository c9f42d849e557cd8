"""The steps at which something is due, compared with counting images one by one."""

import itertools
import json
import math
import types
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hazeheal import config as configs
from hazeheal.training.schedule import SHARES, Interval, LoopLength, Schedule
from hazeheal.utils import pace


def schedule(images, batch, **fields):
    """The schedule of a run of `fields`, such as save_every="2 epochs", of section `train` unless named otherwise."""
    fields = {"train.steps": 10**9, "train.epochs": 0.0, "train.batch_size": batch} | {
        name if "." in name else f"train.{name}": value for name, value in fields.items()
    }
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    return Schedule(configs.load(["--config=default", *overrides]), num_pairs=images)


ACTIVITIES = ("log", "validate", "sample", "save")
SETS = [(11, 4), (12, 4), (3, 8), (1, 1), (415, 6), (60, 7)]


def steps_that_end_an_epoch(images, batch, count):
    """Steps in which the last image of an epoch is seen, found by counting images."""
    found, seen, epochs = [], 0, 0
    for step in range(1, count + 1):
        seen += batch
        if seen // images > epochs:
            epochs = seen // images
            found.append(step)
    return found


@pytest.mark.parametrize(("images", "batch"), SETS)
def test_epochs_end_where_their_last_image_is_seen(images, batch):
    run = schedule(images, batch, save_every="1 epoch")
    ends = steps_that_end_an_epoch(images, batch, 500)
    assert [step for step in range(501) if run.epoch.due(step)] == ends
    assert [step for step in range(501) if run.save.due(step)] == ends
    for step in range(501):
        assert run.epochs_done(step) == step * batch // images


def test_epochs_of_eleven_images_in_batches_of_four():
    run = schedule(11, 4, save_every="1 epoch", log_every="2 epochs")
    assert [step for step in range(23) if run.save.due(step)] == [3, 6, 9, 11, 14, 17, 20, 22]
    assert [step for step in range(23) if run.log.due(step)] == [6, 11, 17, 22]


@settings(max_examples=200, deadline=None)
@given(st.fractions(min_value=Fraction(1, 7), max_value=40, max_denominator=50), st.integers(0, 500))
def test_next_is_the_first_due_step(period, step):
    interval = Interval(period)
    due = {math.ceil(k * max(period, 1)) for k in range(1, 700)}  # no more often than every step
    assert interval.next(step) == min(d for d in due if d > step)
    assert interval.due(step) == (step in due)


@pytest.mark.parametrize(("text", "due"), [("3 steps", [3, 6, 9]), ("1 step", list(range(1, 11))), ("11 steps", [])])
def test_steps(text, due):
    run = schedule(100, 7, save_every=text)
    assert [step for step in range(11) if run.save.due(step)] == due


def test_a_long_run_does_not_drift():
    run = schedule(10**6 + 3, 7, save_every="0.1 epochs")
    step = 0
    for _ in range(10 * 1000):
        step = run.save.next(step)
    assert step == math.ceil(Fraction(1000 * (10**6 + 3), 7))


@pytest.mark.parametrize("text", ["never", "0 steps", "0 epochs", "0 minutes"])
def test_never(text):
    run = schedule(10, 5, save_every=text)
    assert run.save.next(0) == run.save.next(10**9) == math.inf
    assert not any(run.save.due(step) for step in range(100))


def test_the_last_step_is_always_due_but_ends_no_epoch():
    run = schedule(100, 7, **{f"{name}_every": "never" for name in ("log", "validate", "sample", "save")}, steps=9)
    for interval in (run.log, run.validate, run.sample, run.save):
        assert [step for step in range(10) if interval.due(step)] == [9]
    assert not run.epoch.due(9)


def test_the_loop_stops_where_something_is_due():
    run = schedule(11, 4, log_every="5 steps", save_every="4 steps", validate_every="5 epochs", steps=22)
    stops, step = [], 0
    while step < 22:
        step = run.next_stop(step)
        stops.append(step)
    assert stops == [4, 5, 8, 10, 12, 14, 15, 16, 20, 22]


def test_the_loop_takes_about_a_second_and_at_most_doubles():
    length, taken = LoopLength(0), []
    for _ in range(10):
        taken.append(length.wanted())
        length.add(taken[-1], seconds=0.005 * taken[-1])
    assert taken == [1, 2, 4, 8, 16, 32, 64, 128, 200, 200]
    length.add(200, seconds=100.0)  # an exception, such as a compilation
    assert length.wanted() == 2
    length.add(2, seconds=7.0)
    assert length.wanted() == 1


def test_a_fixed_length_of_the_loop_stays():
    length = LoopLength(3)
    length.add(3, seconds=60.0)
    assert length.wanted() == 3


def test_nothing_is_due_before_the_first_step():
    for text in ("1 step", "0.01 epochs", "1 epoch"):
        assert not schedule(2, 5, save_every=text).save.due(0)


@pytest.mark.parametrize(
    ("overrides", "images", "batch", "steps"),
    [
        (["train.epochs=2"], 11, 4, 6),  # 22 images
        (["train.epochs=0.1"], 11, 4, 1),
        (["train.epochs=1e-9"], 11, 4, 1),
        (["train.epochs=200"], 60, 4, 3000),
        (["train.epochs=0.3"], 10, 1, 3),  # 0.3 * 10 is 3.0000000000000004 in binary
        (["train.epochs=0", "train.steps=17"], 11, 4, 17),
    ],
)
def test_total_steps(overrides, images, batch, steps):
    fields = dict(override.split("=") for override in overrides)
    assert schedule(images, batch, **{"train.steps": 0} | fields).total_steps == steps


@pytest.mark.parametrize(("text", "steps"), [("5 steps", 5), ("1 epoch", 3), ("2 epochs", 6), ("never", 0)])
def test_length_in_steps(text, steps):
    assert schedule(11, 4, **{"optimizer.warmup": text}).warmup_steps == steps


# Intervals in minutes, with a fake clock


class FakeClock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(pace, "time", types.SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch):
    return FakeClock(monkeypatch)


def run_for(run, clock, minutes, *, step=0, took=0.0):
    """Trains for some minutes, one step and one call of the loop a second, as the trainer does.

    Args:
        run: The `Schedule`.
        clock: The fake clock.
        minutes: Of training, without the activities.
        step: The step at which it begins.
        took: Seconds that each activity takes.

    Returns:
        {activity: [the seconds of the clock at which it began]}.
    """
    found = {name: [] for name in ACTIVITIES}
    for number in range(step + 1, step + 1 + round(60 * minutes)):
        run.agree(run.due_by_clock())
        clock.now += 1
        for name in ACTIVITIES:
            interval = getattr(run, name)
            if interval.due(number):
                found[name].append(clock.now - 1000)
                with interval.measured():
                    clock.now += took
    return found


def only(name, text, **fields):
    """The schedule of a run in which one activity alone is due."""
    fields = {f"{other}_every": "never" for other in ACTIVITIES} | {f"{name}_every": text} | fields
    run = schedule(10, 5, **fields)
    run.start()
    return run


@pytest.mark.parametrize("name", ACTIVITIES)
def test_minutes_count_from_the_start_and_from_the_last_end(clock, name):
    found = run_for(only(name, "2.5 minutes"), clock, 10, took=0.1)
    # Due in the call of the loop that begins when the time is over.
    assert found[name] == pytest.approx([151.0, 302.1, 453.2])
    assert not any(times for other, times in found.items() if other != name)


@pytest.mark.parametrize("name", ACTIVITIES)
def test_an_interval_in_minutes_stretches_to_its_share_of_the_time(clock, name):
    run, took = only(name, "1 minutes"), 3.0
    times = run_for(run, clock, 60, took=took)[name]
    pauses = [later - earlier - took for earlier, later in itertools.pairwise(times)]
    assert len(pauses) >= 4
    assert pauses == pytest.approx([max(60.0, took / SHARES[name]) + 1] * len(pauses))
    assert took / (pauses[0] + took) < SHARES[name]


def test_an_activity_that_becomes_fast_returns_to_its_interval(clock):
    run = only("save", "1 minutes")
    run_for(run, clock, 1.5, took=10.0)
    slow = run_for(run, clock, 30, took=0.1)["save"]
    assert slow[1] - slow[0] == pytest.approx(61.1)


def test_the_shares_leave_the_steps_95_percent():
    assert sum(SHARES.values()) < 0.05


def test_all_is_due_at_the_last_step_whatever_the_clock_says(clock):
    run = schedule(100, 7, steps=9, **{f"{name}_every": "3 minutes" for name in ACTIVITIES})
    run.start()
    run.agree(run.due_by_clock())
    assert all([step for step in range(1, 10) if getattr(run, name).due(step)] == [9] for name in ACTIVITIES)
    assert run.next_stop(4) == 9


def test_groups_whose_clocks_differ_decide_alike(clock):
    """Each has its own clock, and that of group 0 counts: `DehazeTrainer._agree` gathers the answers."""
    fields = {"log_every": "0.5 minutes", "save_every": "2 minutes", "sample_every": "7 steps"}
    groups = [schedule(10, 5, validate_every="never", **fields) for _ in range(2)]
    for run in groups:
        run.start()
    done = [[], []]
    for step in range(1, 400):
        answers = []
        for number, run in enumerate(groups):
            clock.now += 300 * number  # the second one is fast
            answers.append(run.due_by_clock())
            clock.now -= 300 * number
        for number, run in enumerate(groups):
            run.agree(answers[0])
            for name in ("log", "sample", "save"):
                interval = getattr(run, name)
                if interval.due(step):
                    done[number].append((name, step))
                    with interval.measured():
                        pass
        clock.now += 1
    assert done[0] == done[1]
    assert [step for name, step in done[0] if name == "save"] == [121, 241, 361]


def test_a_resumed_run_continues_an_interval_and_a_save_starts_its_own_again(clock):
    fields = {"validate_every": "10 minutes", "save_every": "7 minutes", "sample_every": "never", "log_every": "never"}
    run = schedule(10, 5, **fields)
    run.start()
    assert run_for(run, clock, 7.5)["save"] == [421.0]
    saved = json.loads(json.dumps(run.to_json()))
    assert set(saved) == {"validate"}
    clock.now += 10**5  # the time between two processes does not count
    resumed = schedule(10, 5, **fields)
    resumed.start(saved)
    begin = clock.now - 1000
    found = run_for(resumed, clock, 9, step=450)
    assert found["validate"] == [begin + 151]  # 7.5 of 10 minutes were over
    assert found["save"] == [begin + 421]


def test_a_resumed_run_knows_how_long_an_activity_takes(clock):
    run = only("validate", "1 minutes")
    run_for(run, clock, 1.5, took=30.0)
    resumed = only("validate", "1 minutes")
    resumed.start(json.loads(json.dumps(run.to_json())))
    assert not run_for(resumed, clock, 20)["validate"]
    assert len(run_for(resumed, clock, 6)["validate"]) == 2  # 25 minutes after the last one, and then it is fast


def test_a_checkpoint_without_intervals_starts_them(clock):
    run = only("validate", "1 minutes")
    for saved in (None, {}, {"log": {"elapsed": 9.0, "took": 1.0}}):
        run.start(saved)
        assert run_for(run, clock, 1.5)["validate"]
