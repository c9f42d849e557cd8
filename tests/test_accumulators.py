"""Means over the steps of a span without skipped steps, exact round trips through JSON, and rates."""

import json

import numpy as np
import pytest

from hazeheal.training.reports.accumulators import RATES, Accumulators, Clock

NAMES = ("loss", "skipped", "norm", "loss_scale")


def rows(count, seed=0, skipped=(), scale=1.0):
    made = np.random.default_rng(seed).normal(size=(count, len(NAMES))).astype(np.float32)
    made[:, 1] = [i in skipped for i in range(count)]
    made[:, 3] = scale
    return made


def test_means_over_exactly_the_steps_since_the_last_take():
    tally, data = Accumulators(NAMES), rows(10)
    tally.add(data[:3])
    tally.add(data[3:4])
    np.testing.assert_allclose(tally.take("log")["loss"], data[:4, 0].mean(dtype=np.float64), rtol=1e-14)
    tally.add(data[4:])
    np.testing.assert_allclose(tally.take("log")["norm"], data[4:, 2].mean(dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(tally.take("epoch")["loss"], data[:, 0].mean(dtype=np.float64), rtol=1e-14)
    assert tally.take("log") == tally.take("epoch") == dict.fromkeys(NAMES)


def test_sums_are_float64():
    tally = Accumulators(NAMES)
    tally.add(np.array([[2**24, 0, 0, 1]] + [[1, 0, 0, 1]] * 100, np.float32))
    assert tally.take("log")["loss"] == (2**24 + 100) / 101


def test_the_means_do_not_depend_on_how_the_rows_are_divided():
    data = rows(50, seed=3)
    whole, parts = Accumulators(NAMES), Accumulators(NAMES)
    whole.add(data)
    for first, last in ((0, 1), (1, 8), (8, 8), (8, 31), (31, 50)):
        parts.add(data[first:last])
    assert whole.take("log") == parts.take("log")


def test_skipped_steps_are_counted_and_left_out_of_the_means():
    tally, data = Accumulators(NAMES), rows(6, skipped=(1, 4, 5))
    data[[1, 4, 5], 0] = np.nan
    tally.add(data)
    assert (tally.skipped, tally.skipped_in_a_row) == (3, 2)
    np.testing.assert_allclose(tally.take("log")["loss"], data[[0, 2, 3], 0].mean(dtype=np.float64), rtol=1e-14)
    tally.add(rows(2, skipped=(0, 1)))
    assert (tally.skipped, tally.skipped_in_a_row) == (5, 4)
    assert tally.take("log")["loss"] is None
    tally.add(rows(1))
    assert (tally.skipped, tally.skipped_in_a_row) == (5, 0)


def test_the_search_for_the_loss_scale_is_counted_but_is_no_series():
    tally = Accumulators(NAMES)
    tally.add(rows(3, skipped=(0, 1, 2), scale=2.0))
    assert (tally.skipped, tally.skipped_in_a_row, tally.longest_skipped, tally.last_finite) == (3, 0, 0, False)
    tally.add(rows(2, skipped=(0, 1), scale=1.0))
    assert (tally.skipped, tally.skipped_in_a_row, tally.longest_skipped, tally.last_finite) == (5, 2, 2, False)
    tally.add(rows(1, scale=1.0))
    assert (tally.skipped, tally.skipped_in_a_row, tally.last_finite) == (5, 0, True)


@pytest.mark.parametrize(("in_a_row", "finite"), [(0, True), (3, False)])
def test_accumulators_of_a_checkpoint_of_0_1_0(in_a_row, finite):
    tally = Accumulators(NAMES)
    saved = tally.to_json() | {"skipped_in_a_row": in_a_row}
    del saved["last_finite"]
    tally.load_json(saved)
    assert (tally.skipped_in_a_row, tally.last_finite) == (in_a_row, finite)


@pytest.mark.parametrize("cut", [0, 3, 7])
def test_saved_and_loaded_accumulators_continue_bit_for_bit(cut):
    data = rows(20, seed=5, skipped=(2, 6))
    unbroken, broken = Accumulators(NAMES), Accumulators(NAMES)
    for tally in (unbroken, broken):
        tally.add(data[:cut])
    saved = json.loads(json.dumps(broken.to_json()))
    broken = Accumulators(NAMES)
    broken.load_json(saved)
    for tally in (unbroken, broken):
        tally.add(data[cut:])
    assert broken.skipped_in_a_row == unbroken.skipped_in_a_row
    assert broken.to_json() == unbroken.to_json()
    assert broken.take("epoch") == unbroken.take("epoch")


def test_the_longest_series_of_skipped_steps_counts_across_calls_and_may_be_over():
    tally = Accumulators(NAMES)
    tally.add(rows(4, skipped=(2, 3)))
    assert (tally.longest_skipped, tally.skipped_in_a_row) == (2, 2)
    tally.add(rows(6, seed=1, skipped=(0, 1, 4)))
    assert (tally.longest_skipped, tally.skipped_in_a_row) == (4, 0)
    tally.add(rows(2, seed=2))
    assert (tally.longest_skipped, tally.skipped_in_a_row) == (0, 0)


def test_saved_accumulators_are_a_copy():
    tally = Accumulators(NAMES)
    tally.add(rows(2))
    saved = json.dumps(tally.to_json())
    copy = tally.to_json()
    tally.add(rows(3, seed=1))
    assert json.dumps(copy) == saved


def test_the_clock_leaves_out_the_first_call_which_compiles():
    clock = Clock(batch_size=4)
    clock.add(3, begin=0.0, end=100.0, waited=50.0)
    assert clock.take() == clock.total() == dict.fromkeys(RATES)


def test_the_rates_are_those_of_the_calls_since_the_last_take():
    clock = Clock(batch_size=4)
    clock.add(1, begin=0.0, end=100.0, waited=50.0)
    clock.add(3, begin=100.0, end=101.0, waited=0.25)
    clock.add(5, begin=101.0, end=104.0, waited=0.75)
    assert clock.take() == dict(zip(RATES, (8.0, 8.0, 0.5, 0.25, 0.0), strict=True))
    clock.add(4, begin=104.0, end=108.0, waited=0.0)
    assert clock.take() == dict(zip(RATES, (4.0, 4.0, 1.0, 0.0, 0.0), strict=True))
    assert clock.total()["images_per_second"] == 12 * 4 / 8.0
    assert clock.total()["input_wait_share"] == 1 / 8
    assert clock.take()["step_seconds"] is None


def test_the_overhead_is_the_time_between_the_calls_after_the_first_one():
    clock = Clock(batch_size=2)
    clock.add(1, begin=10.0, end=70.0, waited=0.0)  # compiles
    clock.add(4, begin=71.0, end=74.0, waited=0.0)  # a second after it
    assert clock.take() == dict(zip(RATES, (8 / 3, 2.0, 0.75, 0.0, 0.25), strict=True))
    clock.add(6, begin=80.0, end=86.0, waited=0.0)  # six seconds after it: a blocked save
    assert clock.take()["overhead_share"] == 0.5
    assert clock.total()["overhead_share"] == 7 / 16
    assert clock.total()["images_per_second_wall"] == 20 / 16
    assert clock.total()["images_per_second"] == 20 / 9


def test_the_clock_of_a_resumed_run():
    before, clock = Clock(batch_size=2), Clock(batch_size=2)
    before.add(1, begin=0.0, end=9.0, waited=0.0)
    before.add(100, begin=12.0, end=22.0, waited=5.0)
    clock.load_json(json.loads(json.dumps(before.to_json())))
    clock.add(7, begin=1000.0, end=1060.0, waited=0.0)  # compiles again
    assert clock.total() == before.total()
    clock.add(10, begin=1061.0, end=1071.0, waited=0.0)
    assert clock.to_json() == {"steps": 110, "seconds": 20.0, "waited": 5.0, "outside": 4.0}
    assert clock.total() == dict(zip(RATES, (11.0, 220 / 24, 20 / 110, 0.25, 4 / 24), strict=True))


def test_the_clock_of_a_run_of_version_0_1():
    clock = Clock(batch_size=2)
    clock.load_json({"seconds": 10.0, "steps": 100})
    assert clock.total()["images_per_second"] == clock.total()["images_per_second_wall"] == 20.0
