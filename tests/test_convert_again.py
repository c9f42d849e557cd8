"""The same command on a complete data set: it says so, on a read-only disk too, and hashes newer sources only once."""

import errno
import json
import os
import pathlib
import shutil

import pytest
from converting import contents, convert, write_pairs

from tfrecords_tools.convert import output_dir, plan


@pytest.fixture
def images(tmp_path):
    return write_pairs(tmp_path / "in", scenes=6, versions=1)


@pytest.fixture
def output(images, tmp_path):
    assert convert(images, tmp_path / "out") == 0
    return tmp_path / "out"


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed to compare them with the data set."""
    names, real = [], output_dir.hash_file
    monkeypatch.setattr(output_dir, "hash_file", lambda path: names.append(path.name) or real(path))
    return names


@pytest.fixture
def read_only(monkeypatch):
    """A file system that is mounted read-only: every change fails, that of a missing file too."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def freeze():
        for name in ("unlink", "remove", "rename", "replace", "mkdir", "rmdir"):
            monkeypatch.setattr(os, name, refuse)
        real, access = os.open, os.access
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        monkeypatch.setattr(
            os, "open", lambda path, flags, *a, **k: (refuse if flags & writes else real)(path, flags, *a, **k)
        )
        monkeypatch.setattr(os, "access", lambda path, mode, **k: not mode & os.W_OK and access(path, mode, **k))

    return freeze


def is_complete(images, output, capsys, *flags):
    capsys.readouterr()
    assert convert(images, output, *flags) == 0
    return "complete; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    "left", [None, output_dir.STATE, ".set-val.tfrecord-00000-of-00001.done.json", ".convert.lock"]
)
def test_on_a_read_only_disk_the_data_set_is_complete(images, output, read_only, capsys, left):
    if left:  # by a run that was killed
        (output / left).write_text("{}")
    before = contents(output)
    read_only()
    assert is_complete(images, output, capsys)
    assert contents(output) == before


def test_newer_sources_on_a_read_only_disk_are_compared(images, output, read_only, capsys, hashed):
    os.utime(images / "hazy/0001_0.8_1.jpg")
    read_only()
    assert is_complete(images, output, capsys)
    assert "0001_0.8_1.jpg" in hashed


def test_what_a_killed_run_left_is_removed(images, output, capsys):
    for name in (output_dir.STATE, ".set-val.tfrecord-00000-of-00001.done.json", ".convert.lock"):
        (output / name).write_text("{}")
    assert is_complete(images, output, capsys)
    assert not [path.name for path in output.iterdir() if path.name.startswith(".")]


def test_newer_sources_are_hashed_once_and_then_remembered(images, output, capsys, hashed):
    before = contents(output)
    for path in (images / "hazy").iterdir():
        os.utime(path)
    assert is_complete(images, output, capsys)
    assert set(path.name for path in (images / "hazy").iterdir()) <= set(hashed)
    hashed.clear()
    assert is_complete(images, output, capsys)
    assert hashed == []
    assert contents(output) == before  # only the provenance has changed


def test_only_blocks_with_newer_sources_are_hashed(images, tmp_path, capsys, hashed, monkeypatch):
    monkeypatch.setattr(plan, "_STATE_BLOCK", 2)
    assert convert(images, tmp_path / "out") == 0
    os.utime(images / "GT/0003.jpg")
    assert is_complete(images, tmp_path / "out", capsys)
    assert sorted(hashed) == ["0003.jpg", "0003_0.8_1.jpg", "0004.jpg", "0004_0.8_1.jpg"]


def test_a_source_whose_contents_changed_is_refused_again_and_again(images, output, capsys):
    path = images / "GT/0004.jpg"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        assert convert(images, output) == 2
        assert "was written before" in capsys.readouterr().err
    data[-20] ^= 1
    path.write_bytes(data)
    assert is_complete(images, output, capsys)


def test_a_data_set_without_blocks_is_hashed_once(images, output, capsys, hashed):
    """Version 0.1 remembered one state of all files."""
    manifest = json.loads((output / "manifest.json").read_text())
    del manifest["provenance"]["state_blocks"]
    (output / "manifest.json").write_text(json.dumps(manifest))
    os.utime(images / "GT/0004.jpg")
    assert is_complete(images, output, capsys)
    assert len(hashed) == 12
    assert is_complete(images, output, capsys) and len(hashed) == 12


def test_a_copy_of_the_sources_is_the_same_input(images, output, tmp_path, capsys):
    copy = shutil.copytree(images, tmp_path / "copy", copy_function=shutil.copyfile)
    assert is_complete(copy, output, capsys)


def test_a_dry_run_prints_the_plan_and_writes_nothing(images, tmp_path, capsys):
    assert convert(images, tmp_path / "new/out", "--dry_run") == 0
    out = capsys.readouterr().out
    assert "6 pairs of 6 scenes" in out and "with 1 worker" in out and "dry run: nothing was written" in out
    assert not (tmp_path / "new").exists()
    (images / "GT/0002.jpg").write_bytes(b"")
    assert convert(images, tmp_path / "new/out", "--dry_run") == 1
    assert pathlib.Path(tmp_path / "new").exists() is False
