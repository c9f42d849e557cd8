"""DehazeTrainer resumes stopped runs bit for bit, and starts new runs from the networks of others."""

import csv
import json
import logging
import re
import signal
import threading
import time

import numpy as np
import pytest
import tiny
from disks import truncate
from machine import EPOCH_ENDS, EVERY, LOSSES, TOTAL, csv_rows, log_of, same_run

from hazeheal.data.pipeline import cache_builder
from hazeheal.data.pipeline.pixel_cache import cache_path, is_complete
from hazeheal.data.pipeline.sources import CacheSource, RecordSource
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.export import exporter, formats
from hazeheal.inference.gan import DehazeGAN
from hazeheal.models import pretrained
from hazeheal.runs import checkpoints
from hazeheal.runs.checkpoint_manager import CheckpointManager
from hazeheal.training.reports import reporter, tags
from hazeheal.training.restore import find_networks
from hazeheal.training.trainer import DehazeTrainer

VALIDATION = [*(f"val_{name}" for name in LOSSES), "val_psnr", "val_ssim"]
pytestmark = pytest.mark.usefixtures("restored_logger")


@pytest.mark.parametrize("stops", [[1], [7], [19], [2, 3, 13]])
def test_a_stopped_run_resumes_bit_for_bit(machine, whole_run, tmp_path, stops):
    done = 0
    for at in stops:
        done = machine.stopped(tmp_path, at, resumed_at=done)["steps"]
        assert tiny.steps(tmp_path)[-1] == done >= at
        assert f"stopped by SIGTERM at step {done}" in log_of(tmp_path)
    result = machine.run(tmp_path, resumed_at=done)
    assert result["complete"]
    assert f"resumed at step {done} from " in log_of(tmp_path)
    np.testing.assert_array_equal(np.array(machine.rows), whole_run[2][done:])
    same_run(tmp_path, whole_run[0])


@pytest.mark.parametrize("at", [10, 20, TOTAL])  # in an epoch, at the end of one, and of the run
def test_a_validation_that_a_signal_stops_is_repeated_when_the_run_resumes(
    machine, whole_run, tmp_path, monkeypatch, at
):
    validate = machine.trainer._validator.run

    def interrupted(**options):
        if machine.at < at:
            return validate(**options)
        assert not options["is_stopped"]()
        signal.raise_signal(signal.SIGTERM)
        assert options["is_stopped"]()
        return None

    monkeypatch.setattr(machine.trainer._validator, "run", interrupted)
    assert machine.run(tmp_path) == {"complete": False, "signal": "SIGTERM", "steps": at}
    checkpoint = checkpoints.checkpoint_path(tmp_path / "group_00/checkpoints", at)
    assert checkpoints.read_metrics(checkpoint) == {}
    monkeypatch.setattr(machine.trainer._validator, "run", validate)
    assert machine.run(tmp_path, resumed_at=at)["complete"]
    if at == TOTAL:  # the other one has been removed since
        assert checkpoints.read_metrics(checkpoint)["psnr"] > 0
    same_run(tmp_path, whole_run[0])


def test_a_crashed_run_resumes_from_its_last_checkpoint(machine, whole_run, tmp_path):
    def crash():
        raise RuntimeError("as good as killed")

    with pytest.raises(RuntimeError):
        machine.run(tmp_path, before={15: crash})
    # The row of step 14 and the scalars of step 15 are past the checkpoint of step 12.
    assert [int(row["step"]) for row in csv_rows(tmp_path)] == EPOCH_ENDS[:5]
    assert max(event[2] for event in tiny.events(tmp_path)) == 15
    machine.run(tmp_path, resumed_at=12)
    assert "resumed at step 12" in log_of(tmp_path)
    same_run(tmp_path, whole_run[0])
    with open(tmp_path / "group_00/training_log.set_aside.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["14"]


def test_a_run_that_version_0_1_began_with_other_tags_resumes_with_charts_for_both(
    machine, whole_run, tmp_path, monkeypatch
):
    with monkeypatch.context() as version_0_1:
        version_0_1.setattr(reporter, "tag", lambda name: name)
        version_0_1.setattr(tags, "tag", lambda name: name)
        version_0_1.setattr(tags, "pattern", lambda name: f"(val_)?{name}$")
        done = machine.stopped(tmp_path, 13)["steps"]
    machine.run(tmp_path, resumed_at=done)
    first = {e[1]: e[2] for e in tiny.events(tmp_path) if e[0] in ("train", "val") and "/" not in e[1]}
    assert {"gen_total_loss", "val_gen_l1_loss", "psnr"} <= first.keys() and max(first.values()) <= done
    # From there on, scalars, charts and the table are those of any run.
    later = [[e for e in tiny.timeless(run) if e[2] > done or e[0] == "summaries"] for run in (tmp_path, whole_run[0])]
    assert [e for e in later[0] if "session_start" not in e[1]] == [e for e in later[1] if "session_start" not in e[1]]
    assert len(list((tmp_path / "group_00/summaries").glob("events.out.set_aside.*"))) == 1
    with open(tmp_path / "group_00/training_log.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == EPOCH_ENDS


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(machine, whole_run, tmp_path):
    machine.stopped(tmp_path, 13)
    newest = tmp_path / f"group_00/checkpoints/ckpt-{machine.at:08d}"
    with open(newest / "state.data-00000-of-00001", "r+b") as file:
        file.truncate(1000)
    machine.run(tmp_path, resumed_at=12)
    text = log_of(tmp_path)
    assert f"{newest} is damaged (state.data-00000-of-00001 has 1000 bytes" in text
    assert "resumed at step 12" in text
    assert newest.with_name(newest.name + ".damaged").is_dir()
    same_run(tmp_path, whole_run[0])


@pytest.fixture
def decoding(machine, monkeypatch, tmp_path):
    """The machine with an empty directory of caches, which is returned."""
    for processor in (machine.trainer._data.train, machine.trainer._data.val):
        monkeypatch.setattr(processor, "_source", RecordSource(processor._records))
    directory = tmp_path / "caches"
    monkeypatch.setattr(machine.trainer._data, "_cache_directory", directory)
    return directory


def test_a_run_changes_to_the_cache_when_it_is_complete_and_gives_the_same(
    machine, whole_run, tmp_path, decoding, monkeypatch
):
    complete, write, sources = threading.Event(), cache_builder._write, []

    def write_later(path, processor, *, stop):
        assert complete.wait(600)
        return write(path, processor, stop=stop)

    def finish():
        sources.append(type(machine.trainer._data.train._source))
        complete.set()
        end = time.monotonic() + 600
        for split in (machine.trainer._data.train.split, machine.trainer._data.val.split):
            while not is_complete(cache_path(decoding, split), split):
                assert time.monotonic() < end
                time.sleep(0.01)

    monkeypatch.setattr(cache_builder, "_write", write_later)
    machine.run(tmp_path / "run", after={7: finish})
    assert [*sources, type(machine.trainer._data.train._source)] == [RecordSource, CacheSource]
    assert type(machine.trainer._data.val._source) is CacheSource
    assert "decoded them in" in log_of(tmp_path / "run")
    same_run(tmp_path / "run", whole_run[0])


def test_a_run_without_a_cache_gives_the_same(machine, whole_run, tmp_path, decoding, monkeypatch):
    monkeypatch.setattr(machine.trainer._data, "_cache_directory", None)
    machine.run(tmp_path / "run")
    assert type(machine.trainer._data.train._source) is RecordSource and not decoding.exists()
    assert "no cache of decoded images: " in log_of(tmp_path / "run")
    same_run(tmp_path / "run", whole_run[0])


def test_stopped_before_the_first_step(machine, whole_run, tmp_path):
    signal_at_once = {"samples__count": 2}
    original = machine.trainer.describe
    machine.trainer.describe = lambda: (signal.raise_signal(signal.SIGINT), original())[1]
    try:
        result = machine.run(tmp_path, **signal_at_once)
    finally:
        machine.trainer.describe = original
    assert result == {"complete": False, "signal": "SIGINT", "steps": 0}
    assert tiny.steps(tmp_path) == [0]
    machine.run(tmp_path)
    same_run(tmp_path, whole_run[0])  # the images of step 0 once


def test_a_complete_run_is_not_changed(machine, whole_run):
    run, result, _ = whole_run
    before = tiny.files(run)
    again = machine.run(run, profile__steps="2:4")
    assert again == result | {"complete": True, "signal": None}
    assert machine.rows == []
    after = tiny.files(run)
    assert [name for name in after if after[name] != before.get(name)] == ["group_00/log.txt"]
    assert after.keys() == before.keys()
    assert f"the run in {run} is complete (22 steps)" in log_of(run)


def test_a_complete_run_is_extended(machine, tmp_path):
    long = {
        "train__validate_every": "never",
        "train__sample_every": "never",
        "train__save_every": "100 steps",
    }
    machine.run(tmp_path / "straight", **long | {"train__steps": 17})
    machine.run(tmp_path / "longer", **long | {"train__steps": 12})
    old = (tmp_path / "longer/config.json").read_bytes()
    result = machine.run(tmp_path / "longer", resumed_at=12, **long | {"train__steps": 17})
    assert result["steps"] == json.loads((tmp_path / "longer/result.json").read_text())["steps"] == 17
    assert (tmp_path / "longer/config.before-step-12.json").read_bytes() == old
    assert json.loads((tmp_path / "longer/config.json").read_text())["train"]["steps"] == 17
    assert "the configuration has changed: train.steps: 12 -> 17" in log_of(tmp_path / "longer")
    assert tiny.tensors(tmp_path / "straight", 17) == tiny.tensors(tmp_path / "longer", 17)
    logs = [csv_rows(r) for r in (tmp_path / "straight", tmp_path / "longer")]
    # The shorter run was validated at its end, in the epoch that ends at step 14.
    for name in VALIDATION:
        assert logs[0][4].pop(name) == "NA" != logs[1][4].pop(name)
    assert logs[0] == logs[1]


def test_killed_between_the_last_checkpoint_and_the_result(machine, tmp_path):
    short = {"train__steps": 6, "train__sample_every": "never"}
    result = machine.run(tmp_path, **short)
    for content in (None, "", json.dumps({"steps": 3, "psnr": 1.0})):  # none, torn, of a shorter run
        path = tmp_path / "result.json"
        path.unlink() if content is None else path.write_text(content)
        again = machine.run(tmp_path, resumed_at=6, **short)
        assert machine.rows == []
        assert again == result
        assert json.loads(path.read_text())["psnr"] == result["psnr"]


@pytest.mark.parametrize("place", ["", "group_00/checkpoints"])
def test_fine_tuning_starts_at_step_0_with_the_moving_average_and_the_discriminator(
    machine, whole_run, runtime, tmp_path, data, place
):
    source = whole_run[0] / place
    config = tiny.config(**EVERY | {"train__steps": 100, "samples__count": 0, "seed": 5})
    trainer = DehazeTrainer(config, data_dir=data, workdir=tmp_path, runtime=runtime, restore_from=source)
    describe = trainer.describe
    trainer.describe = lambda: (signal.raise_signal(signal.SIGTERM), describe())[1]
    own = trainer.state.snapshot()
    assert trainer.train() == {"complete": False, "signal": "SIGTERM", "steps": 0}
    taken = checkpoints.read_variables(tmp_path / "group_00/checkpoints/ckpt-00000000")
    best = checkpoints.read_variables(checkpoints.find_checkpoint(whole_run[0] / "group_00/checkpoints", which="best"))
    assert taken["step"] == taken["updates"] == 0
    changed = 0
    for name, value in taken.items():
        if name.startswith(("generator/", "ema/")):
            expected = best[f"ema/{name.removeprefix('ema/')}"]
        else:
            expected = best[name] if name.startswith("discriminator/") else own[name]
        np.testing.assert_array_equal(value, expected, err_msg=name)
        changed += not np.array_equal(value, own[name])
    assert changed > 20
    assert re.search(r"networks loaded from .*, the generator from its moving average\n", log_of(tmp_path))
    # Going on, it is not needed any more.
    DehazeTrainer(config, data_dir=data, workdir=tmp_path, runtime=runtime, restore_from=tmp_path / "gone")


def test_fine_tuning_from_a_run_without_an_average(machine, whole_run, tmp_path):
    values = checkpoints.read_variables(checkpoints.find_checkpoint(whole_run[0] / "group_00/checkpoints"))
    values = {name: value for name, value in values.items() if not name.startswith("ema/")}
    source = CheckpointManager(tmp_path / "source", keep=1, log=logging.getLogger("test"))
    source.save(values, step=5)
    source.close()
    machine.stopped(tmp_path / "run", 1, restore_from=checkpoints.resolve_checkpoint(tmp_path / "source"))
    taken = checkpoints.read_variables(checkpoints.find_checkpoint(tmp_path / "run/group_00/checkpoints"))
    name = "generator/head/kernel"
    assert name in values
    # A step of training later the average is still near the networks that were taken, not near new ones.
    np.testing.assert_allclose(taken[f"ema/{name}"], values[name], atol=1e-2)
    assert np.abs(values[name] - machine.initial[f"ema/{name}"]).max() > 0


def test_restore_from_nothing_is_refused(runtime, tmp_path, data):
    with pytest.raises(HazeHealError, match=r"--restore_from=.*none has no intact checkpoint"):
        DehazeTrainer(
            tiny.config(**EVERY),
            data_dir=data,
            workdir=tmp_path / "run",
            runtime=runtime,
            restore_from=tmp_path / "none",
        )


def test_fine_tuning_from_a_file_of_weights(machine, whole_run, tmp_path, monkeypatch):
    gan, name = DehazeGAN.from_run(whole_run[0]), "generator/head/kernel"
    kernel = gan.generator.get_layer("head").kernel
    kernel.assign(kernel + np.random.default_rng(0).normal(0, 0.1, kernel.shape))
    formats.write_weights(gan, tmp_path / "shipped/best.npz", exporter.describe(gan))
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "shipped")
    path = find_networks("best", config=tiny.config(**EVERY))
    assert path == find_networks(tmp_path / "shipped/best.npz", config=tiny.config(**EVERY))
    done = machine.stopped(tmp_path / "run", 1, restore_from=path)["steps"]
    saved = checkpoints.find_checkpoint(tmp_path / "run/group_00/checkpoints")
    taken = checkpoints.read_variables(saved)
    # A few steps of training later they, and their average, are still near what was taken, not near new ones.
    for found in (taken[name], taken[f"ema/{name}"]):
        np.testing.assert_allclose(found, kernel, atol=1e-2)
    assert np.abs(np.asarray(kernel) - machine.initial[name]).max() > 0.1
    assert re.search(
        r"networks loaded from .*/best\.npz \(\d+ variables keep their initial values\)",
        log_of(tmp_path / "run"),
    )
    noted = checkpoints.read_progress(saved)["started_from"]
    assert noted["weights"] == str(path) and noted["sha256"] == pretrained.load("best").metadata["sha256"]
    # A resumed run and its exports name the weights too.
    machine.stopped(tmp_path / "run", done + 1, resumed_at=done)
    later = DehazeGAN.from_run(tmp_path / "run", which="newest")
    assert checkpoints.checkpoint_step(later.checkpoint) > done
    assert exporter.describe(later)["started_from"] == noted | {"weights": path.name}


def test_weights_of_another_model_are_refused_before_anything_is_built(whole_run, runtime, tmp_path, data, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    gan, path = DehazeGAN.from_run(whole_run[0]), tmp_path / "mine.npz"
    formats.write_weights(gan, path, exporter.describe(gan))
    for fields, said in (
        (
            {"model__output": "scattering"},
            "has model.output=residual, but the configuration has scattering",
        ),
        ({"model__width": 8}, "has model.width=4, but the configuration has 8"),
    ):
        config = tiny.config(**EVERY | fields)
        with pytest.raises(UsageError, match=f"--restore_from={path} {said}"):
            DehazeTrainer(config, data_dir=data, workdir=tmp_path / "run", runtime=runtime, restore_from=path)
    assert find_networks(path, config=tiny.config(**EVERY | {"model__disc_width": 8})) == path
    truncate(path)
    with pytest.raises(HazeHealError, match=f"--restore_from={path}: {path} is not a weights file"):
        find_networks(path, config=tiny.config(**EVERY))
    with pytest.raises(HazeHealError, match="--restore_from=best: the network 'best' is not in this"):
        find_networks("best", config=tiny.config(**EVERY))
