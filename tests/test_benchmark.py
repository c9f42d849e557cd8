"""`hazeheal benchmark`: its errors, its measurements and its JSON. No test checks a speed."""

import json
import math
import tempfile
import time

import checkpoints_made
import pytest
import tensorflow as tf
import tiny
from formulas import generator_flops, step_flops
from trainings import graphs_as_they_are, make_config

from hazeheal import config as configs
from hazeheal.__main__ import main
from hazeheal.benchmark import child, comm, convert, flops, input, loop, model_config, plan, step, suite
from hazeheal.commands import benchmark as command
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.inference.gan import DehazeGAN
from hazeheal.models import pretrained
from hazeheal.models.networks import build_networks
from hazeheal.training.session import Session
from hazeheal.training.step.layout import ROW
from hazeheal.training.step.step import METRICS

AUTO = {"precision": "float32", "xla": "off"}
CPU = {"kind": "CPU", "count": 1, "cores": 2, "auto": AUTO}
CPU |= {"precisions": ["float32"], "left_out": {}, "peak": {}}
SHORT = {"seconds": 0.01, "rounds": 2}
OVERRIDES = tiny.arguments(train__steps=1, model__se_ratio=0.25, model__norm="none")
TOY = ["--seconds=0.01", "--rounds=2", "--cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.data_set(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def networks():
    return build_networks(make_config(model__norm="none"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current directory, for the JSON, and the temporary directory, which must be empty afterwards."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list((tmp_path / "temporary").glob("hazeheal-*")), "temporary files were left behind"


# The suite, with stand-ins for the measurements


def fake_measurement(kind, spec, calls):
    calls.append(kind)
    if kind == "device":
        return CPU
    if kind == "restore":
        raise HazeHealError("restore failed")
    return {"bytes": 8, "seconds": [float(len(calls)), 2.0]}


def test_passes_are_taken_in_turn_and_merged(monkeypatch):
    calls = []
    monkeypatch.setattr(child, "run", lambda kind, spec: fake_measurement(kind, spec, calls))
    flags = command.parser().parse_args(["--what=comm", "--replicas=2,4", "--passes=2"])
    result = suite.run(make_config(), flags)
    assert calls == ["device", *["comm"] * 4]
    assert [row["replicas"] for row in result["comm"]] == [2, 4]
    assert [row["seconds"]["values"] for row in result["comm"]] == [[2, 2, 4, 2], [3, 2, 5, 2]]
    assert result["comm"][0]["bytes"] == 8


def test_a_failure_leaves_nothing_behind(monkeypatch, here, capsys):
    monkeypatch.setattr(child, "run", lambda kind, spec: fake_measurement(kind, spec, []))
    assert main(["benchmark", "--what=restore"]) == 1
    assert capsys.readouterr().err == "hazeheal benchmark: error: restore failed\n"
    assert [path.name for path in here.iterdir()] == ["temporary"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--what=speed"], "must be one or more of input,step,loop,comm,convert,restore, got 'speed'"),
        (["--xla=auto"], "must be one or more of off,on, got 'auto'"),
        (["--precision=float8"], "must be one or more of float32,mixed_bfloat16,mixed_float16, got 'float8'"),
        (["--seconds=0"], "--seconds=0 must be greater than 0"),
        (["--rounds=0"], "must be a positive integer, got '0'"),
        (["--step_ms=0"], "must be a number of milliseconds from 0.1 to 60000, got '0'"),
        (["--pairs=0"], "must be a positive integer, got '0'"),
        (["--size=95"], "--size=95 is smaller than the crop of 96; use 96 or more"),
        (["--image=0x3"], "must be a size such as 550x412, got '0x3'"),
        (["--replicas=1,3"], "--config.train.batch_size=8 does not divide over 3 replicas"),
        (["--replicas=0,1"], "--replicas=0,1: each number must be at least 1"),
        (["--config=nothing"], "neither a Python file nor a configuration"),
        (["--model=best", "--config=best"], "--model=best and --config=NAME both name a configuration; give one"),
        (["--model=best", "--config.model.widht=8"], "did you mean --config.model.width?"),
        (["--model=nothing"], "nothing does not exist, and no pretrained network has that name"),
        (["--model=temporary"], "temporary is not a run directory: it has no config.json"),
        (["--model=there"], "there is"),
        (["--data_dir=nowhere"], "nowhere"),
        (["--json=there"], "--json=there already exists"),
        (["--json=no/where"], "no is not a writable directory"),
        (
            ["--what=step", "--config=default", "--config.loss.perceptual_weights=no.npz"],
            "no.npz not found",
        ),
        (
            ["--what=loop", "--config=default", "--config.loss.perceptual_weights=no.npz"],
            "no.npz not found",
        ),
    ],
)
def test_invalid_flags_are_refused_before_anything_starts(flags, said, here, monkeypatch, capsys):
    monkeypatch.setattr(child, "run", lambda *_: pytest.fail("a measurement was started"))
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


def test_the_reduction_has_the_bytes_of_the_gradients(networks):
    spec = {
        "config": make_config(model__norm="none").to_dict(),
        "cpu": True,
        "replicas": 2,
        "precision": "float32",
        "xla": "off",
    }
    with graphs_as_they_are():
        found = comm.measure(spec | SHORT)
    # Each network's gradient, in whole rows, and a row with the losses.
    rows = sum(math.ceil(count / ROW) for count in networks.parameter_counts().values()) + 1
    assert found["bytes"] == 4 * ROW * rows
    assert min(found["bytes_per_second"]) > 0
    assert_plausible(found)


def test_input_is_measured(data):
    found = input.measure({"config": tiny.config(train__steps=1).to_dict(), "data_dir": str(data)} | SHORT)
    assert set(found) == {"pairs_per_second", "cpu_ms_per_pair", "cached_pairs_per_second"}
    assert len(found["pairs_per_second"]) == 2
    assert min(found["pairs_per_second"]) > 0
    assert_plausible(found)


def test_a_child_reports_its_error():
    with pytest.raises(UsageError, match=r"--cpu_replicas=0 must be 1 or more"):
        child.run(
            "comm",
            {"config": make_config().to_dict(), "cpu": True, "replicas": 0} | {"precision": "auto", "xla": "off"},
        )
    with pytest.raises(HazeHealError, match="measuring nothing failed: ModuleNotFoundError"):
        child.run("nothing", {"cpu": True})


STEP_KEYS = {
    *("precision", "xla", "replicas", "batch_size", "images_per_second", "step_seconds", "compile_seconds"),
    *("fed_images_per_second", "input_wait_share", "peak_memory_bytes", "flops_per_image"),
    *("ratio", "share_of_peak"),
}
LOOP_KEYS = {
    *("step_ms", "steps", "replicas", "batch_size", "wait_steps_per_second", "steps_per_second", "share_of_wait"),
    *("input_wait_share", "overhead_share"),
}
RESTORE_KEYS = {
    *("precision", "height", "width", "images_per_second", "peak_memory_bytes", "flops_per_image"),
    *("share_of_peak", "ratio"),
}


def benchmark(capsys, *flags):
    """(content of the JSON file, stdout) of `hazeheal benchmark FLAGS`."""
    assert main(["benchmark", *TOY, "--json=found.json", *flags, *OVERRIDES]) == 0, capsys.readouterr().err
    with open("found.json", encoding="utf-8") as file:
        return json.load(file), capsys.readouterr().out


def test_the_step_is_measured(data):
    config = tiny.config(train__steps=1, model__se_ratio=0.25, model__norm="none")
    spec = {"config": config.to_dict(), "cpu": True, "replicas": 2, "precision": "float32", "xla": "off"}
    with graphs_as_they_are():
        found = step.measure(spec | SHORT | {"data_dir": str(data)})
    assert set(found) == STEP_KEYS - {"precision", "xla", "replicas", "batch_size", "ratio", "share_of_peak"}
    assert max(found["input_wait_share"]) <= 1
    assert min(found["images_per_second"]) > 0 and min(found["peak_memory_bytes"]) > 2**20
    assert found["flops_per_image"] == step_flops(config)
    assert_plausible(found)


def test_restoring_is_measured_through_the_command(capsys):
    found, out = benchmark(capsys, "--what=restore", "--precision=float32", "--image=21x18")
    assert set(found) == {"schema", "begun", "command", "versions", "config", "device", "left_out", "restore"}
    (row,) = found["restore"]
    assert set(row) == RESTORE_KEYS
    assert row["flops_per_image"] == sum(generator_flops(4, 1, 18, 21).values())
    assert configs.from_dict(found["config"]).model.width == 4
    assert found["device"]["peak"]["float32"]["lowest"] > 0
    assert_plausible(found)
    for shown in ("images/s", "% of the peak", "GFLOP/s", "wrote found.json"):
        assert shown in out


@pytest.mark.slow
def test_a_pretrained_network_is_measured_in_place_of_a_configuration():
    flags = ["--json=found.json", "--what=restore", "--precision=float32", "--image=21x18", "--model=fast"]
    assert main(["benchmark", *TOY, *flags]) == 0
    with open("found.json", encoding="utf-8") as file:
        found = json.load(file)
    gan = DehazeGAN.from_pretrained("fast")
    assert found["config"]["model"] == gan.config.model.to_dict()
    (row,) = found["restore"]
    assert row["flops_per_image"] == flops.of_generator(gan.generator, height=18, width=21)


def test_a_model_has_the_configuration_that_it_was_trained_with(here):
    default = configs.load(["--config=default"])
    best = model_config.load("best", ["--config.train.batch_size=3"])
    stored = pretrained.load("best").metadata["config"]
    assert best.model == configs.from_dict(stored).model and best.optimizer.to_dict() == stored["optimizer"]
    assert best.train.batch_size == 3 != stored["train"]["batch_size"]
    run = checkpoints_made.write_run(here / "run", (5, 20.0), train__batch_size=6)
    for path in (run, run / "group_00/checkpoints/ckpt-00000005"):
        assert model_config.load(str(path), []) == configs.from_dict(json.loads((run / "config.json").read_text()))
    # A field that is newer than the run, and one that was removed.
    older = json.loads((run / "config.json").read_text())
    del older["data"]["cache"]
    older["loss"]["weighting"] = "balanced"
    (run / "config.json").write_text(json.dumps(older))
    loaded = model_config.load(str(run), [])
    assert loaded.data.cache == default.data.cache and "weighting" not in loaded.loss


@pytest.mark.usefixtures("restored_logger")
def test_a_whole_training_is_measured_whose_steps_wait(data, monkeypatch):
    config = tiny.config(train__steps=24, train__validate_every="never", samples__count=0)
    spec = {"config": config.to_dict(), "cpu": True, "replicas": 1, "precision": "float32", "xla": "off", "step_ms": 20}
    saved, save = [], Session.save
    monkeypatch.setattr(Session, "save", lambda self, step, **o: (saved.append(step), save(self, step, **o))[1])
    with graphs_as_they_are():
        found = loop.measure(spec | SHORT | {"data_dir": str(data)})
    assert set(found) == LOOP_KEYS - {"step_ms", "steps", "replicas", "batch_size"}
    assert_plausible(found)
    # No faster than the steps that wait, and slower because of what is between them.
    (speed,), (share,), (overhead,) = (found[k] for k in ("steps_per_second", "share_of_wait", "overhead_share"))
    assert 0 < speed <= 50 and 0 < overhead < 1
    assert share == pytest.approx(speed / max(found["wait_steps_per_second"]))
    assert saved[-1] == 24 and set(saved) <= {*range(4, 25, 4)}


def test_a_loop_that_waits_takes_the_batches_and_the_time_of_one_that_trains(runtime):
    numbers = tf.data.Dataset.range(1000).map(lambda i: {"number": i[tf.newaxis]})
    iterator = step.distributed_iterator(runtime, numbers)  # each of two replicas gets the next element
    train = loop.make_waiting_loop(runtime, seconds=0.01)
    for count, following in ((1, 2), (5, 14), (8, 32)):
        begin = time.perf_counter()
        metrics, waited = train(iterator, tf.constant(count))
        assert metrics.shape == (count, len(METRICS)) and metrics.dtype == tf.float32 and float(waited) >= 0
        assert time.perf_counter() - begin >= 0.01 * count
        assert not metrics[:, METRICS.index("skipped")].numpy().any()
        shares = runtime.strategy.experimental_local_results(next(iterator))
        assert [int(share["number"][0]) for share in shares] == [following, following + 1]


def test_a_loop_that_waits_fetches_the_next_batch_meanwhile_and_needs_no_python(runtime):
    numbers = tf.data.Dataset.range(9).map(lambda i: {"number": i[tf.newaxis]})
    iterator = step.distributed_iterator(runtime, numbers)
    train = loop.make_waiting_loop(runtime, seconds=0.01).train
    graph = train.get_concrete_function(iterator, next(iterator), tf.constant(3)).graph
    assert not {op.op for f in graph.as_graph_def().library.function for op in f.node_def} & {"PyFunc", "EagerPyFunc"}
    (repeat,) = [op for op in graph.get_operations() if op.type == "While"]
    body = graph._get_function(repeat.get_attr("body").name).graph
    fetches = [op for op in body.get_operations() if op.type == "IteratorGetNext"]
    assert len(fetches) == 3  # two replicas and the sleep
    for op in fetches:
        assert not ancestors(op) & {*fetches}


def ancestors(op):
    """The operations of a graph that must run before `op`."""
    found, pending = set(), [op]
    while pending:
        current = pending.pop()
        before = {*(t.op for t in current.inputs), *current.control_inputs} - found
        found |= before
        pending += before
    return found


@pytest.mark.slow
def test_everything_through_the_command(capsys):
    found, out = benchmark(capsys, "--replicas=1,2", "--pairs=20", "--xla=off", "--image=20x20")
    device = found["device"]
    assert len(found["step"]) == len(device["precisions"]) + 1
    assert all(set(row) - {"efficiency"} == STEP_KEYS for row in found["step"])
    assert [row["replicas"] for row in found["step"] if "efficiency" in row] == [2]
    assert [row["records"] for row in found["input"]] == ["keep", "jpeg"]
    assert [row["encoding"] for row in found["convert"]] == ["keep", "jpeg"]
    assert len(found["convert"][0]["seconds"]["values"]) == 1
    assert len(found["comm"][0]["seconds"]["values"]) == 2  # rounds
    assert found["comm"][0]["share_of_step"] > 0
    assert [set(row) for row in found["loop"]] == [LOOP_KEYS] * 2
    assert {row["steps"] for row in found["loop"]} == {plan.MIN_LOOP_STEPS}
    assert {row["precision"] for row in found["restore"]} == set(device["precisions"])
    assert_plausible(found)
    assert all(f"\n{kind}\n" in out for kind in plan.KINDS)


@pytest.mark.slow
def test_conversion_is_measured(here):
    convert.write_pairs(here / "images", pairs=18, size=24)
    found = convert.measure(here / "images", encoding="jpeg", pairs=18)
    assert found["pairs_per_second"] == pytest.approx([18 / found["seconds"][0]])
    assert_plausible(found)
    assert len(list((here / "images/hazy").iterdir())) == 18
