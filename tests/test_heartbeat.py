"""Heartbeats: what a process writes, and what the launcher reads from valid and invalid files."""

import os
import subprocess
import sys

import pytest

from hazeheal.distributed import heartbeat
from hazeheal.distributed.heartbeat import Heartbeat

NOTHING = (0, -1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "beats"


def test_the_count_grows_and_the_step_is_kept(path):
    beats = Heartbeat(path)
    assert heartbeat.read_heartbeat(path) == NOTHING
    seen = []
    for step in (None, 0, None, 7, 12345678901, None):
        beats.beat(step)
        seen.append(heartbeat.read_heartbeat(path))
    assert seen == [(1, -1), (2, 0), (3, 0), (4, 7), (5, 12345678901), (6, 12345678901)]


def test_the_step_may_go_back(path):
    beats = Heartbeat(path)
    beats.beat(30)
    beats.beat(4)  # after a rewind
    assert heartbeat.read_heartbeat(path) == (2, 4)


def test_the_file_has_a_constant_length(path):
    beats, sizes = Heartbeat(path), set()
    for step in (None, 10**12, 3):
        beats.beat(step)
        sizes.add(path.stat().st_size)
    assert len(sizes) == 1
    assert len(path.read_text().splitlines()) == 1


def test_the_launcher_names_the_file(path, monkeypatch):
    monkeypatch.setenv(heartbeat.VARIABLE, str(path))
    Heartbeat().beat(3)
    assert heartbeat.read_heartbeat(path) == (1, 3)


def test_the_path_argument_overrides_the_variable(path, monkeypatch, tmp_path):
    monkeypatch.setenv(heartbeat.VARIABLE, str(tmp_path / "other"))
    Heartbeat(path).beat()
    assert [p.name for p in tmp_path.iterdir()] == ["beats"]


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_launcher_nothing_is_written(tmp_path, monkeypatch, value):
    monkeypatch.delenv(heartbeat.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(heartbeat.VARIABLE, value)
    monkeypatch.chdir(tmp_path)
    Heartbeat().beat(3)
    assert not list(tmp_path.iterdir())


def test_a_removed_file_is_created_again(path):
    beats = Heartbeat(path)
    beats.beat(1)
    path.unlink()
    beats.beat(2)
    assert heartbeat.read_heartbeat(path) == (2, 2)


@pytest.mark.parametrize("place", ["absent/beats", "file/beats", ".", "/dev/null/beats", "/dev/full"])
def test_an_unwritable_path_is_ignored(tmp_path, place):
    (tmp_path / "file").touch()
    descriptors = len(os.listdir("/proc/self/fd"))
    beats = Heartbeat(tmp_path / place)
    for _ in range(3):
        beats.beat(1)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_only_the_owner_can_read_the_file(path):
    Heartbeat(path).beat()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"00000000000000000003",
        b"00000000000000000003 0000\n0000 2",
        b"3 x 3\n",
        b"x 3 3\n",
        b"1.5 3 4.5\n",
        b"\0" * 63,
        b"\xff\xfe 3 3\n",
        b"9" * 5000 + b" 3 3\n",
        b"3 3 6 6\n",
        b"4 3 6\n",  # of two heartbeats, and never completed
        b"3 4 6\n",
    ],
)
def test_invalid_contents_count_as_no_heartbeat(path, content):
    path.write_bytes(content)
    assert heartbeat.read_heartbeat(path) == NOTHING


def test_a_read_beside_a_write_is_repeated(path, monkeypatch):
    contents = iter([b"8 7 14\n", b"8 8 14\n", b"8 8 16\n"])
    monkeypatch.setattr(heartbeat.pathlib.Path, "read_bytes", lambda _: next(contents))
    assert heartbeat.read_heartbeat(path) == (8, 8)


def test_a_directory_and_a_missing_file_count_as_no_heartbeat(tmp_path):
    assert heartbeat.read_heartbeat(tmp_path) == heartbeat.read_heartbeat(tmp_path / "no/such/file") == NOTHING


def test_a_reader_never_sees_a_partial_write(path):
    """Count and step are always equal; a concurrent reader must never see different ones."""
    code = (
        "import sys\nfrom hazeheal.distributed.heartbeat import Heartbeat\nbeats = Heartbeat(sys.argv[1])\n"
        "for n in range(1, 30001):\n    beats.beat(n)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    try:
        last = 0
        while writer.poll() is None:
            count, step = heartbeat.read_heartbeat(path)
            assert (count, step) == NOTHING or count == step
            assert count >= last
            last = count
    finally:
        writer.kill()
        writer.wait()
    assert heartbeat.read_heartbeat(path) == (30000, 30000)
