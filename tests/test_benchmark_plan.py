"""The plan, the timing and the derived figures of a benchmark, with a fake clock and invented figures."""

import pytest
from trainings import make_config

from hazeheal.benchmark import plan, report, timing
from hazeheal.commands import benchmark as command
from hazeheal.errors import UsageError

CPU = {
    "kind": "CPU",
    "name": "a CPU",
    "count": 1,
    "cores": 2,
    "auto": {"precision": "float32", "xla": "off"},
    "precisions": ["float32"],
    "left_out": {"mixed_bfloat16": "lacking", "mixed_float16": "lacking"},
}
GPU = CPU | {
    "kind": "GPU",
    "count": 6,
    "auto": {"precision": "mixed_bfloat16", "xla": "on"},
    "precisions": ["float32", "mixed_bfloat16", "mixed_float16"],
    "left_out": {},
}


# Timing


class Clock:
    """A fake clock: every call of `work` takes a fixed time plus a time for each unit."""

    def __init__(self, monkeypatch, *, call, unit):
        self.now, self.call, self.unit, self.counts = 0.0, call, unit, []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def work(self, count):
        self.now += self.call + self.unit * count
        self.counts.append(count)
        return count


def test_rounds_do_equal_work_of_about_the_requested_time(monkeypatch):
    clock = Clock(monkeypatch, call=0.0, unit=0.01)
    count, durations, results = timing.timed_rounds(clock.work, seconds=2.0, rounds=3)
    assert count == 200
    assert durations == pytest.approx([2.0] * 3)
    assert results == [200] * 3 == clock.counts[-3:]


def test_a_slow_unit_is_one_round(monkeypatch):
    clock = Clock(monkeypatch, call=0.0, unit=30.0)
    assert timing.timed_rounds(clock.work, seconds=2.0, rounds=2) == (1, [30.0, 30.0], [1, 1])


def test_spread():
    assert timing.spread([3.0, 1.0, 2.0]) == {"median": 2, "lowest": 1, "highest": 3, "values": [3, 1, 2]}


# Plan


def parse(*argv):
    """The flags as the command passes them to the plan."""
    return command.parser().parse_args(["--size=160", *argv])


def planned(device, *argv, config=None):
    found = plan.make_tasks(
        config or make_config(train__batch_size=12),
        parse(*argv),
        device=device,
        data_sets={"keep": "a", "jpeg": "b"},
    )
    return [(task.kind, *task.of.values()) for task in found[0]], found[1]


def test_plan_of_a_cpu():
    tasks, left_out = planned(CPU)
    assert tasks == [
        ("input", "keep"),
        ("input", "jpeg"),
        ("step", "float32", "off", 1, 12),
        ("step", "float32", "on", 1, 12),
        ("step", "float32", "off", 2, 12),
        ("loop", 3.0, 1000, 1, 12),
        ("loop", 3.0, 1000, 2, 12),
        ("comm", 2),
        ("convert", "keep", 256, 160),
        ("convert", "jpeg", 256, 160),
        ("restore", "float32", 412, 550),
    ]
    assert left_out == {"mixed_bfloat16": "lacking", "mixed_float16": "lacking"}


def test_plan_of_gpus():
    tasks, left_out = planned(GPU, "--what=step", "--per_replica")
    modes = [(p, xla) for p in GPU["precisions"] for xla in ("off", "on")]
    assert tasks == [
        *(("step", *mode, 1, 12) for mode in modes),
        *(("step", "mixed_bfloat16", "on", n, 12 * n) for n in (2, 4, 6)),
    ]
    assert not left_out
    tasks, left_out = planned(GPU, "--what=comm", config=make_config(train__batch_size=4))
    assert tasks == [("comm", 2), ("comm", 4)]
    assert left_out == {"6 replicas": "the batch of 4 cannot be divided among them"}


def test_the_spec_of_a_step_has_its_batch_size():
    flags = parse("--what=step", "--replicas=2", "--per_replica")
    tasks, _ = plan.make_tasks(make_config(train__batch_size=3), flags, device=CPU, data_sets={"keep": "a"})
    assert {task.spec["config"]["train"]["batch_size"] for task in tasks} == {6} == {t.of["batch_size"] for t in tasks}


def test_a_training_whose_steps_wait_lasts_all_rounds():
    flags = parse("--what=loop", "--replicas=2", "--per_replica", "--seconds=6", "--rounds=2", "--step_ms=4")
    ((_, of, spec),), _ = plan.make_tasks(
        make_config(train__batch_size=3), flags, device=GPU, data_sets={"keep": "a", "jpeg": "b"}
    )
    assert of == {"step_ms": 4.0, "steps": 3000, "replicas": 2, "batch_size": 6}
    train = spec["config"]["train"]
    assert (train["steps"], train["epochs"], train["batch_size"]) == (3000, 0.0, 6)
    assert (spec["precision"], spec["xla"], spec["data_dir"]) == ("mixed_bfloat16", "off", "a")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--precision=mixed_float16"], r"mixed_float16: lacking; use --precision=float32"),
        (["--what=comm", "--replicas=1"], "comm: one replica has nothing to reduce"),
    ],
)
def test_nothing_left_to_measure_is_an_error(argv, said):
    with pytest.raises(UsageError, match=said):
        planned(CPU, *argv)


def test_more_replicas_than_gpus_is_an_error():
    with pytest.raises(UsageError, match="--replicas=8: this machine has 6 GPUs"):
        planned(GPU, "--replicas=1,8")


# Report


def row_of_step(precision, replicas, speeds):
    return {
        "precision": precision,
        "xla": "on",
        "replicas": replicas,
        "images_per_second": timing.spread(speeds),
        "step_seconds": timing.spread([1 / speed for speed in speeds]),
        "flops_per_image": 50,
    }


def measured(kind):
    peak = timing.spread([1000.0])
    rows = [row_of_step("float32", 1, [2.0, 4.0]), row_of_step("mixed_bfloat16", 1, [3.0, 6.0])]
    rows += [row_of_step("mixed_bfloat16", 4, [9.0, 18.0])]
    peaks = {"float32": peak, "mixed_bfloat16": peak}
    return {"device": {"kind": kind, "peak": peaks}, "step": rows, "left_out": {}}


@pytest.mark.parametrize(("kind", "devices"), [("GPU", 4), ("CPU", 1)])
def test_shares_ratios_and_efficiency(kind, devices):
    result = measured(kind) | {"comm": [{"replicas": n, "seconds": timing.spread([0.01])} for n in (2, 4)]}
    report.derive(result)
    first, half, four = result["step"]
    assert (first["ratio"], half["ratio"], four["ratio"]) == (1.0, 1.5, 4.5)
    assert first["share_of_peak"] == pytest.approx(50 * 3 / 1000)
    assert four["share_of_peak"] == pytest.approx(50 * 13.5 / (1000 * devices))
    assert four["efficiency"] == pytest.approx(3 / devices)
    assert "efficiency" not in half
    assert "share_of_step" not in result["comm"][0]
    assert result["comm"][1]["share_of_step"] == pytest.approx(0.01 / ((1 / 9 + 1 / 18) / 2))
