"""Configurations: splitting arguments, overriding, checking and converting; each refusal is one line."""

import json
import math
import sys

import processes
import pytest
from configuring import SHIPPED, changing, load
from ml_collections import ConfigDict
from refusals import refusal

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.errors import HazeHealError, UsageError


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_load(name):
    config = load(name=name)
    assert config.is_locked
    assert configs.flat(config).keys() == configs.flat(load()).keys()


def test_the_default_has_the_hyperparameters_of_the_original():
    fields = configs.flat(load())
    wanted = {
        "data.crop_size": 256,
        "train.batch_size": 4,
        "train.epochs": 200.0,
        "loss.l1_weight": 150.0,
        "loss.perceptual_weight": 0.005,
        "optimizer.learning_rate": 2e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.999,
    }
    assert {key: fields[key] for key in wanted} == wanted


def test_the_default_names_every_field_that_is_checked():
    assert configs.FIELDS.keys() == configs.flat(load()).keys()


@pytest.mark.parametrize(
    "argv",
    [
        ["--config=rice", "--config.train.steps=3", "--workdir=w"],
        ["--config", "rice", "--workdir=w", "--config.train.steps", "3"],
        ["-config=rice", "--workdir=w", "-config.train.steps", "3"],
    ],
)
def test_both_spellings_are_split_off(argv):
    assert configs.split_argv(argv) == (["--config=rice", "--config.train.steps=3"], ["--workdir=w"])


def test_similar_flags_are_not_split_off():
    argv = ["--configs=a", "--configuration", "b", "--no_config=c", "config=d", "--gpus=0"]
    assert configs.split_argv(argv) == ([], argv)


def test_values_may_contain_equal_signs_spaces_and_minus_signs():
    argv = ["--config.a=b=c d", "--config.seed", "-1"]
    assert configs.split_argv(argv) == (["--config.a=b=c d", "--config.seed=-1"], [])


@pytest.mark.parametrize("argv", [["--config"], ["--config.train.steps"], ["--config", "--dry_run"]])
def test_a_missing_value_is_refused(argv):
    assert f"{argv[0]} needs a value" in refusal(UsageError, configs.split_argv, argv)


@pytest.mark.parametrize("count", [0, 2])
def test_the_configuration_is_named_exactly_once(count):
    message = refusal(UsageError, configs.load, ["--config=default"] * count + ["--config.seed=1"])
    assert f"exactly once (it was given {count} times)" in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.stepz=3", "no field 'train.stepz'; did you mean --config.train.steps?"),
        ("trian.steps=3", "no field 'trian.steps'; did you mean --config.train.steps?"),
        ("nothing=3", "no field 'nothing'; --dry_run prints all"),
        ("train=3", "no field 'train'"),
        ("=3", "no field ''"),
        ("train.steps=abc", "--config.train.steps=abc is not an integer"),
        ("train.steps=1.5", "--config.train.steps=1.5 is not an integer"),
        ("train.steps=", "--config.train.steps= is not an integer"),
        ("train.batch_size=true", "--config.train.batch_size=true is not an integer"),
        ("loss.l1_weight=much", "--config.loss.l1_weight=much is not a number"),
        ("data.flip=maybe", "--config.data.flip=maybe is not true or false"),
        ("loss.l1_weight=nan", "--config.loss.l1_weight=nan is not a finite number"),
        ("train.epochs=inf", "--config.train.epochs=inf is not a finite number"),
        ("loss.l1_weight=-1", "--config.loss.l1_weight=-1.0 is too small; it must be 0.0 or more"),
        ("seed=-1", "--config.seed=-1 is too small"),
        (f"seed={2**63}", "is too large; it must be 9223372036854775807 or less"),
        ("optimizer.beta2=1", "--config.optimizer.beta2=1.0 is too large"),
        ("loss.haze_share=1.5", "--config.loss.haze_share=1.5 is too large; it must be 1.0 or less"),
        ("loss.charbonnier_eps=0", "--config.loss.charbonnier_eps=0.0 is too small"),
        ("train.batch_size=0", "--config.train.batch_size=0 is too small; it must be 1 or more"),
        ("model.norm=lyer", "--config.model.norm=lyer is not valid; use one of none, layer"),
        ("train.precision=float16", "use one of auto, float32, mixed_bfloat16, mixed_float16"),
        ("data.train_split=", "--config.data.train_split is empty"),
        ("train.save_every=5 dogs", "--config.train.save_every: '5 dogs' is not an interval; use 'N steps'"),
        ("train.log_every=5", "--config.train.log_every: '5' is not an interval"),
        ("train.log_every=-1 minutes", "'-1 minutes' is not an interval; use 'N steps', 'N epochs', 'N minutes' or"),
        ("train.log_every=5 seconds", "--config.train.log_every: '5 seconds' is not an interval"),
        ("optimizer.warmup=-5 steps", "--config.optimizer.warmup: '-5 steps' is not an interval"),
        (
            "optimizer.warmup=5 minutes",
            "--config.optimizer.warmup: '5 minutes' is in minutes; use 'N steps', 'N epochs' or 'never'",
        ),
        ("profile.steps=9", "--config.profile.steps='9' is not a range of steps; use FIRST:LAST"),
        ("profile.steps=9:9", "is not a range of steps"),
        ("profile.steps=9:2", "is not a range of steps"),
        (f"profile.steps=1:{'9' * 5000}", "is not a range of steps"),
        (f"train.steps={'9' * 400}", f"--config.train.steps={'9' * 60}... is too large"),
        (f"train.log_every={'9' * 5000} steps", "is not an interval"),
        ("model.depth=10000000000", "--config.model.depth=10000000000 is too large; it must be 12 or less"),
        ("train.steps=5", "epochs=200 and --config.train.steps=5: exactly one of them"),
        ("train.epochs=0", "epochs=0 and --config.train.steps=0: exactly one of them"),
        (
            "data.crop_size=63",
            "crop_size=63 is too small for --config.model.depth=5 and --config.model.patch_size=1; use 64 or more",
        ),
        ("model.width=33", "--config.model.width=33 is odd"),
        (
            "data.fresh_haze.share=1.5",
            "--config.data.fresh_haze.share=1.5 must be in [0.0, 1.0]",
        ),
        ("data.fresh_haze.kind=fog", "fresh_haze.kind=fog is not known; use one of ground, aerial, mixed"),
        (
            "data.fresh_haze.density_min=0",
            "--config.data.fresh_haze.density_min=0.0 must be in [1e-06, 100.0]",
        ),
        (
            "data.fresh_haze.density_min=2",
            "--config.data.fresh_haze.density_min=2.0 is larger than fresh_haze.density_max=1.2",
        ),
        ("data.fresh_haze.airlight_max=0.4", "airlight_min=0.5 is larger than"),
        ("data.fresh_haze.jpeg_quality_max=59", "jpeg_quality_min=60 is larger than"),
        ("data.fresh_haze.jpeg_quality_max=101", "jpeg_quality_max=101 must be in [1, 100]"),
        ("data.fresh_haze.noise=1.5", "noise=1.5 must be in [0.0, 1.0]"),
        ("data.fresh_haze.noise=nan", "noise=nan must be in [0.0, 1.0]"),
        (
            f"data.fresh_haze.jpeg_quality_min={'9' * 400}",
            f"jpeg_quality_min={'9' * 60}... must be in [1, 100]",
        ),
    ],
)
def test_a_wrong_override_is_refused(override, said):
    assert said in refusal(UsageError, load, override)


def test_shares_of_fresh_haze_that_add_up_to_more_than_one_are_refused():
    shares = [f"data.fresh_haze.{name}" for name in ("share=0.9", "share_clear=0.2")]
    message = refusal(UsageError, load, *shares)
    assert "--config.data.fresh_haze.share=0.9 and fresh_haze.share_clear=0.2 add up to more than 1" in message
    load(shares[0], "data.fresh_haze.share_clear=0.1")


def test_the_last_of_two_overrides_is_used():
    assert load("train.steps=3", "train.epochs=0", "train.steps=7").train.steps == 7


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.epochs=3", "train.epochs", 3.0),
        ("train.epochs=0.25", "train.epochs", 0.25),
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate", 1e-3),
        ("loss.l1_weight=0", "loss.l1_weight", 0.0),
        ("train.batch_size=16", "train.batch_size", 16),
        ("data.flip=false", "data.flip", False),
        ("data.rot90=True", "data.rot90", True),
        ("train.save_every=2 epochs", "train.save_every", "2 epochs"),
        ("data.val_split=", "data.val_split", ""),
        ("model.norm=none", "model.norm", "none"),
        ("loss.perceptual_weights=a/b c.npz", "loss.perceptual_weights", "a/b c.npz"),
        ("profile.steps=2:4", "profile.steps", "2:4"),
    ],
)
def test_overrides_take_the_type_of_the_field(override, key, value):
    found = configs.flat(load(override))[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("key", "value"), [("train.batch_size", "8"), ("train.batch_size", 8.0), ("seed", True)])
def test_check_refuses_wrong_types_from_python(key, value):
    fields = load().to_dict()
    place = fields
    for part in key.split(".")[:-1]:
        place = place[part]
    place[key.split(".")[-1]] = value
    assert f"--config.{key}={value!r} is not an integer" in refusal(
        UsageError, configs.check, configs.from_dict(fields)
    )


def test_json_round_trip():
    config = load("loss.l1_weight=0.1", "optimizer.learning_rate=1e-7", "data.val_split=", "seed=123456789012")
    back = configs.from_dict(json.loads(configs.to_json(config)))
    assert configs.flat(back) == configs.flat(config)
    assert [type(v) for v in configs.flat(back).values()] == [type(v) for v in configs.flat(config).values()]
    assert back.is_locked
    configs.check(back)


def test_a_removed_field_is_refused_with_its_replacement(tmp_path):
    said = "this field was removed; set the fixed weights loss.gan_weight and loss.perceptual_weight"
    for override in ("loss.weighting=balanced", "loss.weighting=fixed", "loss.balanced_gan_share=0.1"):
        assert refusal(UsageError, load, override) == f"--config.{override}: {said}"
    path = tmp_path / "mine.py"
    path.write_text(changing("config.loss.weighting = 'balanced'"))
    assert refusal(UsageError, load, name=path) == f"--config.loss.weighting: {said}"


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("model.norm=batch", "use none or layer"),
        ("model.norm=instance", "use none or layer"),
        ("model.norm=group", "use none or layer"),
        ("model.output=direct", "use residual or scattering"),
    ],
)
def test_a_removed_value_is_refused_with_its_replacement(override, advice):
    assert refusal(UsageError, load, override) == f"--config.{override} was removed; {advice}"


def test_a_stored_configuration_loads_without_its_removed_fields():
    fields = load().to_dict()
    removed = {"weighting": "balanced", "balanced_gan_share": 0.05, "balanced_perceptual_share": 0.2}
    config = configs.from_dict(fields | {"loss": fields["loss"] | removed})
    assert config.to_dict() == fields
    configs.check(config)
    config_fields.check_model_fields(config, source="config.json")


def test_a_stored_configuration_gets_the_fields_that_were_added_since():
    fields = load("model.width=6").to_dict()
    older = {name: value for name, value in fields["model"].items() if name not in config_fields.ADDED_MODEL_FIELDS}
    assert older.keys() < fields["model"].keys()
    config = configs.from_dict(fields | {"model": older})
    assert config.model.to_dict() == fields["model"]
    config_fields.check_model_fields(config, source="config.json")
    other = configs.from_dict(fields | {"model": fields["model"] | {"bins": 4}})
    assert other.model.bins == 4


def test_stored_networks_of_a_removed_value_are_refused():
    fields = load().to_dict()
    config = configs.from_dict(fields | {"model": fields["model"] | {"norm": "batch"}})
    message = refusal(HazeHealError, config_fields.check_model_fields, config, source="runs/a/config.json")
    assert message.startswith("runs/a/config.json: model.norm=batch was removed; ")
    assert message.endswith("use none or layer")


def test_flat_names_nested_fields_in_alphabetical_order():
    config = ConfigDict({"b": 1, "a": {"z": 2, "y": {"x": 3}}})
    assert list(configs.flat(config).items()) == [("a.y.x", 3), ("a.z", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("batch", "accumulate", "replicas", "said"),
    [
        (5, 1, 2, "--config.train.batch_size=5 does not divide over 2 replicas; use 4 or 6"),
        (1, 1, 2, "--config.train.batch_size=1 does not divide over 2 replicas; use 2"),
        (6, 2, 2, "does not divide over 2 replicas times 2 micro-batches; use 4 or 8"),
        (3, 2, 1, "does not divide over 1 replica times 2 micro-batches; use 2 or 4"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(batch, accumulate, replicas, said):
    config = load(f"train.batch_size={batch}", f"optimizer.accumulate={accumulate}")
    assert said in refusal(UsageError, configs.check_batch, config, replicas=replicas)


@pytest.mark.parametrize(("batch", "accumulate", "replicas"), [(4, 1, 1), (4, 1, 2), (8, 2, 4), (5, 1, 5)])
def test_a_batch_that_divides_is_taken(batch, accumulate, replicas):
    config = load(f"train.batch_size={batch}", f"optimizer.accumulate={accumulate}")
    assert configs.check_batch(config, replicas=replicas) is None


def test_profile_steps():
    assert config_fields.profile_steps(load()) is None
    assert config_fields.profile_steps(load("profile.steps=2:14")) == (2, 14)


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("never", 0, "step"),
        ("50 steps", 50, "step"),
        ("1 step", 1, "step"),
        ("1 epoch", 1, "epoch"),
        ("0.25 epochs", 0.25, "epoch"),
        (" 3epochs ", 3, "epoch"),
    ],
)
def test_parse_interval(text, number, unit):
    assert config_fields.parse_interval(text) == (number, unit)


@pytest.mark.parametrize("text", ["", "5", "steps", "-1 steps", "1e3 steps", "nan epochs", "5 stepss", "never 5"])
def test_parse_interval_refuses(text):
    assert repr(text) in refusal(UsageError, config_fields.parse_interval, text)


def test_loading_does_not_import_tensorflow():
    code = (
        "import sys\nfrom hazeheal import config\n"
        f"for name in {SHIPPED!r}:\n    config.load([f'--config={{name}}', '--config.seed=1'])\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert processes.run_python(code) == (0, "[]\n", "")


def test_loading_leaves_the_processes_own_arguments_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--config=nothing", "--config.seed=5", "--help"])
    assert load("seed=6").seed == 6
    assert math.isclose(load().optimizer.learning_rate, 2e-4)
