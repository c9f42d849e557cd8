"""`--xla_cache`: compiled programs are kept from run to run, and damaged ones are removed."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from hazeheal.distributed import xla_cache
from hazeheal.errors import OutputError, UsageError
from hazeheal.training.step import step

PROGRAM = "xla_compile_cache__1__2__XLA_CPU_JIT.pb"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv(xla_cache.FLAGS, "--tf_xla_clustering_debug=false")


def folder_of(directory, *, group=0):
    return directory / xla_cache.folder_name(group)


def test_the_folder_is_added_to_the_xla_flags(tmp_path):
    with xla_cache.use_cache(tmp_path / "cache", group=0):
        words = os.environ[xla_cache.FLAGS].split()
    assert words == [
        "--tf_xla_clustering_debug=false",
        f"--{xla_cache.OPTION}={folder_of(tmp_path / 'cache')}",
    ]
    assert folder_of(tmp_path / "cache").is_dir()


def test_without_a_directory_nothing_is_set(monkeypatch):
    monkeypatch.delenv(xla_cache.FLAGS)
    with xla_cache.use_cache(None, group=0):
        assert xla_cache.FLAGS not in os.environ


def test_each_group_has_its_own_folder():
    assert xla_cache.folder_name(0) == xla_cache.folder_name(0) != xla_cache.folder_name(1)


def test_each_machine_has_its_own_folder(monkeypatch):
    here = xla_cache.folder_name(0)
    monkeypatch.setattr(xla_cache, "describe_cpu", lambda: ("another", frozenset()))
    assert xla_cache.folder_name(0) != here


def test_programs_are_kept_for_the_next_run(tmp_path):
    with xla_cache.use_cache(tmp_path, group=0):
        (folder_of(tmp_path) / PROGRAM).write_bytes(b"program")
    xla_cache.remove_changed_programs(folder_of(tmp_path))
    assert (folder_of(tmp_path) / PROGRAM).read_bytes() == b"program"


@pytest.mark.parametrize("content", [b"progra", b"", b"Program"])
def test_a_changed_program_is_removed(tmp_path, monkeypatch, content):
    with xla_cache.use_cache(tmp_path, group=0):
        (folder_of(tmp_path) / PROGRAM).write_bytes(b"program")
    (folder_of(tmp_path) / PROGRAM).write_bytes(content)
    monkeypatch.delenv(xla_cache.FLAGS)
    with xla_cache.use_cache(tmp_path, group=0):
        assert not (folder_of(tmp_path) / PROGRAM).exists()


@pytest.mark.parametrize("noted", ["", "[1]", "{", '{"other": "hash"}'])
def test_a_program_without_a_recorded_hash_is_removed(tmp_path, noted):
    (tmp_path / PROGRAM).write_bytes(b"program")
    (tmp_path / xla_cache.HASHES).write_text(noted)
    xla_cache.remove_changed_programs(tmp_path)
    assert not (tmp_path / PROGRAM).exists()


def test_a_failed_run_records_its_hashes(tmp_path):
    with pytest.raises(KeyError), xla_cache.use_cache(tmp_path, group=0):
        (folder_of(tmp_path) / PROGRAM).write_bytes(b"program")
        raise KeyError
    xla_cache.remove_changed_programs(folder_of(tmp_path))
    assert (folder_of(tmp_path) / PROGRAM).exists()


def test_two_directories_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(xla_cache.FLAGS, f"--{xla_cache.OPTION}=/elsewhere")
    with pytest.raises(UsageError, match="use one of them"), xla_cache.use_cache(tmp_path, group=0):
        pass


def test_an_unwritable_directory_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"--xla_cache=.*file"),
        xla_cache.use_cache(tmp_path / "file", group=0),
    ):
        pass


def test_the_default_directory_is_left_to_tensorflow(tmp_path):
    """A run that is refused later must not have created anything."""
    with xla_cache.use_cache(tmp_path / "run" / "xla_cache", group=0, is_default=True):
        assert str(tmp_path / "run") in os.environ[xla_cache.FLAGS]
    assert not (tmp_path / "run").exists()


def test_the_default_directory_yields_to_one_in_the_flags(tmp_path, monkeypatch):
    monkeypatch.setenv(xla_cache.FLAGS, f"--{xla_cache.OPTION}=/elsewhere")
    with xla_cache.use_cache(tmp_path, group=0, is_default=True):
        assert os.environ[xla_cache.FLAGS] == f"--{xla_cache.OPTION}=/elsewhere"


def test_the_oldest_programs_are_removed_beyond_the_limit(tmp_path):
    for age, name in enumerate(("new", "middle", "old")):
        path = tmp_path / f"{name}.pb"
        path.write_bytes(b"0" * 100)
        os.utime(path, (1000 - age, 1000 - age))
    xla_cache.remove_oldest_programs(tmp_path, limit=250)
    assert sorted(path.stem for path in tmp_path.glob("*.pb")) == ["middle", "new"]


def test_programs_recorded_during_a_run_survive_its_death(tmp_path):
    with xla_cache.use_cache(tmp_path, group=0):
        folder = folder_of(tmp_path)
        (folder / PROGRAM).write_bytes(b"program")
        xla_cache.record_programs()
        xla_cache.remove_changed_programs(folder)  # as the next start does
        assert (folder / PROGRAM).exists()


def test_names_do_not_depend_on_what_was_traced_before():
    """A name with another number is another program, which would be compiled again."""
    numbers = []
    for others in (1, 7):
        for _ in range(others):
            tf.function(lambda x: x + 1).get_concrete_function(tf.constant(1.0))
        function = step.compiled(lambda x: 2 * x, xla=True)
        name = function.get_concrete_function(tf.constant(1.0)).function_def.signature.name
        numbers.append(int(name.rpartition("_")[2]) % xla_cache._COUNTS)
    assert numbers[0] == numbers[1]


@pytest.mark.slow
def test_a_training_uses_the_cache_and_survives_damaged_programs(data, tmp_path):
    def train(workdir):
        fields = {
            **{"model.width": 2, "model.depth": 1, "model.disc_width": 2, "loss.perceptual_weight": 0.0},
            **{"data.crop_size": 16, "train.epochs": 0.0, "train.steps": 2, "train.xla": "on"},
            **{"train.precision": "float32", "train.validate_every": "never", "train.sample_every": "never"},
        }
        command = [sys.executable, "-m", "hazeheal", "train", "--config=default", f"--data_dir={data}"]
        command += [f"--workdir={tmp_path / workdir}", f"--xla_cache={tmp_path / 'cache'}"]
        command += [f"--config.{name}={value}" for name, value in fields.items()]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run(command, check=True, timeout=300, env=environment)
        found = {path: path.read_bytes() for path in (tmp_path / "cache").glob("*/*.pb")}
        assert found
        return found

    first = train("first")
    assert train("second") == first
    for path in first:
        path.write_bytes(path.read_bytes()[:100])
    assert train("third").keys() == first.keys()
