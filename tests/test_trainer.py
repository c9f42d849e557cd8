"""DehazeTrainer: whole runs in this process, on two replicas, small enough to take seconds.

Building the compiled functions takes most of a small run's time, so the runs here share one trainer, set
back to its initial weights and pointed at another directory (`Machine`). Processes of their own are in
test_train_command.py.
"""

import csv
import json
import logging
import math
import re
import resource
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
import tiny

from hazeheal import config as configs
from hazeheal import records
from hazeheal.data.processor import DehazeDataProcessor
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.models.gan import DehazeGAN
from hazeheal.training import checkpoint, distribute, step
from hazeheal.training.run_dir import RunDirectory
from hazeheal.training.trainer import DehazeTrainer

pytestmark = pytest.mark.usefixtures("restored_logger")

TOTAL = 22
EPOCH_ENDS = [3, 6, 9, 11, 14, 17, 20, 22]  # ceil(11 e / 4)
EVERY = {"train__validate_every": "10 steps", "train__sample_every": "16 steps", "train__steps": TOTAL}
LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")
KEYS = [
    "psnr_input",
    "psnr",
    "ssim_input",
    "ssim",
    "steps",
    "images_per_second",
    "replicas",
    "precision",
    "xla",
]


@pytest.fixture(scope="module")
def runtime():
    return distribute.choose(cpu_replicas=2, precision="float32", xla="off")


@pytest.fixture(scope="module", autouse=True)
def unoptimised():
    """Without TensorFlow's optimisation of the graph, which takes longer than everything else here.

    The processes of test_train_command.py have it.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


class Machine:
    """One trainer for many runs.

    Attributes:
        rows: The metrics of every step of the last run, in order.
        seconds: What the calls of the loop in the last run took.
    """

    def __init__(self, data, runtime, workdir):
        self.trainer = DehazeTrainer(tiny.config(**EVERY), data_dir=data, workdir=workdir, runtime=runtime)
        self.initial = self.trainer.state.snapshot()
        loop = self.trainer._loop

        def recorded(iterator, count):
            for action in self.before.pop(self.at, []):
                action()
            begin = time.perf_counter()
            rows, waited = loop(iterator, count)
            rows = rows.numpy()
            self.seconds.append(time.perf_counter() - begin)
            self.rows.extend(rows)
            self.at += len(rows)
            for number in [n for n in self.after if n <= self.at]:
                for action in self.after.pop(number):
                    action()
            return tf.constant(rows), waited

        self.trainer._loop = recorded

    def run(self, workdir, *, resumed_at=0, before=(), after=(), restore_from=None, **overrides):
        """Trains in `workdir` with overrides that do not change what is compiled.

        `before` and `after`: {step: action}, called before the loop goes on at that step, or when it is
        done (`after`: or is past it).
        """
        trainer = self.trainer
        trainer.state.load(self.initial, source="the test")
        trainer.config = tiny.config(**EVERY | overrides)
        trainer.total_steps = trainer.config.train.steps
        trainer._directory = RunDirectory(workdir)
        trainer._restore_from = restore_from
        self.rows, self.seconds, self.at = [], [], resumed_at
        self.before = {n: [action] for n, action in dict(before).items()}
        self.after = {n: [action] for n, action in dict(after).items()}
        return trainer.train()

    def stopped(self, workdir, at, number=signal.SIGTERM, **options):
        """Trains until the loop has passed step `at` and stops by a signal."""
        result = self.run(workdir, after={at: lambda: signal.raise_signal(number)}, **options)
        assert result == {"complete": False, "signal": signal.Signals(number).name, "steps": self.at}
        return result


@pytest.fixture(scope="module")
def machine(data, runtime, tmp_path_factory):
    return Machine(data, runtime, tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def unbroken(machine, tmp_path_factory):
    """(directory, result, metrics of every step) of a run that was not stopped."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    result = machine.run(run, profile__steps="2:4")
    return run, result, np.array(machine.rows)


def csv_rows(run):
    with open(run / "group_00/training_log.csv", newline="") as file:
        return list(csv.DictReader(file))


def log_of(run):
    return (run / "group_00/log.txt").read_text()


def same_run(run, other, *, step=TOTAL):
    """Asserts that two runs left the same: log, final checkpoint, what TensorBoard shows, figures."""
    for name in ("training_log.csv", f"samples/step_{step:08d}.png"):
        assert (run / "group_00" / name).read_bytes() == (other / "group_00" / name).read_bytes()
    assert tiny.tensors(run, step) == tiny.tensors(other, step)
    # The text of the configuration names the profile that one of them wrote.
    ours, theirs = ([e for e in tiny.timeless(r) if e[1] != "config"] for r in (run, other))
    assert [e[:3] for e in ours] == [e[:3] for e in theirs]
    assert ours == theirs
    figures = [json.loads((r / "result.json").read_text()) for r in (run, other)]
    for result in figures:
        result.pop("images_per_second")
    assert figures[0] == figures[1]


def test_result_holds_exactly_what_it_should(unbroken):
    run, result, _ = unbroken
    assert result.pop("complete") is True
    assert result.pop("signal") is None
    assert json.loads((run / "result.json").read_text()) == result
    assert list(result) == KEYS
    fixed = {"steps": TOTAL, "replicas": 2, "precision": "float32", "xla": False}
    assert {key: result[key] for key in fixed} == fixed
    assert all(0 < result[key] <= 1 for key in ("ssim", "ssim_input"))
    assert 5 < result["psnr_input"] < 40
    assert result["psnr"] != result["psnr_input"]
    assert result["images_per_second"] > 0


def test_the_input_psnr_is_that_of_the_pictures(unbroken, data):
    pairs = DehazeDataProcessor(data, split="val", batch_size=1).evaluation_dataset().as_numpy_iterator()
    values = [
        10 * math.log10(255**2 / np.mean((p["hazy"].astype(np.float64) - p["clear"].astype(np.float64)) ** 2))
        for p in pairs
    ]
    assert len(values) == 3
    assert math.isclose(unbroken[1]["psnr_input"], np.mean(values), rel_tol=1e-9)


def test_layout(unbroken):
    patterns = [
        *("config.json", "result.json", r"group_00/\.lock", "group_00/log.txt", "group_00/training_log.csv"),
        *(rf"group_00/samples/step_{n:08d}\.png" for n in (0, 16, 22)),
        r"group_00/summaries/train/events\.out\.tfevents\..*",
        r"group_00/summaries/val/events\.out\.tfevents\..*",
        r"group_00/summaries/train/plugins/profile/[0-9_]+/.*",
        r"group_00/checkpoints/ckpt-\d{8}/(manifest\.json|state\.index|state\.data-00000-of-00001)",
    ]
    names = list(tiny.files(unbroken[0]))
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    assert [n for n in names if not any(re.fullmatch(p, n) for p in patterns)] == []


def test_a_profile_of_the_chosen_steps_was_written(unbroken):
    profile = [n for n in tiny.files(unbroken[0]) if "/train/plugins/profile/" in n]
    assert any(name.endswith(".xplane.pb") for name in profile)
    assert "profile of steps 2 to 4 written to" in log_of(unbroken[0])


def test_the_newest_checkpoints_and_the_best_are_there(unbroken):
    run = unbroken[0]
    present = tiny.steps(run)
    folder = run / "group_00/checkpoints"
    scores = {s: checkpoint.score(checkpoint.path_of(folder, s)) for s in present}
    # Every 4 steps, at the end, and where a validation was the best so far.
    validations = {e[2]: e[3] for e in tiny.events(run) if e[:2] == ("val", "psnr")}
    best = max(validations, key=validations.get)
    assert best in present
    assert scores[best] == pytest.approx(validations[best])
    saved = {s for s in range(1, TOTAL + 1) if s % 4 == 0 or s == TOTAL}
    saved |= {s for s in validations if all(validations[s] > validations[t] for t in validations if t < s)}
    assert set(present) == {best, *sorted(saved)[-3:]}


def test_one_row_an_epoch_with_the_mean_over_exactly_its_steps(unbroken):
    run, _, rows = unbroken
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
        assert (row["val_psnr"] != "NA") == (last in (20, 22))  # where a validation fell on the epoch's end
    validation = {
        e[1]: e[3] for e in tiny.events(run) if e[0] == "val" and e[2] == 22 and type(e[3]) is float
    }
    for name in LOSSES:
        assert float(written[-1][f"val_{name}"]) == pytest.approx(validation[f"val_{name}"], rel=1e-6)
    assert float(written[-1]["val_psnr"]) == unbroken[1]["psnr"]
    assert float(written[-1]["val_ssim"]) == unbroken[1]["ssim"]


def test_the_total_is_the_weighted_sum(unbroken):
    for row in csv_rows(unbroken[0]):
        parts = float(row["gen_gan_loss"]) + 150 * float(row["gen_l1_loss"])
        assert float(row["gen_total_loss"]) == pytest.approx(parts, rel=1e-6)


def test_tensorboard_shows_everything_once(unbroken):
    run, _, rows = unbroken
    events = tiny.events(run)
    places = [e[:3] for e in events]
    assert len(places) == len(set(places))
    shown = {}
    for split, tag, at, _ in events:
        shown.setdefault((split, tag), []).append(at)
    logs = [5, 10, 15, 20, 22]
    for tag in (*LOSSES, "learning_rate", "gen_grad_norm", "disc_grad_norm", "loss_scale", "skipped_steps"):
        assert shown.pop(("train", tag)) == logs, tag
    for tag in tiny.OF_THE_CLOCK:
        assert shown.pop(("train", tag)) == logs, tag
    for tag in (*(f"val_{name}" for name in LOSSES), "psnr", "ssim", "psnr_input", "ssim_input"):
        assert shown.pop(("val", tag)) == [10, 20, 22], tag
    for number in (0, 1):
        assert shown.pop(("val", f"hazy_restored_clear/{number:02d}")) == [0, 16, 22]
    assert shown.pop(("train", "config")) == [0]
    assert shown == {}
    values = {e[1]: e[3] for e in events if e[0] == "train" and e[2] == 10}
    for name in (*LOSSES, "gen_grad_norm", "disc_grad_norm", "learning_rate", "loss_scale"):
        mean = rows[5:10, step.METRICS.index(name)].astype(np.float64).mean()
        assert values[name] == pytest.approx(mean, rel=1e-6), name
    assert values["gen_grad_norm"] > 0
    assert values["disc_grad_norm"] > 0
    assert 0 <= values["input_wait_share"] <= 1


def test_the_configuration_is_shown_as_text(unbroken):
    run = unbroken[0]
    ((_, _, _, (text,)),) = [e for e in tiny.events(run) if e[1] == "config"]
    config = configs.from_dict(json.loads((run / "config.json").read_text()))
    assert configs.flat(config)["profile.steps"] == "2:4"
    for key, value in configs.flat(config).items():
        assert f"| `{key}` | " in text.decode()
        assert str(value) in text.decode()


def test_the_log_tells_what_was_decided(unbroken):
    text = log_of(unbroken[0])
    for part in (
        "2 replicas on CPU:0, CPU:1; precision float32 (as configured); XLA off (as configured)",
        "generator 1,",
        "perceptual loss off",
        "11 training, 3 validation pairs",
        "22 steps of 4 pictures (8 epochs)",
        "step 10: validation PSNR ",
    ):
        assert part in text, part


def test_the_run_is_repeated_bit_for_bit(machine, unbroken, tmp_path):
    machine.run(tmp_path)
    same_run(tmp_path, unbroken[0])


@pytest.mark.parametrize("stops", [[1], [7], [19], [2, 3, 13]])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(machine, unbroken, tmp_path, stops):
    done = 0
    for at in stops:
        done = machine.stopped(tmp_path, at, resumed_at=done)["steps"]
        assert tiny.steps(tmp_path)[-1] == done >= at
        assert f"stopped by SIGTERM at step {done}" in log_of(tmp_path)
    result = machine.run(tmp_path, resumed_at=done)
    assert result["complete"]
    assert f"resumed at step {done} from " in log_of(tmp_path)
    np.testing.assert_array_equal(np.array(machine.rows), unbroken[2][done:])
    same_run(tmp_path, unbroken[0])


def test_a_run_that_crashed_goes_on_from_its_last_checkpoint(machine, unbroken, tmp_path):
    def crash():
        raise RuntimeError("as good as killed")

    with pytest.raises(RuntimeError):
        machine.run(tmp_path, before={15: crash})
    # The row of step 14 and the scalars of step 15 are past the checkpoint of step 12.
    assert [int(row["step"]) for row in csv_rows(tmp_path)] == EPOCH_ENDS[:5]
    assert max(event[2] for event in tiny.events(tmp_path)) == 15
    machine.run(tmp_path, resumed_at=12)
    assert "resumed at step 12" in log_of(tmp_path)
    same_run(tmp_path, unbroken[0])
    with open(tmp_path / "group_00/training_log.set_aside.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["14"]


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(machine, unbroken, tmp_path):
    machine.stopped(tmp_path, 13)
    newest = tmp_path / f"group_00/checkpoints/ckpt-{machine.at:08d}"
    with open(newest / "state.data-00000-of-00001", "r+b") as file:
        file.truncate(1000)
    machine.run(tmp_path, resumed_at=12)
    text = log_of(tmp_path)
    assert f"{newest} is damaged (state.data-00000-of-00001 has 1000 bytes" in text
    assert "resumed at step 12" in text
    assert newest.with_name(newest.name + ".damaged").is_dir()
    same_run(tmp_path, unbroken[0])


def test_stopped_before_the_first_step(machine, unbroken, tmp_path):
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
    same_run(tmp_path, unbroken[0])  # the pictures of step 0 once


def test_a_complete_run_is_left_alone(machine, unbroken):
    run, result, _ = unbroken
    before = tiny.files(run)
    again = machine.run(run, profile__steps="2:4")
    assert again == result | {"complete": True, "signal": None}
    assert machine.rows == []
    after = tiny.files(run)
    assert [name for name in after if after[name] != before.get(name)] == ["group_00/log.txt"]
    assert after.keys() == before.keys()
    assert f"the run in {run} is complete (22 steps)" in log_of(run)


def test_a_complete_run_is_made_longer(machine, tmp_path):
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
    logs = [
        (r / "group_00/training_log.csv").read_bytes() for r in (tmp_path / "straight", tmp_path / "longer")
    ]
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


def test_without_validation(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(machine.trainer, "_val_data", None)
    monkeypatch.setattr(machine.trainer, "_validator", None)
    result = machine.run(tmp_path, train__steps=9, data__val_split="")
    assert {key: result[key] for key in KEYS[:4]} == dict.fromkeys(KEYS[:4])
    assert {row["val_psnr"] for row in csv_rows(tmp_path)} == {"NA"}
    assert {e[1] for e in tiny.events(tmp_path) if e[0] == "val"} == {
        "hazy_restored_clear/00",
        "hazy_restored_clear/01",
    }
    assert tiny.steps(tmp_path) == [4, 8, 9]
    assert checkpoint.find(tmp_path / "group_00/checkpoints", which="best").name == "ckpt-00000009"
    assert "no validation pairs" in log_of(tmp_path)


def test_the_best_checkpoint_stays_when_later_validations_are_worse(machine, tmp_path, monkeypatch, data):
    psnrs, validate = iter([10.0, 30.0, 20.0]), machine.trainer._validator.run
    monkeypatch.setattr(machine.trainer._validator, "run", lambda: validate() | {"psnr": next(psnrs)})
    machine.run(tmp_path, train__keep=1, train__save_every="never")
    assert tiny.steps(tmp_path) == [20, 22]
    folder = tmp_path / "group_00/checkpoints"
    best = checkpoint.find(folder, which="best")
    assert best.name == "ckpt-00000020"
    assert checkpoint.metrics(best)["psnr"] == 30.0

    # from_run restores what the trainer shows at that step: the average's weights.
    trainer = machine.trainer
    pictures = DehazeDataProcessor(data, split="val", batch_size=1).evaluation_dataset()
    hazy = [row["hazy"] for row in pictures.as_numpy_iterator()]
    newest = [trainer._restore(picture) for picture in hazy]
    trainer.state.load(checkpoint.read(best), source=best)
    wanted = [trainer._restore(picture) for picture in hazy]
    for average, variable in zip(trainer.state.ema, trainer.state.trainable["generator"], strict=True):
        average.assign(variable)
    raw = [trainer._restore(picture) for picture in hazy]
    gan = DehazeGAN.from_run(tmp_path)
    assert all(np.array_equal(gan.restore(h), w) for h, w in zip(hazy, wanted, strict=True))
    gan = DehazeGAN.from_run(tmp_path, which="newest")
    assert all(np.array_equal(gan.restore(h), w) for h, w in zip(hazy, newest, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(wanted, newest, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(wanted, raw, strict=True))


@pytest.mark.parametrize("place", ["", "group_00/checkpoints"])
def test_fine_tuning_begins_at_step_0_with_the_networks(machine, unbroken, runtime, tmp_path, data, place):
    source = unbroken[0] / place
    config = tiny.config(**EVERY | {"train__steps": 100, "samples__count": 0, "seed": 5})
    trainer = DehazeTrainer(config, data_dir=data, workdir=tmp_path, runtime=runtime, restore_from=source)
    describe = trainer.describe
    trainer.describe = lambda: (signal.raise_signal(signal.SIGTERM), describe())[1]
    own = trainer.state.snapshot()
    assert trainer.train() == {"complete": False, "signal": "SIGTERM", "steps": 0}
    taken = checkpoint.read(tmp_path / "group_00/checkpoints/ckpt-00000000")
    best = checkpoint.read(checkpoint.find(unbroken[0] / "group_00/checkpoints", which="best"))
    assert taken["step"] == taken["updates"] == 0
    changed = 0
    for name, value in taken.items():
        network = name.split("/")[0] in ("generator", "discriminator", "ema")
        np.testing.assert_array_equal(value, best[name] if network else own[name], err_msg=name)
        changed += not np.array_equal(value, own[name])
    assert changed > 20
    assert "networks taken from" in log_of(tmp_path)
    # Going on, it is not needed any more.
    DehazeTrainer(config, data_dir=data, workdir=tmp_path, runtime=runtime, restore_from=tmp_path / "gone")


def test_fine_tuning_from_a_run_without_an_average(machine, unbroken, tmp_path):
    values = checkpoint.read(checkpoint.find(unbroken[0] / "group_00/checkpoints"))
    values = {name: value for name, value in values.items() if not name.startswith("ema/")}
    source = checkpoint.Checkpoints(tmp_path / "source", keep=1, log=logging.getLogger("test"))
    source.save(values, step=5)
    source.close()
    machine.stopped(tmp_path / "run", 1, restore_from=checkpoint.resolve(tmp_path / "source"))
    taken = checkpoint.read(checkpoint.find(tmp_path / "run/group_00/checkpoints"))
    name = "generator/head/kernel"
    assert name in values
    # A step of training later the average is still near the networks that were taken, not near new ones.
    np.testing.assert_allclose(taken[f"ema/{name}"], values[name], atol=1e-2)
    assert np.abs(values[name] - machine.initial[f"ema/{name}"]).max() > 0


def test_restore_from_nothing_is_refused(runtime, tmp_path, data):
    with pytest.raises(HazeHealError, match=r"--restore_from=.*none: no whole checkpoint there"):
        DehazeTrainer(
            tiny.config(**EVERY),
            data_dir=data,
            workdir=tmp_path / "run",
            runtime=runtime,
            restore_from=tmp_path / "none",
        )


@pytest.fixture
def building_fails(monkeypatch):
    """Everything must be refused before a network is built."""

    def built(*_, **__):
        raise AssertionError("a network was built before the input was checked")

    monkeypatch.setattr("hazeheal.training.trainer.DehazeGAN", built)


def refusal(kind, config, **options):
    with pytest.raises(kind) as caught:
        DehazeTrainer(config, **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_data_set_is_refused(building_fails, unbroken, runtime, tmp_path_factory):
    other = tiny.data_set(tmp_path_factory.getbasetemp(), name="other", seed=1)
    before = tiny.files(unbroken[0])
    message = refusal(UsageError, tiny.config(**EVERY), data_dir=other, workdir=unbroken[0], runtime=runtime)
    assert f"--data_dir={other} is not the data set that the run in {unbroken[0]} was trained on" in message
    assert f"--restore_from={unbroken[0]}" in message
    assert tiny.files(unbroken[0]) == before


def test_a_directory_in_use_is_refused(building_fails, runtime, data, tmp_path):
    with RunDirectory(tmp_path).locked():
        message = refusal(
            HazeHealError, tiny.config(**EVERY), data_dir=data, workdir=tmp_path, runtime=runtime
        )
    assert f"--workdir={tmp_path} is in use by process " in message


def test_bad_input_is_refused_before_anything_is_built(building_fails, runtime, data, tmp_path):
    def message(kind, *, where=data, **overrides):
        config = tiny.config(**EVERY | overrides)
        return refusal(kind, config, data_dir=where, workdir=tmp_path / "run", runtime=runtime)

    assert "train.batch_size=5 does not divide over 2 replicas; use 4 or 6" in message(
        UsageError, train__batch_size=5
    )
    assert "--config.data.crop_size=41 is larger than the smallest picture, 40x40 pixels: " in message(
        UsageError, data__crop_size=41
    )
    weights = {"loss__perceptual_weight": 0.005, "loss__perceptual_weights": str(tmp_path / "no.npz")}
    assert f"perceptual weights {tmp_path / 'no.npz'} not found" in message(UsageError, **weights)
    assert "manifest.json does not exist" in message(DataError, where=tmp_path)
    assert "has no split 'test'" in message(DataError, data__val_split="test")
    locked = tiny.config(**EVERY)
    with locked.unlocked():
        locked.train.batch_size = 0
    assert "batch_size=0 is too small" in refusal(
        UsageError, locked, data_dir=data, workdir=tmp_path / "run", runtime=runtime
    )
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").touch()
    assert "cannot be written: " in refusal(
        HazeHealError, tiny.config(**EVERY), data_dir=data, workdir=tmp_path / "file", runtime=runtime
    )


def test_damaged_shards_are_refused(building_fails, runtime, data, tmp_path):
    copy = tiny.damage_record(data, tmp_path / "copy", split="train")
    shard = records.open_split(copy, "train").shards[0]
    with open(shard, "ab") as file:
        file.write(b"x")
    options = {"data_dir": copy, "workdir": tmp_path / "run", "runtime": runtime}
    assert f"shard {shard} has " in refusal(DataError, tiny.config(**EVERY), **options)
    shard.unlink()
    assert f"shard {shard} is missing" in refusal(DataError, tiny.config(**EVERY), **options)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_record_is_named(machine, data, tmp_path, monkeypatch, split):
    copy = tiny.damage_record(data, tmp_path / "copy", split=split)
    options = {"crop_size": 16, "num_replicas": 2} if split == "train" else {}
    processor = DehazeDataProcessor(copy, split=split, batch_size=4, **options)
    if split == "train":
        monkeypatch.setattr(machine.trainer, "_data", processor)
    else:
        monkeypatch.setattr(machine.trainer, "_val_data", processor)
        monkeypatch.setattr(machine.trainer._validator, "_processor", processor)
    with pytest.raises(DataError) as caught:
        machine.run(tmp_path / "run", samples__count=0)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("damaged record: ")
    assert f"record 1 (number 1 of split {split}), key " in message
    assert tiny.steps(tmp_path / "run") == ([] if split == "train" else [4, 8])
    if split == "val":
        with pytest.raises(DataError, match="damaged record"):
            machine.run(tmp_path / "samples")


def spoil(machine):
    """From now on no step is finite, until a checkpoint is restored."""
    variable = machine.trainer.state.trainable["generator"][0]
    return lambda: variable.assign(tf.fill(variable.shape, math.nan))


NOT_FINITE = {"optimizer__max_skipped": 4, "train__validate_every": "never"}


def test_steps_that_are_not_finite_send_the_run_back_once(machine, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    result = machine.run(run, before={6: spoil(machine)}, **NOT_FINITE)
    assert result["complete"]
    message = "4 steps in a row were not finite (up to step 10): back to step 4, with half the learning rate"
    assert message in log_of(run)
    # As a run whose rates were halved at step 4, and that never saw the others.
    halve = machine.trainer.state.rate_factor.assign
    machine.run(other, before={4: lambda: halve(0.5)}, **NOT_FINITE)
    same_run(run, other)
    rates = {e[2]: e[3] for e in tiny.events(run) if e[1] == "learning_rate"}
    assert rates[22] == pytest.approx(0.5e-3)
    with open(run / "group_00/training_log.set_aside.csv", newline="") as file:
        rows = [
            (row["step"], row["skipped_steps"], row["gen_l1_loss"] == "NA") for row in csv.DictReader(file)
        ]
    assert rows == [("6", "0", False), ("9", "3", True)]
    assert (run / "group_00/checkpoints/ckpt-00000008.set_aside").is_dir()


def test_steps_that_are_not_finite_again_end_the_run(machine, tmp_path):
    with pytest.raises(HazeHealError) as caught:
        machine.run(tmp_path, before={6: spoil(machine), 12: spoil(machine)}, **NOT_FINITE)
    assert re.match(
        r"4 steps in a row were not finite \(up to step 10\), again after going back with half the learning rate; "
        r"the last checkpoint is whole; lower --config.optimizer.learning_rate",
        str(caught.value),
    )
    folder = tmp_path / "group_00/checkpoints"
    assert checkpoint.read(checkpoint.path_of(folder, 4))["updates"] == 4
    assert all(checkpoint.damage(checkpoint.path_of(folder, s)) is None for s in tiny.steps(tmp_path))


def test_steps_that_are_not_finite_from_the_start_end_the_run(machine, tmp_path):
    with pytest.raises(
        HazeHealError, match=r"4 steps in a row .* and no checkpoint is from before them; lower"
    ):
        machine.run(tmp_path, before={0: spoil(machine)}, **NOT_FINITE)


def test_too_little_memory_is_one_line(machine, tmp_path):
    def exhausted():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\ntensor")

    with pytest.raises(
        HazeHealError, match=r"^out of memory on CPU:0, CPU:1; lower --config.train.batch_size.*"
    ):
        machine.run(tmp_path, before={3: exhausted})


def test_an_error_of_another_kind_is_not_disguised(machine, tmp_path):
    def broken():
        raise tf.errors.InternalError(None, None, "a bug")

    with pytest.raises(tf.errors.InternalError, match="a bug"):
        machine.run(tmp_path, before={3: broken})


def test_a_checkpoint_that_cannot_be_written(machine, unbroken, tmp_path, monkeypatch):
    save = tf.raw_ops.SaveV2

    def full(**options):
        if b"ckpt-00000008" in options["prefix"].encode():
            raise OSError(28, "No space left on device")
        save(**options)

    monkeypatch.setattr(tf.raw_ops, "SaveV2", full)
    machine.run(tmp_path)
    assert "checkpoint of step 8 could not be written: [Errno 28] No space left on device" in log_of(tmp_path)
    same_run(tmp_path, unbroken[0])


def test_the_end_of_a_run_that_cannot_be_saved_is_an_error(machine, tmp_path, monkeypatch):
    write = checkpoint.Checkpoints._write

    def full(self, snapshot, step, *rest):
        return step < 9 and write(self, snapshot, step, *rest)

    monkeypatch.setattr(checkpoint.Checkpoints, "_write", full)
    with pytest.raises(
        HazeHealError, match=r"step 9 could not be saved in .*; make room, and the same command"
    ):
        machine.run(tmp_path, train__steps=9)
    assert not (tmp_path / "result.json").exists()
    assert tiny.steps(tmp_path) == [4, 8]
    monkeypatch.setattr(checkpoint.Checkpoints, "_write", write)
    assert machine.run(tmp_path, resumed_at=8, train__steps=9)["complete"]


def test_a_full_disk_costs_nothing_that_was_saved(machine, unbroken, tmp_path):
    """From step 9 on no file can grow past 20 kB; then there is room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        assert machine.trainer._session.checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))

    try:
        with pytest.raises(HazeHealError, match=r"step 22 could not be saved in .*; make room"):
            machine.run(tmp_path, before={9: fill})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tiny.steps(tmp_path) == [4, 8]
    assert not (tmp_path / "result.json").exists()
    text = log_of(tmp_path)
    for part in (
        "checkpoint of step 12 could",
        "TensorBoard summaries in",
        "the sample sheet",
        "training goes on",
    ):
        assert part in text, part
    machine.run(tmp_path, resumed_at=8)
    assert "damaged" not in log_of(tmp_path)
    same_run(tmp_path, unbroken[0])


def test_what_is_saved_is_a_copy(machine, unbroken, tmp_path, monkeypatch):
    """Every write is held until the run has gone on: it must hold the weights of its own step."""
    write = checkpoint.Checkpoints._write

    def slow(*args):
        time.sleep(0.3)
        return write(*args)

    monkeypatch.setattr(checkpoint.Checkpoints, "_write", slow)
    machine.run(tmp_path, train__validate_every="never", train__sample_every="never")
    for number in tiny.steps(tmp_path):
        assert tiny.tensors(tmp_path, number) == tiny.tensors(unbroken[0], number)


def test_rates_are_those_of_the_loop_alone(machine, tmp_path, monkeypatch):
    validate = machine.trainer._validator.run
    monkeypatch.setattr(machine.trainer._validator, "run", lambda: (time.sleep(0.5), validate())[1])
    # The first call of each process is left out: it compiles.
    first = machine.stopped(tmp_path, 12)["steps"] - 3
    seconds = machine.seconds[1:]
    result = machine.run(tmp_path, resumed_at=first + 3)
    later = TOTAL - (first + 3) - min(3, 14 - (first + 3))  # to the end of an epoch at step 14
    seconds += machine.seconds[1:]
    clock = checkpoint.progress(checkpoint.find(tmp_path / "group_00/checkpoints"))["clock"]
    assert clock["steps"] == first + later
    assert result["images_per_second"] == (first + later) * 4 / clock["seconds"]
    assert sum(seconds) <= clock["seconds"] < sum(seconds) + 0.4  # validation alone took 1.5 seconds
    shown = [e[3] for e in tiny.events(tmp_path) if e[1] == "step_seconds"]
    assert max(shown) < max(seconds) + 0.2


def test_batch_statistics_on_several_replicas_are_warned_of(runtime, data, tmp_path):
    config = tiny.config(**EVERY | {"model__norm": "batch", "samples__count": 0})
    trainer = DehazeTrainer(config, data_dir=data, workdir=tmp_path, runtime=runtime)
    describe = trainer.describe
    trainer.describe = lambda: (signal.raise_signal(signal.SIGTERM), describe())[1]
    trainer.train()
    assert "--config.model.norm=batch has statistics of its own on each of 2 replicas" in log_of(tmp_path)
