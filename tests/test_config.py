"""Configurations: how they are found, overridden, converted and refused, each refusal in one line."""

import json
import math
import subprocess
import sys

import pytest
from ml_collections import ConfigDict
from places import ROOT

from hazeheal import config as configs
from hazeheal.errors import EXIT_USAGE, UsageError

SHIPPED = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def load(*overrides, name="default"):
    return configs.load([f"--config={name}", *(f"--config.{o}" for o in overrides)])


def refusal(action, *args, **options):
    """The message with which `action` refuses, which must be one line."""
    with pytest.raises(UsageError) as caught:
        action(*args, **options)
    message = str(caught.value)
    assert caught.value.exit_code == EXIT_USAGE == 2
    assert message.strip()
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current directory with a `configs/` of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    return tmp_path / "configs"


def changing(*lines):
    """Source of a configuration that changes the default."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"from hazeheal.configs import default\n\n\ndef get_config():\n    config = default.get_config()\n{body}    return config\n"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_load(name):
    config = load(name=name)
    assert config.is_locked
    assert configs.flat(config).keys() == configs.flat(load()).keys()


def test_the_default_has_the_originals_hyper_parameters():
    fields = configs.flat(load())
    wanted = {
        "data.crop_size": 256,
        "train.batch_size": 4,
        "train.epochs": 200.0,
        "train.sample_every": "10 epochs",
        "loss.l1_weight": 150.0,
        "loss.perceptual_weight": 0.005,
        "optimizer.learning_rate": 2e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.999,
    }
    assert {key: fields[key] for key in wanted} == wanted


def test_the_default_names_every_field_that_is_checked():
    kinds = {*configs.CHOICES, *configs.AT_LEAST, *configs.INTERVALS, *configs.TEXTS, *configs.FLAGS}
    assert kinds == set(configs.flat(load()))
    assert set(configs.AT_MOST) <= set(configs.AT_LEAST)


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


def test_what_only_begins_alike_is_left_alone():
    argv = ["--configs=a", "--configuration", "b", "--no_config=c", "config=d", "--gpus=0"]
    assert configs.split_argv(argv) == ([], argv)


def test_values_with_equal_signs_blanks_and_signs_are_kept():
    argv = ["--config.a=b=c d", "--config.seed", "-1"]
    assert configs.split_argv(argv) == (["--config.a=b=c d", "--config.seed=-1"], [])


@pytest.mark.parametrize("argv", [["--config"], ["--config.train.steps"], ["--config", "--dry_run"]])
def test_a_missing_value_is_refused(argv):
    assert f"{argv[0]} needs a value" in refusal(configs.split_argv, argv)


def test_a_bare_name_is_looked_up_here_before_among_the_shipped(folder):
    assert configs.find("rice1").resolve() == ROOT / "configs" / "rice1.py"
    (folder / "rice1.py").write_text(changing("config.seed = 7"))
    assert configs.find("rice1").resolve() == folder / "rice1.py"
    assert load(name="rice1").seed == 7


def test_a_path_is_taken_as_it_is(folder):
    (folder / "mine.py").write_text(changing("config.seed = 8"))
    (folder.parent / "other.py").write_text(changing("config.seed = 9"))
    assert load(name="configs/mine.py").seed == 8
    assert load(name="other.py").seed == 9
    assert load(name=str(folder / "mine.py")).seed == 8


def test_shipped_names_are_found_from_anywhere(folder):
    assert load(name="quickstart").train.steps == 400


@pytest.mark.parametrize("name", ["nothing", "configs/nothing.py", "nothing.py", "configs", "configs/", ""])
def test_a_name_that_means_no_file_is_refused(folder, name):
    (folder / "notes.txt").write_text("no Python")
    assert refusal(load, name=name).startswith(f"--config={name}: there is no such")


def test_a_file_that_is_no_python_is_refused(folder):
    (folder / "notes.txt").write_text("no Python")
    assert "no such Python file" in refusal(load, name="configs/notes.txt")


def test_an_unknown_name_lists_the_known_ones(folder):
    (folder / "mine.py").write_text(changing())
    message = refusal(load, name="rise1")
    assert {"mine", *SHIPPED} <= set(message.partition("there are ")[2].split(", "))
    assert "__init__" not in message


@pytest.mark.parametrize("count", [0, 2])
def test_the_configuration_is_named_exactly_once(count):
    message = refusal(configs.load, ["--config=default"] * count + ["--config.seed=1"])
    assert f"exactly once (it was given {count} times)" in message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def get_config(:\n    pass\n", "SyntaxError in PATH, line 1"),
        ("import nothing_like_it\n", "ModuleNotFoundError in PATH, line 1: No module named"),
        ("def get_config():\n    return 1 / 0\n", "ZeroDivisionError in PATH, line 2: division by zero"),
        ("def get_config():\n    raise ValueError('a\\nb')\n", "ValueError in PATH, line 2: a;"),
        ("def get_config():\n    raise ValueError\n", "ValueError in PATH, line 2: ;"),
        ("raise SystemExit('enough')\n", "SystemExit in PATH, line 1: enough"),
        ("raise BaseException('x')\n", "BaseException in PATH, line 1: x;"),
        ("class E(Exception):\n    msg = 5\n    lineno = 'x'\nraise E\n", "E in PATH, line 4: 5;"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n", "E in PATH, line 3: ;"),
        ("import json\nget_config = lambda: json.loads('{')\n", "JSONDecodeError in PATH, line 2: Expecting"),
        (
            "class C:\n    def to_dict(self): return [1]\nget_config = C\n",
            "get_config() returned C, not a ConfigDict",
        ),
        (
            "import ml_collections\nget_config = lambda: ml_collections.ConfigDict({1: 2, 'a': 3})\n",
            "TypeError in PATH",
        ),
        ("x = 1\n", "has no attribute 'get_config'"),
        ("get_config = 3\n", "not callable"),
        ("def get_config():\n    return {'seed': 1}\n", "get_config() returned dict, not a ConfigDict"),
        ("def get_config():\n    pass\n", "get_config() returned NoneType"),
        ("import ml_collections\nget_config = ml_collections.ConfigDict\n", "the configuration lacks"),
    ],
)
@pytest.mark.parametrize("overrides", [(), ("seed=1",)])
def test_a_broken_file_is_named(folder, source, said, overrides):
    path = folder / "broken.py"
    path.write_text(source)
    message = refusal(load, *overrides, name="broken")
    if overrides and "lacks" in said:
        said = "no field 'seed'"
    assert said.replace("PATH", str(path)) in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("config.train.stepz = 3", "unknown train.stepz"),
        ("config.data.crop_size = 'big'", "TypeError"),  # ml_collections keeps the types of a ConfigDict
        ("del config.model.norm", "lacks model.norm"),
        ("config.train.batch_size = 0", "--config.train.batch_size=0 is too small"),
        ("config.train = type(config)({'steps': 'many'})", "lacks train.batch_size"),
        (
            "config.seed = 10**400",
            f"--config.seed=1{'0' * 59}... is too large; it must be 9223372036854775807",
        ),
        ("config.seed = 10**5000", "--config.seed=(an integer of thousands of digits) is too large"),
        ("config.data = config", "RecursionError in PATH"),
        (
            "import ml_collections as m; config.seed = m.config_dict.required_placeholder(int)",
            "RequiredValueError in",
        ),
    ],
)
def test_a_file_with_a_wrong_field_is_refused(folder, line, said):
    (folder / "wrong.py").write_text(changing(line))
    assert said.replace("PATH", str(folder / "wrong.py")) in refusal(load, name="wrong")


def test_a_frozen_configuration_does(folder):
    frozen = "import ml_collections; config = ml_collections.FrozenConfigDict(config)"
    (folder / "frozen.py").write_text(changing(frozen))
    assert load(name="frozen").to_dict() == load().to_dict()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.stepz=3", "no field 'train.stepz'; did you mean --config.train.steps?"),
        ("trian.steps=3", "no field 'trian.steps'; did you mean --config.train.steps?"),
        ("nothing=3", "no field 'nothing'; --dry_run shows all"),
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
        ("model.norm=lyer", "--config.model.norm=lyer is not known; use one of none, layer"),
        ("train.precision=float16", "use one of auto, float32, mixed_bfloat16, mixed_float16"),
        ("data.train_split=", "--config.data.train_split is empty"),
        ("train.save_every=5 dogs", "--config.train.save_every: '5 dogs' is no interval; write 'N steps'"),
        ("train.log_every=5", "--config.train.log_every: '5' is no interval"),
        ("optimizer.warmup=-5 steps", "--config.optimizer.warmup: '-5 steps' is no interval"),
        ("profile.steps=9", "--config.profile.steps='9' is no range of steps; write FIRST:LAST"),
        ("profile.steps=9:9", "is no range of steps"),
        ("profile.steps=9:2", "is no range of steps"),
        (f"profile.steps=1:{'9' * 5000}", "is no range of steps"),
        (f"train.steps={'9' * 400}", f"--config.train.steps={'9' * 60}... is too large"),
        (f"train.log_every={'9' * 5000} steps", "is no interval"),
        ("model.depth=10000000000", "--config.model.depth=10000000000 is too large; it must be 12 or less"),
        ("train.steps=5", "epochs=200 and --config.train.steps=5: exactly one of them"),
        ("train.epochs=0", "epochs=0 and --config.train.steps=0: exactly one of them"),
        ("data.crop_size=63", "crop_size=63 is too small for --config.model.depth=5; use 64 or more"),
        ("model.width=33", "--config.model.width=33 is odd"),
    ],
)
def test_a_wrong_override_is_refused(override, said):
    assert said in refusal(load, override)


def test_the_last_of_two_overrides_counts():
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


def test_an_integer_in_a_file_does_for_a_number(folder):
    (folder / "whole.py").write_text(changing("config.train.epochs = 3", "config.optimizer.clip_norm = 1"))
    fields = configs.flat(load(name="whole"))
    assert fields["train.epochs"] == 3
    assert fields["optimizer.clip_norm"] == 1


@pytest.mark.parametrize(
    ("key", "value"), [("train.batch_size", "8"), ("train.batch_size", 8.0), ("seed", True)]
)
def test_check_refuses_wrong_types_from_python(key, value):
    fields = load().to_dict()
    place = fields
    for part in key.split(".")[:-1]:
        place = place[part]
    place[key.split(".")[-1]] = value
    assert f"--config.{key}={value!r} is not an integer" in refusal(configs.check, configs.from_dict(fields))


def test_json_round_trip():
    config = load(
        "loss.l1_weight=0.1", "optimizer.learning_rate=1e-7", "data.val_split=", "seed=123456789012"
    )
    back = configs.from_dict(json.loads(configs.to_json(config)))
    assert configs.flat(back) == configs.flat(config)
    assert [type(v) for v in configs.flat(back).values()] == [type(v) for v in configs.flat(config).values()]
    assert back.is_locked
    configs.check(back)


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
    assert said in refusal(configs.check_batch, config, replicas=replicas)


@pytest.mark.parametrize(("batch", "accumulate", "replicas"), [(4, 1, 1), (4, 1, 2), (8, 2, 4), (5, 1, 5)])
def test_a_batch_that_divides_is_taken(batch, accumulate, replicas):
    config = load(f"train.batch_size={batch}", f"optimizer.accumulate={accumulate}")
    assert configs.check_batch(config, replicas=replicas) is None


def test_profile_steps():
    assert configs.profile_steps(load()) is None
    assert configs.profile_steps(load("profile.steps=2:14")) == (2, 14)


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
    assert configs.parse_interval(text) == (number, unit)


@pytest.mark.parametrize(
    "text", ["", "5", "steps", "-1 steps", "1e3 steps", "nan epochs", "5 stepss", "never 5"]
)
def test_parse_interval_refuses(text):
    assert repr(text) in refusal(configs.parse_interval, text)


def test_loading_does_not_import_tensorflow():
    code = (
        "import sys\nfrom hazeheal import config\n"
        f"for name in {SHIPPED!r}:\n    config.load([f'--config={{name}}', '--config.seed=1'])\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_loading_leaves_the_processes_own_arguments_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--config=nothing", "--config.seed=5", "--help"])
    assert load("seed=6").seed == 6
    assert math.isclose(load().optimizer.learning_rate, 2e-4)
