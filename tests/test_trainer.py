"""DehazeTrainer: complete runs in this process, on two replicas, and all files that they write.

Stops and restarts are in test_trainer_resume.py, invalid input and faults in test_trainer_faults.py.
"""

import json
import math
import re
import threading
import time

import numpy as np
import pytest
import tiny
from machine import EPOCH_ENDS, KEYS, LOSSES, TOTAL, csv_rows, log_of, same_run
from trainings import graphs_as_they_are
from validations import restore_with

from hazeheal import config as configs
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.inference.gan import DehazeGAN
from hazeheal.runs import checkpoints
from hazeheal.runs.checkpoint_manager import CheckpointManager
from hazeheal.training.reports import tags
from hazeheal.training.step import step

pytestmark = pytest.mark.usefixtures("restored_logger")


def test_result_json_has_exactly_its_documented_entries(whole_run):
    run, result, _ = whole_run
    assert result.pop("complete") is True
    assert result.pop("signal") is None
    assert json.loads((run / "result.json").read_text()) == result
    assert list(result) == KEYS
    fixed = {"steps": TOTAL, "replicas": 2, "precision": "float32", "xla": False}
    assert {key: result[key] for key in fixed} == fixed
    assert all(0 < result[key] <= 1 for key in ("ssim", "ssim_input"))
    assert 5 < result["psnr_input"] < 40
    assert result["psnr"] != result["psnr_input"]
    assert result["images_per_second"] >= result["images_per_second_wall"] > 0
    assert 0 <= result["input_wait_share"] <= 1 and 0 <= result["overhead_share"] < 1


def test_the_input_psnr_is_that_of_the_images(whole_run, data):
    pairs = DehazeDataProcessor(data, split="val", batch_size=1).evaluation_dataset().as_numpy_iterator()
    values = [
        10 * math.log10(255**2 / np.mean((p["hazy"].astype(np.float64) - p["clear"].astype(np.float64)) ** 2))
        for p in pairs
    ]
    assert len(values) == 3
    assert math.isclose(whole_run[1]["psnr_input"], np.mean(values), rel_tol=1e-9)


def test_layout(whole_run):
    patterns = [
        *(
            "config.json",
            "result.json",
            "status.json",
            r"group_00/\.lock",
            "group_00/log.txt",
            "group_00/training_log.csv",
        ),
        *(rf"group_00/samples/step_{n:08d}\.png" for n in (0, 16, 22)),
        r"group_00/summaries/(train/)?events\.out\.tfevents\..*",
        r"group_00/summaries/val/events\.out\.tfevents\..*",
        r"group_00/summaries/train/plugins/profile/[0-9_]+/.*",
        r"group_00/checkpoints/ckpt-\d{8}/(manifest\.json|state\.index|state\.data-00000-of-00001)",
    ]
    names = list(tiny.files(whole_run[0]))
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    assert [n for n in names if not any(re.fullmatch(p, n) for p in patterns)] == []


def test_a_profile_of_the_chosen_steps_was_written(whole_run):
    profile = [n for n in tiny.files(whole_run[0]) if "/train/plugins/profile/" in n]
    assert any(name.endswith(".xplane.pb") for name in profile)
    assert "profile of steps 2 to 4 written to" in log_of(whole_run[0])


def test_the_newest_checkpoints_and_the_best_one_are_kept(whole_run):
    run = whole_run[0]
    present = tiny.steps(run)
    folder = run / "group_00/checkpoints"
    scores = {s: checkpoints.validation_psnr(checkpoints.checkpoint_path(folder, s)) for s in present}
    # Every 4 steps, at the end, and where a validation was the best so far.
    validations = {e[2]: e[3] for e in tiny.events(run) if e[:2] == ("val", "quality/psnr")}
    best = max(validations, key=validations.get)
    assert best in present
    assert scores[best] == pytest.approx(validations[best])
    saved = {s for s in range(1, TOTAL + 1) if s % 4 == 0 or s == TOTAL}
    saved |= {s for s in validations if all(validations[s] > validations[t] for t in validations if t < s)}
    assert set(present) == {best, *sorted(saved)[-3:]}


def test_each_epoch_has_one_row_with_the_means_over_its_steps(whole_run):
    run, _, rows = whole_run
    written = csv_rows(run)
    assert len(rows) == TOTAL
    assert [int(row["epoch"]) for row in written] == list(range(8))
    assert [int(row["step"]) for row in written] == EPOCH_ENDS
    assert [int(row["images"]) for row in written] == [4 * s for s in EPOCH_ENDS]
    assert {row["skipped_steps"] for row in written} == {"0"}
    for first, last, row in zip([0, *EPOCH_ENDS], EPOCH_ENDS, written, strict=False):
        means = rows[first:last].astype(np.float64).sum(0) / (last - first)
        for name in (*LOSSES, "learning_rate"):
            assert float(row[name]) == pytest.approx(means[step.METRICS.index(name)], rel=1e-12), name
        assert (row["val_psnr"] != "NA") == (last in (11, 20, 22))  # validated at steps 10, 20 and 22
    shown = {e[1:3]: e[3] for e in tiny.events(run) if e[0] == "val" and type(e[3]) is float}
    for row, validated in ((written[3], 10), (written[6], 20), (written[7], 22)):
        for name in LOSSES:
            assert float(row[f"val_{name}"]) == pytest.approx(shown[f"loss/{name}", validated], rel=1e-6)
        assert float(row["val_psnr"]) == pytest.approx(shown["quality/psnr", validated], rel=1e-6)
    assert float(written[-1]["val_psnr"]) == whole_run[1]["psnr"]
    assert float(written[-1]["val_ssim"]) == whole_run[1]["ssim"]


def test_the_total_is_the_weighted_sum(whole_run):
    for row in csv_rows(whole_run[0]):
        parts = float(row["gen_gan_loss"]) + 150 * float(row["gen_l1_loss"])
        assert float(row["gen_total_loss"]) == pytest.approx(parts, rel=1e-6)


def test_tensorboard_shows_everything_once(whole_run):
    run, _, rows = whole_run
    events = tiny.events(run)
    places = [e[:3] for e in events]
    assert len(places) == len(set(places))
    shown = {}
    for split, tag, at, _ in events:
        shown.setdefault((split, tag), []).append(at)
    logs = [5, 10, 15, 20, 22]
    health = ("learning_rate", "gen_grad_norm", "disc_grad_norm", "loss_scale", "skipped_steps")
    for tag in (*(f"loss/{name}" for name in LOSSES), *(f"health/{name}" for name in health)):
        assert shown.pop(("train", tag)) == logs, tag
    for tag in tiny.OF_THE_CLOCK:
        assert shown.pop(("train", tag)) == logs, tag
    quality = ("psnr", "ssim", "psnr_input", "ssim_input")
    for tag in (*(f"loss/{name}" for name in LOSSES), *(f"quality/{name}" for name in quality)):
        assert shown.pop(("val", tag)) == [10, 20, 22], tag
    for number in (0, 1):
        assert shown.pop(("val", f"hazy_restored_clear/{number:02d}")) == [0, 16, 22]
    assert shown.pop(("train", "config")) == [0]
    for tag in ("custom_scalars__config__", "_hparams_/experiment", "_hparams_/session_start_info"):
        assert shown.pop(("summaries", tag)) == [0]
    assert shown == {}
    values = {e[1]: e[3] for e in events if e[0] == "train" and e[2] == 10}
    for name in (*LOSSES, "gen_grad_norm", "disc_grad_norm", "learning_rate", "loss_scale"):
        mean = rows[5:10, step.METRICS.index(name)].astype(np.float64).mean()
        assert values[tags.tag(name)] == pytest.approx(mean, rel=1e-6), name
    assert values["health/gen_grad_norm"] > 0
    assert values["health/disc_grad_norm"] > 0
    assert 0 <= values["speed/input_wait_share"] <= 1


def test_the_configuration_is_shown_as_text(whole_run):
    run = whole_run[0]
    ((_, _, _, (text,)),) = [e for e in tiny.events(run) if e[1] == "config"]
    config = configs.from_dict(json.loads((run / "config.json").read_text()))
    assert configs.flat(config)["profile.steps"] == "2:4"
    for key, value in configs.flat(config).items():
        assert f"    {key} = {value!r}" in text.decode().splitlines()


def test_the_log_contains_the_settings_of_the_run(whole_run):
    text = log_of(whole_run[0])
    for part in (
        "2 replicas on CPU:0, CPU:1; precision float32 (as configured); XLA off (as configured)",
        "generator 1,",
        "perceptual loss off",
        "11 training, 3 validation pairs",
        "22 steps of 4 images (8 epochs)",
        "step 10: validation PSNR ",
    ):
        assert part in text, part


def test_the_run_is_repeated_bit_for_bit(machine, whole_run, tmp_path):
    machine.run(tmp_path)
    same_run(tmp_path, whole_run[0])


def test_without_validation(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(machine.trainer._data, "val", None)
    monkeypatch.setattr(machine.trainer, "_validator", None)
    result = machine.run(tmp_path, train__steps=9, data__val_split="")
    assert {key: result[key] for key in KEYS[:4]} == dict.fromkeys(KEYS[:4])
    assert {row["val_psnr"] for row in csv_rows(tmp_path)} == {"NA"}
    assert {e[1] for e in tiny.events(tmp_path) if e[0] == "val"} == {
        "hazy_restored_clear/00",
        "hazy_restored_clear/01",
    }
    assert tiny.steps(tmp_path) == [4, 8, 9]
    assert checkpoints.find_checkpoint(tmp_path / "group_00/checkpoints", which="best").name == "ckpt-00000009"
    assert "no validation pairs" in log_of(tmp_path)


def test_the_best_checkpoint_is_kept_when_later_validations_are_worse(machine, tmp_path, monkeypatch, data):
    psnrs, validate = iter([10.0, 30.0, 20.0]), machine.trainer._validator.run
    monkeypatch.setattr(
        machine.trainer._validator, "run", lambda **options: validate(**options) | {"psnr": next(psnrs)}
    )
    machine.run(tmp_path, train__keep=1, train__save_every="never")
    assert tiny.steps(tmp_path) == [20, 22]
    folder = tmp_path / "group_00/checkpoints"
    best = checkpoints.find_checkpoint(folder, which="best")
    assert best.name == "ckpt-00000020"
    assert checkpoints.read_metrics(best)["psnr"] == 30.0

    # from_run restores what the trainer shows at that step: the average's weights.
    with graphs_as_they_are():
        trainer = machine.trainer
        restore = restore_with(trainer, trainer.config)
        images = DehazeDataProcessor(data, split="val", batch_size=1).evaluation_dataset()
        hazy = [row["hazy"] for row in images.as_numpy_iterator()]
        newest = [restore(image) for image in hazy]
        trainer.state.load(checkpoints.read_variables(best), source=best)
        wanted = [restore(image) for image in hazy]
        trainer.state.ema.assign(trainer.state.parameters["generator"])
        raw = [restore(image) for image in hazy]
        gan = DehazeGAN.from_run(tmp_path)
        assert all(np.array_equal(gan.restore(h), w) for h, w in zip(hazy, wanted, strict=True))
        gan = DehazeGAN.from_run(tmp_path, which="newest")
        assert all(np.array_equal(gan.restore(h), w) for h, w in zip(hazy, newest, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(wanted, newest, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(wanted, raw, strict=True))


def test_a_checkpoint_has_the_weights_of_its_own_step(machine, whole_run, tmp_path, monkeypatch):
    """The write is delayed until the run has continued."""
    continued, write = threading.Event(), CheckpointManager._write
    monkeypatch.setattr(CheckpointManager, "_write", lambda *args: continued.wait(60) and write(*args))
    options = {"train__save_every": "16 steps", "train__validate_every": "never", "train__sample_every": "never"}
    machine.run(tmp_path, after={19: continued.set}, waits_for_writes=False, **options)
    assert tiny.steps(tmp_path) == [16, TOTAL]
    for number in tiny.steps(tmp_path):
        assert tiny.tensors(tmp_path, number) == tiny.tensors(whole_run[0], number)


def test_rates_are_those_of_the_loop_alone(machine, tmp_path, monkeypatch):
    validate = machine.trainer._validator.run
    monkeypatch.setattr(machine.trainer._validator, "run", lambda **options: (time.sleep(0.5), validate(**options))[1])
    # The first call of each process is left out: it compiles.
    first = machine.stopped(tmp_path, 12)["steps"] - 3
    seconds = machine.seconds[1:]
    result = machine.run(tmp_path, resumed_at=first + 3)
    later = TOTAL - (first + 3) - 3
    seconds += machine.seconds[1:]
    clock = checkpoints.read_progress(checkpoints.find_checkpoint(tmp_path / "group_00/checkpoints"))["clock"]
    assert clock["steps"] == first + later
    assert result["images_per_second"] == (first + later) * 4 / clock["seconds"]
    # Two of the three validations are between the first and the last step.
    whole = clock["seconds"] + clock["outside"]
    assert clock["outside"] >= 1.0
    assert result["overhead_share"] == clock["outside"] / whole
    assert result["images_per_second_wall"] == (first + later) * 4 / whole
    assert sum(seconds) <= clock["seconds"] < sum(seconds) + 0.4  # validation alone took 1.5 seconds
    shown = [e[3] for e in tiny.events(tmp_path) if e[1] == "speed/step_seconds"]
    assert max(shown) < max(seconds) + 0.2
