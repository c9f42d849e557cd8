"""The steps at which something is due, compared with counting images one by one."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hazeheal import config as configs
from hazeheal.training.schedule import Interval, LoopLength, Schedule


def schedule(images, batch, **fields):
    """The schedule of a run of `fields`, such as save_every="2 epochs", of section `train` unless named otherwise."""
    fields = {"train.steps": 10**9, "train.epochs": 0.0, "train.batch_size": batch} | {
        name if "." in name else f"train.{name}": value for name, value in fields.items()
    }
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    return Schedule(configs.load(["--config=default", *overrides]), num_pairs=images)


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


@pytest.mark.parametrize("text", ["never", "0 steps", "0 epochs"])
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
    run = schedule(11, 4, log_every="5 steps", save_every="4 steps", steps=22)
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
