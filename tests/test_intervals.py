"""When something is due, against a count of images done one by one."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hazeheal import config as configs
from hazeheal.training.schedule import Every, Schedule

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
    schedule = Schedule(num_images=images, batch_size=batch)
    every = schedule.every("1 epoch")
    ends = steps_that_end_an_epoch(images, batch, 500)
    assert [step for step in range(501) if every.due(step)] == ends
    for step in range(501):
        assert schedule.epochs_done(step) == step * batch // images


def test_epochs_of_eleven_images_in_batches_of_four():
    every = Schedule(num_images=11, batch_size=4).every("1 epoch")
    assert [step for step in range(23) if every.due(step)] == [3, 6, 9, 11, 14, 17, 20, 22]
    every = Schedule(num_images=11, batch_size=4).every("2 epochs")
    assert [step for step in range(23) if every.due(step)] == [6, 11, 17, 22]


@settings(max_examples=200, deadline=None)
@given(st.fractions(min_value=Fraction(1, 7), max_value=40, max_denominator=50), st.integers(0, 500))
def test_next_is_the_first_due_step(period, step):
    every = Every(period)
    due = {math.ceil(k * max(period, 1)) for k in range(1, 700)}  # no more often than every step
    assert every.next(step) == min(d for d in due if d > step)
    assert every.due(step) == (step in due)


@pytest.mark.parametrize(
    ("text", "due"), [("3 steps", [3, 6, 9]), ("1 step", list(range(1, 11))), ("11 steps", [])]
)
def test_steps(text, due):
    every = Schedule(num_images=100, batch_size=7).every(text)
    assert [step for step in range(11) if every.due(step)] == due


def test_a_long_run_does_not_drift():
    every = Schedule(num_images=10**6 + 3, batch_size=7).every("0.1 epochs")
    step = 0
    for _ in range(10 * 1000):
        step = every.next(step)
    assert step == math.ceil(Fraction(1000 * (10**6 + 3), 7))


@pytest.mark.parametrize("text", ["never", "0 steps", "0 epochs"])
def test_never(text):
    every = Schedule(num_images=10, batch_size=5).every(text)
    assert every.next(0) == every.next(10**9) == math.inf
    assert not any(every.due(step) for step in range(100))


def test_nothing_is_due_before_the_first_step():
    for text in ("1 step", "0.01 epochs", "1 epoch"):
        assert not Schedule(num_images=2, batch_size=5).every(text).due(0)


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
    config = configs.load(["--config=default", *(f"--config.{o}" for o in overrides)])
    assert Schedule(num_images=images, batch_size=batch).total_steps(config) == steps


@pytest.mark.parametrize(("text", "steps"), [("5 steps", 5), ("1 epoch", 3), ("2 epochs", 6), ("never", 0)])
def test_length_in_steps(text, steps):
    assert Schedule(num_images=11, batch_size=4).steps(text) == steps
