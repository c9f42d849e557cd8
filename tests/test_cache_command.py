"""`hazeheal cache`: lists and removes files of decoded images."""

import os

import pytest

from hazeheal.__main__ import main
from hazeheal.data.pipeline import cache_files
from hazeheal.utils import file_lock

LEFTOVER = ".123-0123456789ab.part.pixels"


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """The default directory with two caches and what a killed builder left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = tmp_path / "hazeheal"
    directory.mkdir()
    for name, size in (("b.pixels", 3_000_000), ("a.pixels", 2_000_000), (LEFTOVER, 10), ("lock", 0), ("note.txt", 5)):
        (directory / name).touch()
        os.truncate(directory / name, size)
    return directory


def call(capsys, *argv):
    code = main(["cache", *map(str, argv)])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out.splitlines()


def test_caches_are_listed_with_sizes(capsys, caches):
    code, lines = call(capsys)
    assert code == 0
    assert [line.split()[:3] for line in lines[1:3]] == [["a.pixels", "2", "MB"], ["b.pixels", "3", "MB"]]
    assert lines[3] == f"2 caches, 5 MB, in {caches}"


def test_only_caches_and_leftovers_are_removed(capsys, caches):
    code, lines = call(capsys, "--remove")
    assert (code, lines) == (0, [f"removed 2 caches, 5 MB, from {caches}"])
    assert sorted(path.name for path in caches.iterdir()) == ["lock", "note.txt"]


def test_a_build_in_progress_is_left_alone(capsys, caches):
    with open(caches / cache_files.LOCK, "ab") as lock:
        assert file_lock.try_lock(lock.fileno())
        assert call(capsys, caches, "--remove")[0] == 0
    assert sorted(path.name for path in caches.iterdir()) == [LEFTOVER, "lock", "note.txt"]


@pytest.mark.parametrize("argv", [[], ["--remove"]])
def test_a_directory_that_does_not_exist_has_no_caches(capsys, tmp_path, argv):
    code, lines = call(capsys, tmp_path / "none", *argv)
    assert code == 0 and "0 caches, 0 MB" in lines[-1] and not (tmp_path / "none").exists()
