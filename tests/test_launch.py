"""launch/train_multigpu.sh: which data, devices and processes it takes, what it hands on, and what it refuses."""

import shlex
import subprocess
import sys

import pytest
from scripts import ROOT, TWO_GPUS, Machine


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("script", ["train_multigpu.sh", "test.sh", "tensorboard.sh"])
def test_help_needs_nothing(machine, script):
    result = machine.run("--help", script=script, VIRTUAL_ENV="/nowhere")
    assert result.returncode == 0
    assert "usage: bash launch/" in result.stdout + result.stderr
    assert not machine.calls()


def test_scripts_are_valid_bash():
    for path in (*ROOT.glob("launch/*.sh"), ROOT / ".ci/run"):
        result = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_quickstart_makes_converts_and_trains_on_two_cpu_replicas(machine):
    result = machine.run(cwd=machine.root)
    assert result.returncode == 0, result.stderr
    checked, made, converted, trained = machine.calls()
    pairs, shards = "data/quickstart/pairs", "data/quickstart/tfrecords"
    assert made == ["-m", "hazeheal.data.synthesis.synthetic_pairs", f"--output_dir={pairs}"]
    assert converted[:3] == ["-m", "tfrecords_tools", "convert"]
    assert {f"--hazy_dir={pairs}/hazy", f"--gt_dir={pairs}/GT", f"--output_dir={shards}"} < set(converted)
    assert trained == [
        *("-m", "hazeheal", "launch", f"--data_dir={shards}", "--workdir=runs/quickstart"),
        *("--cpu_replicas=2", "--config=quickstart"),
    ]
    assert checked == [*trained[:3], *trained[4:], "--dry_run"]
    assert machine.variables()["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_quickstart_from_elsewhere_stays_in_the_clone_and_takes_all_gpus(tmp_path):
    machine = Machine(tmp_path, gpus=TWO_GPUS)
    assert machine.run("--config.train.steps=3").returncode == 0
    trained = machine.calls()[-1]
    assert f"--workdir={machine.root}/runs/quickstart" in trained
    assert trained[-2:] == ["--config=quickstart", "--config.train.steps=3"]
    assert not any(flag.startswith("--cpu_replicas") for flag in trained)
    assert "CUDA_VISIBLE_DEVICES" not in machine.variables()


def test_hidden_gpus_mean_cpu_replicas(tmp_path):
    machine = Machine(tmp_path, gpus=TWO_GPUS)
    assert machine.run(CUDA_VISIBLE_DEVICES="").returncode == 0
    assert "--cpu_replicas=2" in machine.calls()[-1]


@pytest.mark.parametrize("joined", [True, False])
def test_own_data_is_converted_and_arguments_arrive_whole(machine, joined):
    hazy, clear, run = (machine.folder / name for name in ("my hazy", "my GT", "a run"))
    hazy.mkdir()
    clear.mkdir()
    own = {"--hazy_dir": hazy, "--gt_dir": clear, "--workdir": run, "--cpu_replicas": 3}
    flags = [f"{k}={v}" for k, v in own.items()] if joined else [str(x) for pair in own.items() for x in pair]
    passed = ["--config=rice1", "--config.note=two words; $HOME `x` 'y'", "--restore_from", "old run", ""]
    result = machine.run(*flags, "--convert.tile_size=64", *passed)
    assert result.returncode == 0, result.stderr
    checked, converted, trained = machine.calls()
    folders = [f"--hazy_dir={hazy}", f"--gt_dir={clear}", f"--output_dir={run}/tfrecords"]
    assert converted == ["-m", "tfrecords_tools", "convert", *folders, "--tile_size=64"]
    named = [f"--data_dir={run}/tfrecords", f"--workdir={run}", "--cpu_replicas=3"]
    assert trained == ["-m", "hazeheal", "launch", *named, *passed]
    assert checked == ["-m", "hazeheal", "launch", *named[1:], *passed, "--dry_run"]
    assert machine.variables()["CUDA_VISIBLE_DEVICES"] == "-1"


def test_shards_made_before_are_not_converted(machine):
    assert machine.run("--config=rice1", "--data_dir=shards", "--workdir=run").returncode == 0
    assert machine.calls() == [
        ["-m", "hazeheal", "launch", "--data_dir=shards", "--workdir=run", "--config=rice1"]
    ]


def test_chosen_gpus_are_checked_and_handed_on(tmp_path):
    machine = Machine(tmp_path, gpus=TWO_GPUS)
    for wrong in ("7", "0,7"):
        result = machine.run(f"--gpus={wrong}", "--config=rice1", "--data_dir=d")
        assert result.returncode == 2
        assert "no GPU 7 (there are 0 1)" in result.stderr
    assert "names GPU 1 twice" in machine.run("--gpus=1,1", "--config=rice1", "--data_dir=d").stderr
    assert not machine.calls()
    for gpus in ("1", "1,0", "all"):
        assert machine.run("--gpus", gpus, "--config=rice1", "--data_dir=d").returncode == 0
        # The launcher chooses them, for each process: they are not left to a TensorFlow that may not see them.
        assert f"--gpus={gpus}" in machine.calls()[-1]
        assert not {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"} & set(machine.variables())


def test_gpus_count_among_those_that_a_scheduler_has_left(tmp_path):
    """SLURM gave 4 and 6 of the machine's: which of them is number 1 is for the launcher to say."""
    machine = Machine(tmp_path, gpus=TWO_GPUS)
    for gpus in ("4", "all"):
        flags = [f"--gpus={gpus}", "--config=rice1", "--data_dir=d"]
        assert machine.run(*flags, CUDA_VISIBLE_DEVICES="4,6").returncode == 0
        assert f"--gpus={gpus}" in machine.calls()[-1]
        assert machine.variables()["CUDA_VISIBLE_DEVICES"] == "4,6"
    for hidden in ("", "-1", "NoDevFiles"):
        result = machine.run("--gpus=all", "--config=rice1", "--data_dir=d", CUDA_VISIBLE_DEVICES=hidden)
        assert result.returncode == 2
        assert f"--gpus=all: there is no GPU: CUDA_VISIBLE_DEVICES={hidden} hides them" in result.stderr


PROCESSES = {
    "--groups": "2",
    "--hosts": "node 1:7710,[::1]:7710",
    "--index": "1",
    "--max_restarts": "0",
    "--hang_timeout": "90.5",
}


@pytest.mark.parametrize("joined", [True, False])
def test_flags_of_the_processes_reach_the_launcher_whole(machine, joined):
    flags = (
        [f"{k}={v}" for k, v in PROCESSES.items()] if joined else [x for p in PROCESSES.items() for x in p]
    )
    assert machine.run(*flags, "--config=rice1", "--data_dir=d", "--workdir=w").returncode == 0
    passed = [f"{name}={value}" for name, value in PROCESSES.items()]
    assert machine.calls() == [
        ["-m", "hazeheal", "launch", "--data_dir=d", "--workdir=w", *passed, "--config=rice1"]
    ]


@pytest.mark.parametrize("flag", PROCESSES)
def test_flags_of_the_processes_are_shown_and_need_a_value(machine, flag):
    assert f"  {flag} " in machine.run("--help").stdout or f" {flag} I" in machine.run("--help").stdout
    for wrong in ([flag], [f"{flag}="], [flag, "--config=rice1"]):
        result = machine.run(*wrong)
        assert (result.returncode, result.stderr) == (2, f"error: {flag} has no value; see --help\n")
    assert not machine.calls()


def test_dry_run_shows_the_flags_of_the_processes_and_hands_them_on(machine):
    flags = [f"{name}={value}" for name, value in PROCESSES.items()]
    result = machine.run("--dry_run", *flags, "--config=rice1", "--data_dir=d")
    assert result.returncode == 0, result.stderr
    (shown,) = [line for line in result.stdout.splitlines() if "hazeheal launch" in line]
    command = ["-m", "hazeheal", "launch", "--data_dir=d", *flags, "--config=rice1"]
    assert shlex.split(shown)[1:] == command
    assert machine.calls() == [[*command, "--dry_run"]]


@pytest.mark.parametrize("flags", [["--groups=3"], ["--hosts=a,b", "--index=0"]])
def test_the_groups_of_a_quickstart_drive_one_replica_each(machine, flags):
    """Two CPU replicas are what one group gets; the launcher refuses them for several."""
    assert machine.run(*flags).returncode == 0
    trained = machine.calls()[-1]
    assert not any(flag.startswith("--cpu_replicas") for flag in trained)
    assert trained[-len(flags) - 1 :] == [*flags, "--config=quickstart"]
    assert machine.run("--groups=1").returncode == 0
    assert {"--cpu_replicas=2", "--groups=1"} < set(machine.calls()[-1])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--gpus=0"], "nvidia-smi shows none"),
        (["--gpus=all"], "there is no GPU"),
        (["--gpus=x"], "not a list of numbers"),
        (["--gpus"], "--gpus has no value"),
        (["--workdir="], "--workdir has no value"),
        (["--workdir", "--config=rice1"], "--workdir has no value"),
        (["--cpu_replicas=0"], "not a number from 1 to 99"),
        (["--cpu_replicas=2", "--gpus=0"], "exclude each other"),
        (["--groups=0"], "--groups=0 is not a number from 1 to 99"),
        (["--groups=two"], "--groups=two is not a number from 1 to 99"),
        (["--hosts=a,b"], "--hosts and --index belong together; one is missing"),
        (["--index=0"], "--hosts and --index belong together; one is missing"),
        (["--hazy_dir=."], "belong together"),
        (["--hazy_dir=.", "--gt_dir=."], "--workdir is missing"),
        (["--hazy_dir=.", "--gt_dir=absent", "--workdir=w"], "absent is not a directory"),
        (["--hazy_dir=.", "--gt_dir=.", "--data_dir=d", "--workdir=w"], "exclude each other"),
        (["--config=rice1", "--data_dir=d", "--convert.tile_size=64"], "nothing to convert"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(machine, flags, said):
    result = machine.run(*flags)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not machine.calls()


def test_dry_run_without_an_environment_does_nothing(tmp_path):
    machine = Machine(tmp_path, skip_install=False)
    del machine.environ["VIRTUAL_ENV"]
    result = machine.run("--dry_run", PYTHON=sys.executable)
    assert result.returncode == 0, result.stderr
    assert f"made first, with {sys.executable}" in result.stdout
    assert "hazeheal launch" in result.stdout
    assert not machine.calls()
    assert sorted(p.name for p in machine.root.iterdir()) == [
        "hazeheal",
        "launch",
        "pyproject.toml",
        "setup.py",
    ]


def test_dry_run_asks_the_trainer_when_it_can(machine):
    result = machine.run("--dry_run", "--config=rice1", "--data_dir=my shards")
    assert result.returncode == 0
    assert machine.calls() == [
        ["-m", "hazeheal", "launch", "--data_dir=my shards", "--config=rice1", "--dry_run"]
    ]
    assert "my\\ shards" in result.stdout


def test_dry_run_does_not_convert_and_checks_without_the_data(machine):
    result = machine.run("--dry_run", "--hazy_dir=.", "--gt_dir=.", "--workdir=w")
    assert result.returncode == 0
    assert machine.calls() == [["-m", "hazeheal", "launch", "--workdir=w", "--dry_run"]]
    assert "tfrecords_tools convert" in result.stdout


def test_a_wrong_configuration_is_refused_before_the_conversion(tmp_path):
    """With the real `hazeheal launch`: one line, the value, exit 2, and nothing is made."""
    machine = Machine(tmp_path)
    Machine.script(
        tmp_path / "env/bin/python",
        f"#!/usr/bin/env bash\nexport PYTHONPATH={shlex.quote(str(ROOT))}\n"
        f'echo "$2" >> {shlex.quote(str(machine.calls_file))}\nexec {shlex.quote(sys.executable)} "$@"\n',
    )
    own = ["--config=rice1", "--hazy_dir=.", "--gt_dir=.", "--workdir=w", "--config.loss.perceptual_weight=0"]
    for value, said in (("x", "is not an integer"), ("-3", "--config.train.batch_size=-3")):
        result = machine.run(*own, f"--config.train.batch_size={value}")
        assert (result.returncode, result.stdout) == (2, "")
        *_, line = result.stderr.splitlines()
        assert line.startswith("hazeheal launch: error: --config.train.batch_size=")
        assert said in line
    assert "tfrecords_tools" not in machine.calls_file.read_text()
    assert not (tmp_path / "w").exists()


def test_a_data_set_that_is_there_is_checked_with_the_training_alone(machine):
    (machine.folder / "w/tfrecords").mkdir(parents=True)
    (machine.folder / "w/tfrecords/manifest.json").touch()
    assert machine.run("--hazy_dir=.", "--gt_dir=.", "--workdir=w").returncode == 0
    assert [call[1] for call in machine.calls()] == ["tfrecords_tools", "hazeheal"]


def test_settings_of_the_user_win(machine):
    machine.run("--config=rice1", "--data_dir=d", NCCL_DEBUG="INFO", TF_FORCE_GPU_ALLOW_GROWTH="false")
    variables = machine.variables()
    assert (variables["NCCL_DEBUG"], variables["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("INFO", "false")
