"""The launch scripts, with a stand-in for Python that records how it was called: nothing is installed or trained."""

import os
import pathlib
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NO_GPU = "exit 9\n"  # what nvidia-smi does on a machine without a driver
TWO_GPUS = "echo 0\necho 1\n"

# Everything that launch/environment.sh asks of Python itself goes to the real one.
STAND_IN = """#!/usr/bin/env bash
if [[ "$1" == -c || "$1" == - ]]; then exec {python} "$@"; fi
{{ printf '%s\\t' "$@"; printf '\\n'; }} >> {calls}
if [[ "$*" == *"hazeheal launch"* ]]; then env > {calls}.env; {train}; fi
if [[ "$*" == *"pip install"* ]]; then {pip}; fi
exit 0
"""

TRAINER = """
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def stop(number, frame):
    (here / "signal").write_text(signal.Signals(number).name)
    time.sleep(0.5)  # saving takes a moment, which the launcher has to wait for
    (here / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, stop)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "started with SIGINT ignored"
signal.signal(signal.SIGINT, stop)
(here / "ready").touch()
time.sleep(60)
"""


class Machine:
    """A copy of the scripts, an active environment with the stand-in, and a nvidia-smi of choice."""

    def __init__(self, folder, *, gpus=NO_GPU, train="true", pip="true", skip_install=True):
        self.folder = folder
        self.root = folder / "a clone"
        for name in ("launch", "hazeheal"):
            (self.root / name).mkdir(parents=True)
        for path in (*ROOT.glob("launch/*.sh"), ROOT / "setup.py", ROOT / "pyproject.toml"):
            shutil.copy(path, self.root / path.relative_to(ROOT))
        shutil.copy(ROOT / "hazeheal/__init__.py", self.root / "hazeheal")
        self.calls_file = folder / "calls.txt"
        fill = {"python": shlex.quote(sys.executable), "calls": shlex.quote(str(self.calls_file))}
        self.script(folder / "env/bin/python", STAND_IN.format(**fill, train=train, pip=pip))
        self.script(folder / "bin/nvidia-smi", f"#!/usr/bin/env bash\n{gpus}")
        kept = {k: v for k, v in os.environ.items() if k in ("HOME", "LANG", "TMPDIR")}
        self.environ = kept | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(folder / "env"),
        }
        if skip_install:
            self.environ["HAZEHEAL_SKIP_INSTALL"] = "1"

    @staticmethod
    def script(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def command(self, *arguments, script="train_multigpu.sh"):
        return ["bash", str(self.root / "launch" / script), *map(str, arguments)]

    def run(self, *arguments, script="train_multigpu.sh", cwd=None, **environ):
        return subprocess.run(
            self.command(*arguments, script=script),
            cwd=cwd or self.folder,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self):
        if not self.calls_file.exists():
            return []
        return [line.split("\t")[:-1] for line in self.calls_file.read_text().splitlines()]

    def variables(self):
        lines = pathlib.Path(f"{self.calls_file}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


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
    assert made == ["-m", "hazeheal.data.synthetic", f"--output_dir={pairs}"]
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


@pytest.mark.parametrize("code", [1, 2, 75])
def test_exit_code_of_the_trainer_is_passed_on(tmp_path, code):
    assert Machine(tmp_path, train=f"exit {code}").run("--config=c", "--data_dir=d").returncode == code


def test_a_failed_conversion_stops_before_training(tmp_path):
    machine = Machine(tmp_path)
    stand_in = machine.folder / "env/bin/python"
    stand_in.write_text(stand_in.read_text().replace("exit 0\n", '[[ "$*" != *convert* ]] || exit 1\n'))
    assert machine.run("--hazy_dir=.", "--gt_dir=.", "--workdir=w").returncode == 1
    assert [call[1] for call in machine.calls()] == ["hazeheal", "tfrecords_tools"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_trainer_and_its_code_comes_back(tmp_path, number):
    trainer = tmp_path / "trainer.py"
    trainer.write_text(TRAINER)
    machine = Machine(tmp_path, train=shlex.join(["exec", sys.executable, str(trainer), str(tmp_path)]))
    process = subprocess.Popen(
        machine.command("--config=c", "--data_dir=d"),
        env=machine.environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background has SIGINT ignored, and bash cannot trap what it was started with ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert process.poll() is None and time.monotonic() < until, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)  # an impatient user changes nothing
        assert process.wait(30) == 75
    finally:
        process.kill()
        process.stderr.close()
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "signal").read_text() == number.name


@pytest.mark.parametrize("seconds", [30, 0.02])
def test_a_signal_at_any_moment_ends_script_and_step(tmp_path, seconds):
    """As with a conversion: before it is there, and while it ends, none is left behind; what is done is done."""
    script = tmp_path / "script.sh"
    script.write_text(
        f"set -euo pipefail\nsource {shlex.quote(str(ROOT / 'launch/environment.sh'))}\n"
        f"echo ready\nrun_step sleep {seconds}\necho complete\n"
    )
    term = signal.SIGTERM
    for attempt in range(60):
        process = subprocess.Popen(
            ["bash", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(attempt * (0.0001 if seconds == 30 else 0.0005))
        process.send_signal(term)
        # One that was left behind would hold the pipes until it ends.
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) in {
            *[(-term, "", ""), (128 + term, "", "")],  # the script itself, the step
            *[(-term, "complete\n", ""), (0, "complete\n", "")],
        }


def pip_calls(machine):
    return [call for call in machine.calls() if call[:3] == ["-m", "pip", "install"]]


def test_installs_once_then_again_only_when_something_changed(tmp_path):
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
    assert "nvidia-smi shows 2 GPU(s)" in result.stderr
    Machine.script(tmp_path / "bin/nvidia-smi", f"#!/usr/bin/env bash\n{NO_GPU}")
    assert machine.run(*flags).returncode == 0
    assert [call[2] for call in machine.calls()].count("launch") == 5  # each run went on after it
    assert len(pip_calls(machine)) == 3  # what was brought for GPUs serves the CPU too


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


def test_an_environment_is_made_where_none_is_active_and_mended(machine):
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
