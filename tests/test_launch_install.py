"""launch/*.sh: the environment, the installation, the test script and TensorBoard."""

import sys

import pytest
from scripts import NO_GPU, TWO_GPUS, Machine


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def pip_calls(machine):
    return [call for call in machine.calls() if call[:3] == ["-m", "pip", "install"]]


def test_installs_once_and_again_only_after_a_change(tmp_path):
    machine = Machine(tmp_path, skip_install=False)
    flags = ("--config=rice1", "--data_dir=d")
    for _ in range(2):
        assert machine.run(*flags).returncode == 0
    assert [call[-1] for call in pip_calls(machine)] == [str(machine.root)]
    assert machine.run(script="tensorboard.sh").returncode == 2
    assert machine.run(tmp_path, script="tensorboard.sh").returncode == 0
    assert len(pip_calls(machine)) == 1
    (machine.root / "setup.py").write_text("changed")
    assert machine.run(*flags).returncode == 0
    assert len(pip_calls(machine)) == 2
    Machine.script(tmp_path / "bin/nvidia-smi", f"#!/usr/bin/env bash\n{TWO_GPUS}")
    result = machine.run(*flags)
    assert pip_calls(machine)[-1][-1] == f"{machine.root}[cuda]"
    assert "installing hazeheal[cuda] into" in result.stderr
    Machine.script(tmp_path / "bin/nvidia-smi", f"#!/usr/bin/env bash\n{NO_GPU}")
    assert machine.run(*flags).returncode == 0
    assert [call[2] for call in machine.calls()].count("launch") == 5  # each run went on after it
    assert len(pip_calls(machine)) == 3  # what was brought for GPUs serves the CPU too


def test_cpu_replicas_need_no_libraries_for_gpus(tmp_path):
    machine = Machine(tmp_path, skip_install=False, gpus=TWO_GPUS)
    assert machine.run("--config=rice1", "--data_dir=d", "--cpu_replicas=2").returncode == 0
    assert [call[-1] for call in pip_calls(machine)] == [str(machine.root)]


def test_a_failed_installation_is_reported_and_tried_again(tmp_path):
    machine = Machine(tmp_path, skip_install=False, pip="echo ERROR: no such thing; exit 1")
    for attempts in (1, 2):
        result = machine.run("--config=rice1", "--data_dir=d")
        assert result.returncode == 1
        assert "ERROR: no such thing" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: pip could not install")
        assert len(pip_calls(machine)) == attempts
    assert not any("launch" in call for call in machine.calls())


def test_an_old_python_is_refused(tmp_path):
    machine = Machine(tmp_path)
    del machine.environ["VIRTUAL_ENV"]
    Machine.script(tmp_path / "old/python", "#!/usr/bin/env bash\nexit 1\n")
    result = machine.run(PYTHON=str(tmp_path / "old/python"))
    assert result.returncode == 2
    assert "is not a Python 3.10 to 3.13" in result.stderr
    assert not (machine.root / ".venv").exists()


def test_without_an_active_environment_one_is_made_and_repaired(machine):
    del machine.environ["VIRTUAL_ENV"]
    made = machine.root / ".venv/bin/python"
    for _ in range(2):
        result = machine.run("--config=rice1", "--data_dir=d", PYTHON=sys.executable)
        assert "making" in result.stderr and made.exists()
        assert "making" not in machine.run("--config=rice1", "--data_dir=d").stderr
        made.unlink()
        made.symlink_to("/nowhere/python")  # as after an upgrade of the system's Python


def test_the_test_script_ends_with_pytest(machine):
    result = machine.run("tests/test_a.py", "-k", "two words", script="test.sh")
    assert result.returncode == 0, result.stderr
    assert [call[1] for call in machine.calls()] == ["ruff", "ruff", "pytest"]
    assert machine.calls()[-1][2:] == ["-q", "-m", "not slow", "tests/test_a.py", "-k", "two words"]
    machine.run("--slow", script="test.sh")
    assert machine.calls()[-1][2:] == ["-q", "-m", "slow"]


def test_the_test_script_stops_at_a_style_error(tmp_path):
    machine = Machine(tmp_path)
    stand_in = tmp_path / "env/bin/python"
    stand_in.write_text(stand_in.read_text().replace("exit 0\n", '[[ "$*" != *format* ]] || exit 1\n'))
    assert machine.run(script="test.sh").returncode == 1
    assert [call[1] for call in machine.calls()] == ["ruff", "ruff"]


def test_tensorboard_gets_the_run(machine):
    run = machine.folder / "my run"
    assert machine.run(run, script="tensorboard.sh").returncode == 2
    run.mkdir()
    result = machine.run(run, "--port", "7007", "--bind_all", script="tensorboard.sh")
    assert result.returncode == 0
    assert "holds no summaries yet" in result.stderr
    assert machine.calls() == [["-m", "tensorboard.main", f"--logdir={run}", "--port=7007", "--bind_all"]]


def test_tensorboard_gets_links_to_several_runs_which_are_removed_at_its_end(tmp_path):
    machine = Machine(tmp_path)
    stand_in = tmp_path / "env/bin/python"
    look = (
        'for link in "${3#--logdir=}"/*; do echo "$(basename "$link") $(readlink "$link")"; done; echo "$3"; exit 3\n'
    )
    stand_in.write_text(stand_in.read_text().replace("exit 0\n", look))
    runs = [tmp_path / name for name in ("a, b:c", "one/run", "other/run")]
    for run in runs:
        (run / "group_00/summaries/train").mkdir(parents=True)
        (run / "group_00/summaries/train/events.out.tfevents.1").touch()
    result = machine.run(*runs, script="tensorboard.sh", TMPDIR=str(tmp_path))
    *links, logdir = result.stdout.splitlines()
    assert links == [f"{name} {run}" for name, run in zip(("a, b:c", "run", "run-2"), runs, strict=True)]
    assert result.returncode == 3 and "no summaries" not in result.stderr
    assert logdir.startswith(f"--logdir={tmp_path}/") and not list(tmp_path.glob("hazeheal-tensorboard.*"))
    result = machine.run(runs[0], runs[1], runs[0] / ".", script="tensorboard.sh", TMPDIR=str(tmp_path))
    assert result.returncode == 2 and "is given twice" in result.stderr
    assert not list(tmp_path.glob("hazeheal-tensorboard.*"))
