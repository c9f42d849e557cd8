"""`hazeheal launch`: the data set that it makes before the training, and what stops it."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import processes
import pytest
from launching import TRAIN
from places import ROOT

from hazeheal.__main__ import main
from hazeheal.commands import launch, prepare_data, train
from hazeheal.distributed import supervisor
from hazeheal.errors import EXIT_INTERRUPTED, EXIT_RESTART

pytestmark = pytest.mark.usefixtures("no_gpus")
SYNTHETIC, CONVERT = prepare_data.SYNTHESIZE, prepare_data.CONVERT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs in an empty directory, which stands for the clone too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepare_data, "__file__", str(tmp_path / "hazeheal/commands/prepare_data.py"))
    (tmp_path / "launch").mkdir()
    return tmp_path


class Commands(list):
    """The commands that `hazeheal launch` runs or starts, which a test only records.

    Attributes:
        exit_codes: {word: exit code} of the commands that hold this word; 0 for the others.
        variables: What is set for the training process.
    """

    def __init__(self):
        super().__init__()
        self.exit_codes = {}
        self.variables = None

    def run(self, command, **options):
        self.append(list(command))
        return next((code for word, code in self.exit_codes.items() if word in command), 0)

    def supervise(self, start, **options):
        ((_, command, self.variables),) = start()[:1]
        self.append(command)
        return types.SimpleNamespace(run=lambda: 75)


@pytest.fixture
def commands(monkeypatch):
    commands = Commands()
    monkeypatch.setattr(prepare_data, "run", commands.run)
    monkeypatch.setattr(supervisor, "Supervisor", commands.supervise)
    return commands


def make_folders(*names):
    for name in names:
        pathlib.Path(name).mkdir(parents=True, exist_ok=True)


def test_quickstart_makes_converts_and_trains_on_two_cpu_replicas(commands):
    assert main(["launch"]) == 75
    checked, made, converted, trained = commands
    pairs, data_dir = "data/quickstart/pairs", "data/quickstart/tfrecords"
    assert made == [*SYNTHETIC, f"--output_dir={pairs}"]
    folders = [f"--hazy_dir={pairs}/hazy", f"--gt_dir={pairs}/GT", f"--output_dir={data_dir}"]
    assert converted == [*CONVERT, *folders, "--name=quickstart"]
    flags = ["--config=quickstart", "--cpu_replicas=2", "--workdir=runs/quickstart"]
    assert trained == [*TRAIN, *flags, f"--data_dir={data_dir}"]
    assert checked == [*TRAIN, *flags, "--dry_run"]


def test_quickstart_from_elsewhere_stays_in_the_clone(commands, elsewhere, monkeypatch):
    make_folders("below")
    monkeypatch.chdir("below")
    assert main(["launch", "--config.train.steps=3"]) == 75
    assert f"--workdir={elsewhere}/runs/quickstart" in commands[-1]
    assert f"--data_dir={elsewhere}/data/quickstart/tfrecords" in commands[-1]
    assert commands[-1][4:6] == ["--config=quickstart", "--config.train.steps=3"]


def test_quickstart_without_a_clone_uses_the_current_directory(commands, elsewhere, monkeypatch):
    (elsewhere / "launch").rmdir()
    make_folders("below")
    monkeypatch.chdir("below")
    assert main(["launch", "--workdir=w"]) == 75
    assert {"--workdir=w", "--data_dir=data/quickstart/tfrecords"} < set(commands[-1])


def test_quickstart_takes_all_gpus(commands, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert main(["launch"]) == 75
    assert "--gpus=0,1" in commands[-1]
    assert not any(flag.startswith("--cpu_replicas") for flag in commands[-1])


@pytest.mark.parametrize("flags", [["--groups=3"], ["--hosts=a,b", "--index=0"]])
def test_the_groups_of_a_quickstart_drive_one_replica_each(commands, flags):
    assert main(["launch", *flags]) == 75
    assert "--cpu_replicas=1" in commands[-1]
    commands.clear()
    assert main(["launch", "--groups=1"]) == 75
    assert "--cpu_replicas=2" in commands[-1]


def test_own_images_are_converted_first(commands):
    make_folders("my hazy", "my GT")
    own = ["--hazy_dir=my hazy", "--gt_dir", "my GT", "--workdir=a run", "--cpu_replicas=3", "--config=rice1"]
    assert main(["launch", *own, "--convert.tile_size=64", "--restore_from", "old run"]) == 75
    checked, converted, trained = commands
    folders = ["--hazy_dir=my hazy", "--gt_dir=my GT", "--output_dir=a run/tfrecords"]
    assert converted == [*CONVERT, *folders, "--tile_size=64"]
    flags = ["--config=rice1", "--restore_from", "old run", "--cpu_replicas=3", "--workdir=a run"]
    assert trained == [*TRAIN, *flags, "--data_dir=a run/tfrecords"]
    assert checked == [*TRAIN, *flags, "--dry_run"]


def test_a_data_set_that_was_converted_before_is_used(commands):
    assert main(["launch", "--config=rice1", "--data_dir=shards", "--workdir=run"]) == 75
    assert commands == [[*TRAIN, "--config=rice1", "--workdir=run", "--data_dir=shards"]]


def test_a_complete_data_set_is_not_checked_separately(commands):
    make_folders("w/tfrecords")
    pathlib.Path("w/tfrecords/manifest.json").touch()
    assert main(["launch", "--config=rice1", "--hazy_dir=.", "--gt_dir=.", "--workdir=w"]) == 75
    assert [command[2] for command in commands] == ["tfrecords_tools", "hazeheal"]


@pytest.mark.parametrize(("failed", "count"), [("--dry_run", 1), (SYNTHETIC[2], 2), ("convert", 3)])
def test_a_failed_step_stops_before_the_next(commands, failed, count):
    commands.exit_codes = {failed: 3}
    assert main(["launch"]) == 3
    assert len(commands) == count


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workdir="], "--workdir is empty; give a path"),
        (["--hazy_dir=."], "--hazy_dir and --gt_dir belong together; one is missing"),
        (["--gt_dir=.", "--workdir=w"], "--hazy_dir and --gt_dir belong together; one is missing"),
        (["--hazy_dir=.", "--gt_dir=."], "--workdir is missing; the data set is written to"),
        (["--hazy_dir=.", "--gt_dir=absent", "--workdir=w"], "absent is not a directory"),
        (["--hazy_dir=.", "--gt_dir=.", "--data_dir=d", "--workdir=w"], "exclude each other"),
        (
            ["--config=rice1", "--data_dir=d", "--convert.tile_size=64"],
            "--convert.tile_size=64 has nothing to convert",
        ),
        (["--gpus=all"], "lists no GPU"),
        (["--cpu_replicas=0"], "argument --cpu_replicas: must be a positive integer"),
    ],
)
def test_bad_usage_is_one_line_and_runs_nothing(capsys, commands, flags, said):
    assert main(["launch", *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("hazeheal launch: error: ") and said in err
    assert not commands


def test_dry_run_prints_the_steps_and_checks_the_training_without_its_data(capsys, commands, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "main", lambda argv: asked.append(argv) or 0)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    arguments = ["--config=rice1", "--hazy_dir=.", "--gt_dir=.", "--workdir=my run"]
    assert main(["launch", "--dry_run", *arguments]) == 0
    data, group = capsys.readouterr().out.splitlines()
    assert data.startswith("data: ") and data.endswith(
        "convert --hazy_dir=. --gt_dir=. '--output_dir=my run/tfrecords'"
    )
    assert group.startswith("group_00: ") and "'--data_dir=my run/tfrecords'" in group
    assert asked == [["--config=rice1", "--workdir=my run", "--dry_run"]]
    assert not commands


def test_variables_of_the_training_are_set_unless_the_user_sets_them(commands, monkeypatch):
    for name in launch.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    assert main(["launch", "--config=rice1", "--data_dir=d", "--workdir=w", "--cpu_replicas=2"]) == 75
    expected = {name: value for name, value in launch.VARIABLES.items() if name != "NCCL_DEBUG"}
    assert commands.variables == expected | {"CUDA_VISIBLE_DEVICES": "-1"}


def test_a_wrong_value_is_refused_before_the_conversion(elsewhere):
    """By the real processes: one line, exit code 2, and nothing is written."""
    for name in ("hazy", "GT"):
        make_folders(name)
    arguments = [f"--hazy_dir={elsewhere}/hazy", f"--gt_dir={elsewhere}/GT", f"--workdir={elsewhere}/w"]
    arguments += ["--config=rice1", "--config.train.batch_size=-3"]
    code, out, err = processes.run(sys.executable, "-m", "hazeheal", "launch", *arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("hazeheal train: error: --config.train.batch_size=-3")
    assert not (elsewhere / "w").exists()


STEP = """
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def stop(number, frame):
    (here / "signal").write_text(signal.Signals(number).name)
    time.sleep(0.3)  # what it has to tidy up
    (here / "tidy").touch()
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
(here / "ready").touch()
time.sleep(60)
"""
RUN = "import sys; from hazeheal.commands import prepare_data; print('ready', flush=True); sys.exit(prepare_data.run(sys.argv[1:]))"


def start_run(*command):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, command)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # A test run in the background starts its children with SIGINT ignored.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP)],
    )


@pytest.mark.parametrize(
    ("number", "received"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_a_signal_reaches_the_step_whose_exit_code_comes_back(tmp_path, number, received):
    with start_run(sys.executable, "-c", STEP, tmp_path) as process:
        processes.wait_for(lambda: (tmp_path / "ready").exists(), process)
        process.send_signal(number)
        assert process.wait(30) == 128 + received
    assert (tmp_path / "signal").read_text() == received.name
    assert (tmp_path / "tidy").exists()


def test_a_step_that_a_signal_ends_counts_as_128_and_its_number():
    assert prepare_data.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 128 + 9


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, EXIT_RESTART), (signal.SIGINT, EXIT_INTERRUPTED)])
def test_nothing_starts_after_a_step_that_completes_although_it_was_stopped(number, code):
    kill = f"import os, signal; signal.signal({number:d}, signal.SIG_IGN); os.kill(os.getppid(), {number:d})"
    assert prepare_data.run([sys.executable, "-c", f"{kill}; import time; time.sleep(0.2)"]) == code


@pytest.mark.parametrize("seconds", ["30", "0.02"])
def test_a_signal_at_any_moment_leaves_no_process_behind(seconds):
    for attempt in range(15):
        with start_run("sleep", seconds) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(attempt * 0.002)
            process.send_signal(signal.SIGTERM)
            # A step that was left behind would hold the pipe until it ends.
            process.communicate(timeout=10)
            assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM, EXIT_RESTART, 0)


def test_two_quickstarts_make_their_pairs_one_after_the_other(tmp_path):
    """As of two hosts that share a directory."""
    mark = tmp_path / "making"
    step = "import pathlib, sys, time; mark = pathlib.Path(sys.argv[1]);mark.mkdir(); time.sleep(0.3); mark.rmdir()"
    prepare = (
        "import sys; from hazeheal.commands import prepare_data as p; "
        f"steps = ([sys.executable, '-c', {step!r}, {str(mark)!r}], ['true']);"
        f"plan = p.DataPlan({str(tmp_path / 'data/tfrecords')!r}, None, steps, quickstart=True);"
        "sys.exit(p.prepare(plan, check=['true'], environment={}))"
    )
    hosts = [processes.start(sys.executable, "-c", prepare) for _ in range(2)]
    assert [processes.finish(host)[0] for host in hosts] == [0, 0]
