"""A run's directory: its layout, its lock, its two JSON files."""

import errno
import fcntl
import json
import logging
import os
import pathlib
import subprocess
import sys
import time

import pytest
from disks import full_disk
from refusals import refusal

from hazeheal import config as configs
from hazeheal.errors import HazeHealError, OutputError
from hazeheal.runs import run_dir
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.utils.atomic import atomic_write

HOLD = """
import sys, time
from hazeheal.runs.run_dir import RunDirectory
with RunDirectory(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def default(*overrides):
    return configs.load(["--config=default", *(f"--config.{o}" for o in overrides)])


def lock(directory):
    with directory.locked():
        pass


def test_layout(tmp_path):
    run = RunDirectory(tmp_path / "run", group=1)
    relative = {
        name: str(getattr(run, name).relative_to(tmp_path / "run"))
        for name in (
            "config",
            "result",
            "group",
            "checkpoints",
            "summaries",
            "samples",
            "training_log",
            "log",
        )
    }
    assert relative == {
        "config": "config.json",
        "result": "result.json",
        "group": "group_01",
        "checkpoints": "group_01/checkpoints",
        "summaries": "group_01/summaries",
        "samples": "group_01/samples",
        "training_log": "group_01/training_log.csv",
        "log": "group_01/log.txt",
    }
    assert not (tmp_path / "run").exists()


def test_a_second_run_is_refused_and_the_holder_is_named(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with run.locked():
        message = refusal(HazeHealError, lock, RunDirectory(tmp_path / "run"))
        assert f"--workdir={tmp_path / 'run'} is in use by process {os.getpid()} on " in message
        lock(RunDirectory(tmp_path / "run", group=1))  # another group has its own directory
    lock(run)


def test_the_lock_of_a_killed_process_is_released(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(run_dir.__file__).parents[2],
    )
    try:
        assert holder.stdout.readline() == "held\n"
        assert f"process {holder.pid} on" in refusal(HazeHealError, lock, RunDirectory(tmp_path))
    finally:
        holder.kill()
        holder.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            lock(RunDirectory(tmp_path))
            break
        except HazeHealError:
            time.sleep(0.05)
    lock(RunDirectory(tmp_path))


def test_a_released_lock_names_no_holder(tmp_path):
    lock(RunDirectory(tmp_path))
    assert (tmp_path / "group_00/.lock").read_bytes() == b""


def test_the_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), RunDirectory(tmp_path).locked():
        _ = 1 / 0
    lock(RunDirectory(tmp_path))


@pytest.mark.parametrize("place", ["file", "file/run", "/dev/null/run"])
def test_an_unwritable_directory_is_refused(tmp_path, place):
    (tmp_path / "file").touch()
    message = refusal(HazeHealError, lock, RunDirectory(tmp_path / place))
    assert f"--workdir={tmp_path / place} cannot be written" in message


def test_a_full_disk_is_refused(tmp_path):
    with full_disk(0):
        message = refusal(HazeHealError, lock, RunDirectory(tmp_path / "run"))
    assert message == f"--workdir={tmp_path / 'run'} cannot be written: File too large; use another directory"


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(logging.getLogger("hazeheal"), "propagate", True)
    lock(RunDirectory(tmp_path))
    assert "cannot be locked (No locks available)" in caplog.text


def test_an_unchanged_configuration_is_not_rewritten(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.save_config(default(), step=0) == []
    before = run.config.stat()
    assert configs.flat(configs.from_dict(json.loads(run.config.read_text()))) == configs.flat(default())
    assert run.save_config(default(), step=30) == []
    assert run.config.stat().st_mtime_ns == before.st_mtime_ns
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_an_old_configuration_is_kept_and_changes_are_returned(tmp_path):
    run = RunDirectory(tmp_path)
    run.save_config(default(), step=0)
    old = run.config.read_bytes()
    changes = run.save_config(default("train.epochs=300", "train.keep=1"), step=20)
    assert changes == ["train.epochs: 200.0 -> 300.0", "train.keep: 3 -> 1"]
    assert (tmp_path / "config.before-step-20.json").read_bytes() == old
    assert json.loads(run.config.read_text())["train"]["epochs"] == 300.0
    assert run.save_config(default("train.epochs=400", "train.keep=1"), step=20)
    assert (tmp_path / "config.before-step-20.json").read_bytes() == old  # the configuration up to that step
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.before-step-20.json", "config.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "3"])
def test_a_damaged_configuration_is_refused(tmp_path, text):
    run = RunDirectory(tmp_path)
    run.config.write_text(text)
    message = refusal(HazeHealError, run.save_config, default(), step=0)
    assert f"{run.config} cannot be read" in message
    assert run.config.read_text() == text


def test_result_round_trip(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.load_result() == {}
    result = {"psnr": 20.123456789012345, "steps": 3, "xla": False, "ssim": None}
    run.save_result(result)
    assert run.load_result() == result


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_result_counts_as_missing(tmp_path, text):
    run = RunDirectory(tmp_path)
    run.result.write_text(text)
    assert run.load_result() == {}


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    code = (
        "import pathlib, sys\nfrom hazeheal.utils.atomic import atomic_write\n"
        "path = pathlib.Path(sys.argv[1])\nprint('go', flush=True)\n"
        "while True:\n    for mark in 'ab':\n        atomic_write(path, mark * 200_000)\n"
    )
    path = tmp_path / "file.json"
    path.write_text("a" * 200_000)
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        cwd=pathlib.Path(run_dir.__file__).parents[2],
    )
    try:
        writer.stdout.readline()
        seen = set()
        deadline = time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < deadline:
            text = path.read_text()
            assert len(text) == 200_000
            assert len(set(text)) == 1
            seen.add(text[0])
        assert seen == {"a", "b"}
    finally:
        writer.kill()
        writer.communicate()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    path.write_text("old")
    with full_disk(100):
        message = refusal(OutputError, atomic_write, path, "x" * 1000)
    assert message == f"{path} cannot be written: File too large"
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
