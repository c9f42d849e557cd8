"""`hazeheal benchmark`: its plan, its counts and its JSON. How fast anything is, is never asked."""

import json
import math
import tempfile

import pytest
import tiny
from conftest import graphs_as_they_are, make_config

from hazeheal import config as configs
from hazeheal.__main__ import main
from hazeheal.benchmark import child, comm, convert, flops, input, plan, report, step, suite, timing
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.models.gan import DehazeGAN

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
SHORT = {"seconds": 0.01, "rounds": 2}
OVERRIDES = tiny.arguments(train__steps=1, model__se_ratio=0.25, model__norm="none")
TOY = ["--seconds=0.01", "--rounds=2", "--cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.data_set(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def gan():
    return DehazeGAN(make_config(model__norm="none"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Where a run leaves its JSON, and where it would leave what it forgot to remove."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list((tmp_path / "temporary").glob("hazeheal-*")), "something was left behind"


# FLOPs


def generator_flops(width, depth, height, side):
    """Of one picture, by the table of the networks: {layer: operations}."""

    def conv(pixels, size, channels, filters):
        return 2 * pixels * size * size * channels * filters

    def mbconv(pixels, channels, filters, stride):
        wide, below, squeezed = 4 * channels, pixels // stride**2, max(8, channels // 4)
        return (
            conv(pixels, 1, channels, wide)
            + 2 * below * 9 * wide
            + 2 * conv(1, 1, wide, squeezed)
            + conv(below, 1, wide, filters)
        )

    height, side = (-(-x // 2**depth) * 2**depth for x in (height, side))
    pixels = height * side
    channels, skips = width // 2, []
    found = {"stem": conv(pixels, 3, 3, channels)}
    for i in range(depth):
        filters, skips = width * min(2**i, 8), [*skips, channels]
        found[f"encoder_{i}"] = (
            conv(pixels // 4, 3, channels, filters)
            + mbconv(pixels, channels, filters, 2)
            + conv(pixels // 4, 1, 2 * filters, filters)
        )
        pixels, channels = pixels // 4, filters
    found["bottom"] = 2 * mbconv(pixels, channels, channels, 1)
    for i in reversed(range(depth)):
        # A transposed convolution: every pixel of its input meets every tap once.
        found[f"decoder_{i}"] = conv(pixels, 4, channels, skips[i]) + conv(
            4 * pixels, 3, 2 * skips[i], skips[i]
        )
        pixels, channels = 4 * pixels, skips[i]
    return found | {"head": conv(pixels, 3, channels, 3)}


def discriminator_flops(width, side):
    """Of one pair, by layer."""
    found, channels = [], 6
    for filters, stride in ((1, 2), (2, 2), (4, 2), (8, 2), (8, 1), (0, 1)):
        side, filters = -(-side // stride), filters * width or 1
        found.append(2 * side * side * 16 * channels * filters)
        channels = filters
    return found


def test_flops_of_the_generator_at_the_size_of_the_design():
    assert sum(generator_flops(64, 5, 256, 256).values()) == pytest.approx(25.6e9, rel=0.01)


@pytest.mark.parametrize(("width", "depth", "height", "side"), [(8, 2, 22, 13), (6, 3, 16, 40)])
def test_flops_of_the_generator_are_exact(width, depth, height, side):
    config = make_config(model__width=width, model__depth=depth)
    gan = DehazeGAN(config, for_training=False)
    expected = sum(generator_flops(width, depth, height, side).values())
    assert flops.of_generator(gan, height=height, width=side) == expected


def step_flops(config):
    """Of the step, for one picture and without a perceptual network."""
    model, side = config.model, config.data.crop_size
    generator = generator_flops(model.width, model.depth, side, side)
    discriminator = discriminator_flops(model.disc_width, side)
    # Each convolution has two gradients as dear as itself; nobody needs that of the hazy picture.
    of_generator = 3 * sum(generator.values()) - generator["stem"]
    # Of real and fake: forward, the gradients of its own loss, and that of the generator's loss on the way to it.
    return of_generator + 2 * (4 * sum(discriminator) - discriminator[0])


def test_flops_of_the_step_are_exact(gan):
    assert flops.of_step(gan, config=gan.config) == step_flops(gan.config)


# Timing


class Clock:
    """Stands in for the time: every call of `work` takes a fixed time and more for each unit."""

    def __init__(self, monkeypatch, *, call, unit):
        self.now, self.call, self.unit, self.counts = 0.0, call, unit, []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def work(self, count):
        self.now += self.call + self.unit * count
        self.counts.append(count)
        return count


def test_rounds_do_equal_work_of_about_the_time_asked_for(monkeypatch):
    clock = Clock(monkeypatch, call=0.0, unit=0.01)
    count, durations, results = timing.timed_rounds(clock.work, seconds=2.0, rounds=3)
    assert count == 200
    assert durations == pytest.approx([2.0] * 3)
    assert results == [200] * 3 == clock.counts[-3:]


def test_a_slow_unit_is_a_round_of_its_own(monkeypatch):
    clock = Clock(monkeypatch, call=0.0, unit=30.0)
    assert timing.timed_rounds(clock.work, seconds=2.0, rounds=2) == (1, [30.0, 30.0], [1, 1])


def test_a_unit_too_quick_for_the_clock_does_not_run_for_ever(monkeypatch):
    clock = Clock(monkeypatch, call=0.0, unit=0.0)
    assert timing.timed_rounds(clock.work, seconds=2.0, rounds=2, most=64)[0] == 64


def test_ratios_are_of_the_same_round():
    # The machine halves its speed after the first round: the ratio stays what it is.
    ours, base = timing.spread([30.0, 15.0, 15.0]), timing.spread([20.0, 10.0, 10.0])
    assert timing.ratio(ours, base) == 1.5
    assert timing.merged([ours, base])["values"] == [30.0, 15.0, 15.0, 20.0, 10.0, 10.0]
    assert timing.spread([3.0, 1.0, 2.0]) == {"median": 2, "lowest": 1, "highest": 3, "values": [3, 1, 2]}


# Plan


def planned(device, config=None, **options):
    found = plan.make(
        config or make_config(train__batch_size=12),
        plan.Options(**options),
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
        ("comm", 2),
        ("convert", "keep", 256, 160),
        ("convert", "jpeg", 256, 160),
        ("restore", "float32", 412, 550),
    ]
    assert left_out == {"mixed_bfloat16": "lacking", "mixed_float16": "lacking"}


def test_plan_of_gpus():
    tasks, left_out = planned(GPU, what=("step",), per_replica=True)
    modes = [(p, xla) for p in GPU["precisions"] for xla in ("off", "on")]
    assert tasks == [
        *(("step", *mode, 1, 12) for mode in modes),
        *(("step", "mixed_bfloat16", "on", n, 12 * n) for n in (2, 4, 6)),
    ]
    assert not left_out
    tasks, left_out = planned(GPU, make_config(train__batch_size=4), what=("comm",))
    assert tasks == [("comm", 2), ("comm", 4)]
    assert left_out == {"6 replicas": "the batch of 4 does not divide over them"}


def test_a_step_knows_the_batch_that_it_is_measured_with():
    options = plan.Options(what=("step",), replicas=(2,), per_replica=True)
    tasks, _ = plan.make(make_config(train__batch_size=3), options, device=CPU, data_sets={"keep": "a"})
    assert (
        {task.spec["config"]["train"]["batch_size"] for task in tasks}
        == {6}
        == {t.of["batch_size"] for t in tasks}
    )
    assert [task.spec["flops"] for task in tasks] == [True, False]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precisions": ("mixed_float16",)}, r"mixed_float16: lacking; use --precision=float32"),
        ({"what": ("comm",), "replicas": (1,)}, "comm: one replica has nothing to reduce"),
    ],
)
def test_nothing_left_to_measure_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        planned(CPU, **options)


def test_more_gpus_than_there_are_are_refused():
    with pytest.raises(UsageError, match="--replicas=8: this machine has 6 GPUs"):
        planned(GPU, replicas=(1, 8))


# Report


def row_of_step(precision, replicas, speeds):
    return {
        "precision": precision,
        "xla": "on",
        "replicas": replicas,
        "images_per_second": timing.spread(speeds),
        "step_seconds": timing.spread([1 / speed for speed in speeds]),
    }


def measured(kind):
    peak = {"matmul": timing.spread([800.0]), "conv": timing.spread([1000.0])}
    rows = [row_of_step("float32", 1, [2.0, 4.0]), row_of_step("mixed_bfloat16", 1, [3.0, 6.0])]
    rows += [row_of_step("mixed_bfloat16", 4, [9.0, 18.0])]
    rows[0]["flops_per_image"] = 50
    peaks = {"float32": peak, "mixed_bfloat16": peak}
    return {"device": {"kind": kind, "peak": peaks}, "step": rows, "left_out": {}}


@pytest.mark.parametrize(("kind", "devices"), [("GPU", 4), ("CPU", 1)])
def test_shares_ratios_and_efficiency(kind, devices):
    result = measured(kind) | {"comm": [{"replicas": n, "seconds": timing.spread([0.01])} for n in (2, 4)]}
    derived = report.derive(result)
    first, half, four = derived["step"]
    assert (first["ratio"], half["ratio"], four["ratio"]) == (1.0, 1.5, 4.5)
    assert first["share_of_peak"] == pytest.approx(50 * 3 / 1000)
    assert four["share_of_peak"] == pytest.approx(50 * 13.5 / (1000 * devices))
    assert four["efficiency"] == pytest.approx(3 / devices)
    assert "efficiency" not in half
    assert four["flops_per_image"] == 50
    assert "share_of_step" not in derived["comm"][0]
    assert derived["comm"][1]["share_of_step"] == pytest.approx(0.01 / ((1 / 9 + 1 / 18) / 2))


# The suite, with measurements that are made up


def answers(kind, spec, calls):
    calls.append(kind)
    if kind == "device":
        return CPU
    if kind == "restore":
        raise HazeHealError("restore failed")
    return {"bytes": 8, "seconds": timing.spread([float(len(calls)), 2.0])}


def test_passes_are_taken_in_turn_and_merged(monkeypatch):
    calls = []
    monkeypatch.setattr(child, "run", lambda kind, spec: answers(kind, spec, calls))
    options = plan.Options(what=("comm",), replicas=(2, 4), passes=2)
    result = suite.run(make_config(), options)
    assert calls == ["device", *["comm"] * 4]
    assert [row["replicas"] for row in result["comm"]] == [2, 4]
    assert [row["seconds"]["values"] for row in result["comm"]] == [[2, 2, 4, 2], [3, 2, 5, 2]]
    assert result["comm"][0]["bytes"] == 8


def test_a_failure_leaves_nothing_behind(monkeypatch, here, capsys):
    monkeypatch.setattr(child, "run", lambda kind, spec: answers(kind, spec, []))
    assert main(["benchmark", "--what=restore"]) == 1
    assert capsys.readouterr().err == "hazeheal benchmark: error: restore failed\n"
    assert [path.name for path in here.iterdir()] == ["temporary"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--what=speed"], "'speed' is none of input, step, comm, convert, restore"),
        (["--xla=auto"], "'auto' is none of off, on"),
        (["--precision=float8"], "'float8' is none of float32, mixed_bfloat16, mixed_float16"),
        (["--seconds=0"], "--seconds=0 leaves no time to measure in"),
        (["--rounds=0"], "'0' is no number of 1 or more"),
        (["--pairs=2"], "--pairs=2 cannot tell"),
        (["--size=95"], "--size=95 is smaller than the crop of 96; give 96 or more"),
        (["--picture=0x3"], "'0x3' is no size such as 550x412"),
        (["--replicas=1,3"], "--config.train.batch_size=8 does not divide over 3 replicas"),
        (["--replicas=0,1"], "--replicas=0,1: each must be 1 or more"),
        (["--config=nothing"], "there is no such configuration"),
        (["--data_dir=nowhere"], "nowhere"),
        (["--json=there"], "--json=there is there already"),
        (["--json=no/where"], "no is no directory that can be written to"),
        (
            ["--what=step", "--config=default", "--config.loss.perceptual_weights=no.npz"],
            "no.npz not found",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(flags, said, here, monkeypatch, capsys):
    monkeypatch.setattr(child, "run", lambda *_: pytest.fail("it was started"))
    (here / "there").write_text("mine")
    assert main(["benchmark", *flags]) in (1, 2)
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out
    assert (here / "there").read_text() == "mine"


# Measurements, at toy sizes


def assert_plausible(value, *, where="result"):
    """Every number is finite and not negative, every spread is in order."""
    if isinstance(value, dict):
        if "values" in value:
            assert value["lowest"] <= value["median"] <= value["highest"], where
        for name, one in value.items():
            assert_plausible(one, where=f"{where}.{name}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            assert_plausible(one, where=f"{where}[{number}]")
    elif isinstance(value, (int, float)):
        assert math.isfinite(value) and value >= 0, f"{where} is {value}"


def test_the_reduction_has_the_bytes_of_the_gradients(gan):
    spec = {"config": gan.config.to_dict(), "cpu": True, "replicas": 2, "precision": "float32", "xla": "off"}
    with graphs_as_they_are():
        found = comm.measure(spec | SHORT)
    assert found["bytes"] == 4 * (sum(gan.parameter_counts().values()) + 8)
    assert found["bytes_per_second"]["median"] > 0
    assert_plausible(found)


def test_input_is_measured(data):
    found = input.measure({"config": tiny.config(train__steps=1).to_dict(), "data_dir": str(data)} | SHORT)
    assert set(found) == {"pairs_per_second", "cpu_ms_per_pair"}
    assert len(found["pairs_per_second"]["values"]) == 2
    assert found["pairs_per_second"]["lowest"] > 0
    assert_plausible(found)


def test_a_child_says_what_went_wrong():
    with pytest.raises(UsageError, match=r"--cpu_replicas=0 must be 1 or more"):
        child.run(
            "comm",
            {"config": make_config().to_dict(), "cpu": True, "replicas": 0}
            | {"precision": "auto", "xla": "off"},
        )
    with pytest.raises(HazeHealError, match="measuring nothing failed: ModuleNotFoundError"):
        child.run("nothing", {"cpu": True})


STEP_KEYS = {
    *("precision", "xla", "replicas", "batch_size", "images_per_second", "step_seconds", "build_seconds"),
    *("first_step_seconds", "compile_seconds", "fed_images_per_second", "input_wait_share"),
    *("peak_memory_bytes", "skipped_steps", "flops_per_image", "ratio", "share_of_peak"),
}
RESTORE_KEYS = {
    *("precision", "height", "width", "pictures_per_second", "megapixels_per_second", "first_seconds"),
    *("peak_memory_bytes", "flops_per_picture", "share_of_peak", "ratio"),
}


def benchmark(capsys, *flags):
    """(what --json=found.json holds, stdout) of `hazeheal benchmark FLAGS`."""
    assert main(["benchmark", *TOY, "--json=found.json", *flags, *OVERRIDES]) == 0, capsys.readouterr().err
    with open("found.json", encoding="utf-8") as file:
        return json.load(file), capsys.readouterr().out


def test_the_step_is_measured(data):
    config = tiny.config(train__steps=1, model__se_ratio=0.25, model__norm="none")
    spec = {"config": config.to_dict(), "cpu": True, "replicas": 2, "precision": "float32", "xla": "off"}
    with graphs_as_they_are():
        found = step.measure(spec | SHORT | {"data_dir": str(data), "flops": True})
    assert set(found) == STEP_KEYS - {"precision", "xla", "replicas", "batch_size", "ratio", "share_of_peak"}
    assert found["skipped_steps"] == 0
    assert found["input_wait_share"]["highest"] <= 1
    assert found["images_per_second"]["lowest"] > 0 and found["peak_memory_bytes"]["lowest"] > 2**20
    assert found["first_step_seconds"]["median"] >= found["compile_seconds"]["median"]
    assert found["flops_per_image"] == step_flops(config)
    assert_plausible(found)


def test_restoring_is_measured_through_the_command(capsys):
    found, out = benchmark(capsys, "--what=restore", "--precision=float32", "--picture=21x18")
    assert set(found) == {"schema", "begun", "command", "versions", "config", "device", "left_out", "restore"}
    (row,) = found["restore"]
    assert set(row) == RESTORE_KEYS
    assert row["flops_per_picture"] == sum(generator_flops(4, 1, 18, 21).values())
    assert configs.from_dict(found["config"]).model.width == 4
    assert found["device"]["peak"]["float32"]["matmul"]["lowest"] > 0
    assert found["device"]["bandwidth"]["lowest"] > 0
    assert_plausible(found)
    for shown in ("pictures/s", "of the peak", "21x18", "GB/s", "written to found.json"):
        assert shown in out


@pytest.mark.slow
def test_everything_through_the_command(capsys):
    found, out = benchmark(capsys, "--replicas=1,2", "--pairs=20", "--passes=2", "--picture=20x20")
    device = found["device"]
    assert len(found["step"]) == 2 * len(device["precisions"]) + 1
    assert all(set(row) - {"efficiency"} == STEP_KEYS for row in found["step"])
    assert [row["replicas"] for row in found["step"] if "efficiency" in row] == [2]
    assert [row["records"] for row in found["input"]] == ["keep", "jpeg"]
    assert [row["encoding"] for row in found["convert"]] == ["keep", "jpeg"]
    assert len(found["convert"][0]["seconds"]["values"]) == 2  # passes
    assert len(found["comm"][0]["seconds"]["values"]) == 4  # times rounds
    assert found["comm"][0]["share_of_step"] > 0
    assert {row["precision"] for row in found["restore"]} == set(device["precisions"])
    assert_plausible(found)
    assert all(f"\n{kind}\n" in out for kind in plan.KINDS)


@pytest.mark.slow
def test_conversion_is_measured(here):
    found = convert.measure(here, encoding="jpeg", pairs=18, size=24)
    assert found["pairs_per_second"]["median"] == pytest.approx(18 / found["seconds"]["median"])
    assert_plausible(found)
    assert len(list((here / "18-pairs/hazy").iterdir())) == 18
    assert not list(here.glob("*-records"))
