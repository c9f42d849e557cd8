"""launch/train_multigpu.sh: its arguments and signals reach `hazeheal launch`, whose exit code it returns."""

import shlex
import signal
import subprocess
import sys
import time

import pytest
from scripts import ROOT, Machine

TRAINER = """
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def stop(number, frame):
    (here / "signal").write_text(signal.Signals(number).name)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
(here / "ready").touch()
time.sleep(60)
"""


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("script", ["train_multigpu.sh", "test.sh", "tensorboard.sh"])
def test_help_needs_no_environment(machine, script):
    result = machine.run("--help", script=script, VIRTUAL_ENV="/nowhere")
    assert result.returncode == 0
    assert "usage: bash launch/" in result.stdout
    assert not machine.calls()


def test_scripts_are_valid_bash():
    for path in (*ROOT.glob("launch/*.sh"), ROOT / ".ci/run"):
        result = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_arguments_reach_the_launcher_unchanged(machine):
    arguments = ["--config=rice1", "--config.note=two words; $HOME `x` 'y'", "--restore_from", "old run", ""]
    result = machine.run(*arguments, "--convert.tile_size=64", "--gpus", "0,1", "--dry_run")
    assert result.returncode == 0, result.stderr
    command = ["-m", "hazeheal", "launch", *arguments, "--convert.tile_size=64", "--gpus", "0,1", "--dry_run"]
    assert machine.calls() == [command]


def test_without_arguments_it_starts_the_launcher_in_the_current_directory(machine):
    assert machine.run().returncode == 0
    assert machine.calls() == [["-m", "hazeheal", "launch"]]
    assert machine.variables()["PWD"] == str(machine.folder)


def test_dry_run_without_an_installation_makes_nothing(tmp_path):
    machine = Machine(tmp_path, skip_install=False)
    del machine.environ["VIRTUAL_ENV"]
    before = sorted(machine.root.rglob("*"))
    result = machine.run("--dry_run", "--workdir=a run", PYTHON=sys.executable)
    assert result.returncode == 0, result.stderr
    assert f"it would be made with {sys.executable}" in result.stdout
    assert "hazeheal launch --dry_run --workdir=a\\ run" in result.stdout
    assert "the training was not checked" in result.stdout
    assert not machine.calls()
    assert sorted(machine.root.rglob("*")) == before


@pytest.mark.parametrize("code", [1, 2, 75])
def test_the_exit_code_is_that_of_the_launcher(tmp_path, code):
    assert Machine(tmp_path, train=f"exit {code}").run("--config=c", "--data_dir=d").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_launcher(tmp_path, number):
    trainer = tmp_path / "trainer.py"
    trainer.write_text(TRAINER)
    machine = Machine(tmp_path, train=shlex.join(["exec", sys.executable, str(trainer), str(tmp_path)]))
    process = subprocess.Popen(
        machine.command("--config=c", "--data_dir=d"), env=machine.environ, stdin=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(30) == 75
    finally:
        process.kill()
    assert (tmp_path / "signal").read_text() == number.name
