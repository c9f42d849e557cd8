"""Configuration files: where they are looked up, and the messages about invalid ones."""

import pytest
from configuring import SHIPPED, changing, load
from places import ROOT
from refusals import refusal

from hazeheal import config as configs
from hazeheal.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current directory with a `configs/` of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    return tmp_path / "configs"


def test_a_name_is_looked_up_in_the_current_directory_first(folder):
    assert configs.find("rice1").resolve() == ROOT / "configs" / "rice1.py"
    (folder / "rice1.py").write_text(changing("config.seed = 7"))
    assert configs.find("rice1").resolve() == folder / "rice1.py"
    assert load(name="rice1").seed == 7


def test_a_path_is_loaded(folder):
    (folder / "mine.py").write_text(changing("config.seed = 8"))
    (folder.parent / "other.py").write_text(changing("config.seed = 9"))
    assert load(name="configs/mine.py").seed == 8
    assert load(name="other.py").seed == 9
    assert load(name=str(folder / "mine.py")).seed == 8


def test_shipped_names_are_found_from_anywhere(folder):
    assert load(name="quickstart").train.steps == 200


@pytest.mark.parametrize("name", ["nothing", "configs/nothing.py", "nothing.py", "configs", "configs/", ""])
def test_a_name_without_a_file_is_refused(folder, name):
    (folder / "notes.txt").write_text("no Python")
    message = refusal(UsageError, load, name=name)
    assert message.startswith(f"--config={name}: neither a Python file nor a configuration; use one of ")


def test_a_file_that_is_not_python_is_refused(folder):
    (folder / "notes.txt").write_text("no Python")
    assert "neither a Python file nor" in refusal(UsageError, load, name="configs/notes.txt")


def test_an_unknown_name_lists_the_known_ones(folder):
    (folder / "mine.py").write_text(changing())
    message = refusal(UsageError, load, name="rise1")
    assert {"mine", *SHIPPED} <= set(message.partition("use one of ")[2].split(", "))
    assert "__init__" not in message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def get_config(:\n    pass\n", "PATH, line 1: SyntaxError: "),
        ("import nothing_like_it\n", "PATH, line 1: ModuleNotFoundError: No module named"),
        ("def get_config():\n    return 1 / 0\n", "PATH, line 2: ZeroDivisionError: division by zero"),
        ("def get_config():\n    raise ValueError('a\\nb')\n", "PATH, line 2: ValueError: a;"),
        ("def get_config():\n    raise ValueError\n", "PATH, line 2: ValueError;"),
        ("raise SystemExit('enough')\n", "PATH, line 1: SystemExit: enough"),
        ("raise BaseException('x')\n", "PATH, line 1: BaseException: x;"),
        (
            "class E(Exception):\n    msg = 5\n    lineno = 'x'\nraise E\n",
            "PATH, line 4: hazeheal_config_broken.E;",
        ),
        (
            "class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n",
            "PATH, line 3: hazeheal_config_broken.E: <",
        ),
        (
            "import json\nget_config = lambda: json.loads('{')\n",
            "PATH, line 2: json.decoder.JSONDecodeError: Expecting",
        ),
        (
            "class C:\n    def to_dict(self): return [1]\nget_config = C\n",
            "get_config() returned C, not a ConfigDict",
        ),
        (
            "import ml_collections\nget_config = lambda: ml_collections.ConfigDict({1: 2, 'a': 3})\n",
            "PATH: TypeError: ",
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
    message = refusal(UsageError, load, *overrides, name="broken")
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
        ("config.data = config", "PATH: RecursionError: "),
        (
            "import ml_collections as m; config.seed = m.config_dict.required_placeholder(int)",
            "RequiredValueError",
        ),
    ],
)
def test_a_file_with_a_wrong_field_is_refused(folder, line, said):
    (folder / "wrong.py").write_text(changing(line))
    assert said.replace("PATH", str(folder / "wrong.py")) in refusal(UsageError, load, name="wrong")


def test_a_frozen_configuration_is_valid(folder):
    frozen = "import ml_collections; config = ml_collections.FrozenConfigDict(config)"
    (folder / "frozen.py").write_text(changing(frozen))
    assert load(name="frozen").to_dict() == load().to_dict()


def test_an_integer_is_valid_for_a_float(folder):
    (folder / "whole.py").write_text(changing("config.train.epochs = 3", "config.optimizer.clip_norm = 1"))
    fields = configs.flat(load(name="whole"))
    assert fields["train.epochs"] == 3
    assert fields["optimizer.clip_norm"] == 1
