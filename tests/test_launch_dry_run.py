"""`hazeheal launch --dry_run`: its output, and the exit code of `hazeheal train --dry_run`."""

import json
import os
import shlex
import subprocess
from unittest import mock

import pytest
from launching import JOB, TRAIN
from places import ROOT

from hazeheal.__main__ import main
from hazeheal.commands import launch, train
from hazeheal.distributed import supervisor, tf_config

pytestmark = pytest.mark.usefixtures("no_gpus")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    """The user has set all variables of `launch.VARIABLES`, so that the launcher sets none."""
    for name, value in launch.VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    monkeypatch.setattr(supervisor, "Supervisor", lambda *_, **__: pytest.fail("a dry run starts something"))


@pytest.fixture
def dry(monkeypatch):
    """What a dry run in this process asks `hazeheal train` for: (arguments, variables)."""
    asked = []
    monkeypatch.setattr(train, "main", lambda argv: asked.append((argv, dict(os.environ))) or 0)
    with mock.patch.dict(os.environ):
        yield asked


def test_dry_run_of_one_process_prints_it_and_checks_the_training(capsys, dry):
    assert main(["launch", "--dry_run", "--workdir=a run", "--config=rice1"]) == 0
    assert capsys.readouterr().out == (f"group_00: {shlex.join([*TRAIN, '--config=rice1', '--workdir=a run'])}\n")
    ((argv, variables),) = dry
    assert argv == ["--config=rice1", "--workdir=a run", "--dry_run"]
    assert "TF_CONFIG" not in variables


def test_dry_run_prints_a_shell_command_for_each_group(capsys, dry, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d")
    assert main(["launch", "--dry_run", "--config=c", "--groups=2", "--workdir=a run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = []
    for group, line in enumerate(lines):
        name, *words = shlex.split(line)
        assert name == f"group_{group:02d}:"
        variables = dict(word.split("=", 1) for word in words[:2])
        assert words[2:] == [*TRAIN, "--config=c", "--gpus=0,1", "--workdir=a run"]
        assert variables["CUDA_VISIBLE_DEVICES"] == ("GPU-a,GPU-b", "GPU-c,GPU-d")[group]
        told.append(json.loads(variables["TF_CONFIG"]))
    assert [config["task"]["index"] for config in told] == [0, 1]
    assert told[0]["cluster"] == told[1]["cluster"]
    ((argv, variables),) = dry
    assert argv == ["--config=c", "--gpus=0,1", "--workdir=a run", "--dry_run"]
    assert tf_config.from_environment(variables).num_groups == 2


def test_dry_run_prints_the_process_of_tf_config(capsys, dry, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", JOB)
    assert main(["launch", "--dry_run", "--config=c"]) == 0
    assert capsys.readouterr().out == f"group_02: {shlex.join([*TRAIN, '--config=c'])}\n"
    assert tf_config.from_environment(dry[0][1]).group == 2


def test_dry_run_returns_the_exit_code_of_the_trainer(capsys):
    argv = ["--dry_run", "--config=default", "--workdir=w", "--data_dir=/nowhere"]
    assert main(["launch", *argv]) == 1
    out, err = capsys.readouterr()
    assert "/nowhere/manifest.json does not exist" in err
    assert err.startswith("hazeheal launch: error: ") and err.count("\n") == 1
    assert out.startswith("group_00: ")


def test_dry_run_into_a_closed_pipe():
    process = subprocess.Popen(
        [*TRAIN[:-1], "launch", "--dry_run", "--config=default", "--workdir=w", "--data_dir=/nowhere"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    process.stdout = None
    assert process.wait(60) == 1
    assert process.stderr.read() == ""
    process.stderr.close()
