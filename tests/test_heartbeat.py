"""Signs of life: what a process writes, and what its watcher reads where there is nothing, or half of it."""

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


def test_the_count_grows_and_the_step_stays_until_there_is_another(path):
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
    beats.beat(4)  # after a return to an older checkpoint
    assert heartbeat.read_heartbeat(path) == (2, 4)


def test_the_file_keeps_its_length_so_that_no_rest_of_an_older_one_is_left(path):
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


def test_a_path_of_its_own_goes_before_the_variable(path, monkeypatch, tmp_path):
    monkeypatch.setenv(heartbeat.VARIABLE, str(tmp_path / "other"))
    Heartbeat(path).beat()
    assert [p.name for p in tmp_path.iterdir()] == ["beats"]


@pytest.mark.parametrize("value", [None, ""])
def test_where_nobody_watches_nothing_is_written(tmp_path, monkeypatch, value):
    monkeypatch.delenv(heartbeat.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(heartbeat.VARIABLE, value)
    monkeypatch.chdir(tmp_path)
    Heartbeat().beat(3)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_removed_is_made_again(path):
    beats = Heartbeat(path)
    beats.beat(1)
    path.unlink()
    beats.beat(2)
    assert heartbeat.read_heartbeat(path) == (2, 2)


@pytest.mark.parametrize("place", ["absent/beats", "file/beats", ".", "/dev/null/beats", "/dev/full"])
def test_a_place_that_cannot_be_written_stops_nobody(tmp_path, place):
    (tmp_path / "file").touch()
    descriptors = len(os.listdir("/proc/self/fd"))
    beats = Heartbeat(tmp_path / place)
    for _ in range(3):
        beats.beat(1)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_only_its_owner_reads_it(path):
    Heartbeat(path).beat()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"00000000000000000003",
        b"00000000000000000003 0000\n0000 2",
        b"3 x\n",
        b"x 3\n",
        b"1.5 3\n",
        b"\0" * 42,
        b"\xff\xfe 3\n",
        b"9" * 5000 + b" 3\n",
    ],
)
def test_what_is_no_sign_of_life_counts_as_none(path, content):
    path.write_bytes(content)
    assert heartbeat.read_heartbeat(path) == NOTHING


def test_a_folder_and_a_missing_file_count_as_none(tmp_path):
    assert (
        heartbeat.read_heartbeat(tmp_path) == heartbeat.read_heartbeat(tmp_path / "no/such/file") == NOTHING
    )


def test_a_reader_never_sees_a_count_that_was_not_written(path):
    """Both numbers are equal in every sign; a reader beside the writer must never see two that are not."""
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
