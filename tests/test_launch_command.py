"""`hazeheal launch`: the processes it starts, their flags and variables, and the arguments it refuses."""

import os
import resource
import subprocess
import sys

import pytest
from launching import JOB, TRAIN
from places import ROOT

from hazeheal.__main__ import main
from hazeheal.commands import launch, train
from hazeheal.distributed import error_notes, supervisor, tf_config

pytestmark = pytest.mark.usefixtures("no_gpus")


@pytest.fixture
def started(monkeypatch):
    """What a `hazeheal launch` in this process hands to its supervisor; nothing is started."""
    found = []

    class Stand:
        def __init__(self, start, **options):
            self.start, self.options = start, options
            found.append(self)

        def run(self):
            return 75

    monkeypatch.setattr(supervisor, "Supervisor", Stand)
    return found


def refused(capsys, *argv):
    """What `hazeheal launch ARGV` says in its one line, with which it ends."""
    assert main(["launch", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("hazeheal launch: error: ")
    return line.removeprefix("hazeheal launch: error: ")


def processes(started):
    (one,) = started
    return one.start()


def variables():
    """What is set for every training process."""
    return {name: value for name, value in launch.VARIABLES.items() if name not in os.environ}


HELP = """
import sys
from hazeheal.__main__ import main
code = main(["launch", "--help"])
print(sorted({"tensorflow", "keras", "numpy", "ml_collections"} & set(sys.modules)))
sys.exit(code)
"""


def test_help_is_quick_and_imports_nothing_large():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "")
    text, loaded = done.stdout.rstrip("\n").rsplit("\n", 1)
    assert loaded == "[]"
    assert text.startswith("usage: hazeheal launch")
    for word in (
        "groups",
        "hosts",
        "index",
        "gpus",
        "cpu_replicas",
        "max_restarts",
        "hang_timeout",
        "dry_run",
    ):
        assert f"--{word}" in text
    assert all(f" {code} " in text for code in (0, 1, 2, 75, 130))
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.5


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["--groups=0"],
            "argument --groups: must be a positive integer, got '0'; see hazeheal launch --help",
        ),
        (["--groups=two"], "argument --groups: must be a positive integer, got 'two'"),
        (["--groups=-1"], "argument --groups: must be a positive integer, got '-1'"),
        (["--groups"], "argument --groups: expected one argument"),
        (
            ["--groups=2", "--cpu_replicas=3"],
            "--cpu_replicas=3 and --groups=2: each of several groups uses",
        ),
        (["--hosts=a,b"], "--hosts and --index must be given together; one is missing"),
        (["--index=0"], "--hosts and --index must be given together; one is missing"),
        (["--hosts=a,b", "--index=2"], "--index=2 must be 0 to 1, as there are 2 hosts"),
        (["--hosts=a,b", "--index=-1"], "argument --index: must be a non-negative integer, got '-1'"),
        (["--hosts=", "--index=0"], "--hosts: ':7710' is not a valid host:port, as in 10.0.0.1:7000"),
        (["--hosts=a\nb,c", "--index=0"], r"'a\nb:7710' is not a valid host:port"),
        (["--hosts=a,a", "--index=0"], "--hosts: a:7710 is used by two groups"),
        (["--gpus=all"], "--gpus=all: CUDA_VISIBLE_DEVICES= lists no GPU"),
        (["--gpus=0,x"], "argument --gpus: must be a list of numbers such as 0,1, got '0,x'"),
        (["--gpus=-1"], "argument --gpus: must be a list of numbers such as 0,1, got '-1'"),
        (["--gpus="], "argument --gpus: must be a list of numbers such as 0,1, got ''"),
        (["--gpus=0"], "--gpus=0: GPU 0 does not exist; CUDA_VISIBLE_DEVICES= has none"),
        (["--gpus=0,0"], "--gpus=0,0 lists a GPU twice; list each GPU once"),
        (["--gpus=0", "--cpu_replicas=1"], "argument --cpu_replicas: not allowed with argument --gpus"),
        (["--max_restarts=-1"], "argument --max_restarts: must be a non-negative integer, got '-1'"),
        (["--max_restarts=1.5"], "argument --max_restarts: must be a non-negative integer, got '1.5'"),
        *(
            (["--hang_timeout", text], f"must be a number of seconds, 0 or more, got '{text}'")
            for text in ("soon", "-5", "nan", "inf")
        ),
        (["--dry_run=yes"], "argument --dry_run: ignored explicit argument 'yes'"),
        (["--config"], "--config needs a value"),
    ],
)
@pytest.mark.parametrize("dry_run", [[], ["--dry_run"]])
def test_bad_usage_is_one_line_and_starts_nothing(capsys, started, argv, said, dry_run):
    assert said in refused(capsys, *dry_run, *argv)
    assert not started


@pytest.mark.parametrize("extra", [["--groups=2"], ["--hosts=a,b", "--index=0"]])
def test_tf_config_excludes_groups_and_hosts(capsys, monkeypatch, started, extra):
    monkeypatch.setenv("TF_CONFIG", JOB)
    said = refused(capsys, *extra)
    assert said.startswith("TF_CONFIG defines the processes; unset it")
    assert not started


def test_an_invalid_tf_config_is_refused(capsys, monkeypatch, started):
    monkeypatch.setenv("TF_CONFIG", "{")
    assert refused(capsys, "--groups=2").startswith("TF_CONFIG='{' must be a JSON object")
    assert not started


def test_tf_config_is_passed_on_unchanged(monkeypatch, started):
    """The process is called by its number in the job, and finds TF_CONFIG where it was."""
    monkeypatch.setenv("TF_CONFIG", JOB)
    assert main(["launch", "--config=c", "--workdir=w"]) == 75
    assert processes(started) == [("group_02", [*TRAIN, "--config=c", "--workdir=w"], variables())]


def test_a_tf_config_of_one_process_is_ignored(monkeypatch, started):
    monkeypatch.setenv("TF_CONFIG", tf_config.to_json(["a:1"], group=0))
    assert main(["launch", "--config=c", "--groups=2"]) == 75
    assert [tf_config.from_environment(variables).group for _, _, variables in processes(started)] == [0, 1]


def test_by_default_one_process_is_watched(started):
    assert main(["launch", "--config=rice1", "--workdir=w"]) == 75
    assert processes(started) == [("group_00", [*TRAIN, "--config=rice1", "--workdir=w"], variables())]
    assert started[0].options == {"max_restarts": 10, "hang_timeout": 600.0, "notes": None}


def test_flags_of_the_launcher_do_not_reach_the_trainer(started):
    flags = ["--groups=2", "--cpu_replicas", "2", "--max_restarts=0", "--hang_timeout", "1.5"]
    assert main(["launch", "--config=c", *flags, "--hosts=a:7000,b:7000", "--index", "1", "--workdir=w"]) == 75
    found = processes(started)
    assert {name: started[0].options[name] for name in ("max_restarts", "hang_timeout")} == {
        "max_restarts": 0,
        "hang_timeout": 1.5,
    }
    assert [name for name, _, _ in found] == ["group_02", "group_03"]
    for group, (_, command, variables) in enumerate(found, start=2):
        assert command == [*TRAIN, "--config=c", "--cpu_replicas=1", "--workdir=w"]
        job = tf_config.from_environment(variables)
        assert (job.group, job.addresses) == (group, ("a:7000", "a:7001", "b:7000", "b:7001"))


def test_each_attempt_uses_new_ports_that_all_groups_share(started):
    main(["launch", "--config=c", "--groups=2"])
    attempts = [started[0].start() for _ in range(3)]
    told = [[tf_config.from_environment(v).addresses for _, _, v in attempt] for attempt in attempts]
    assert all(one == other for one, other in told)
    assert len({one for one, _ in told}) > 1


@pytest.mark.parametrize("workdir", [["--workdir=a run"], ["--workdir", "a run", "--seed", "-1"]])
@pytest.mark.parametrize(
    ("flags", "own"),
    [(["--hosts=a,b", "--index=1", "--groups=2"], "group_02"), (["--hosts=a,b", "--index=0"], "group_00")],
)
def test_launchers_of_several_hosts_leave_error_notes(started, tmp_path, monkeypatch, workdir, flags, own):
    monkeypatch.chdir(tmp_path)
    assert main(["launch", "--config=c", *flags, *workdir]) == 75
    started[0].options["notes"].write(1)
    assert [path.name for path in (tmp_path / "a run" / error_notes.FOLDER).iterdir()] == [own]


def test_a_process_of_tf_config_leaves_error_notes(monkeypatch, started, tmp_path):
    monkeypatch.setenv("TF_CONFIG", JOB)
    assert main(["launch", "--config=c", f"--workdir={tmp_path}"]) == 75
    started[0].options["notes"].write(1)
    assert (tmp_path / error_notes.FOLDER / "group_02").is_file()


@pytest.mark.parametrize(
    "flags", [["--groups=2", "--workdir=w"], ["--hosts=a,b", "--index=0"], ["--hosts=a", "--index=0"]]
)
def test_one_host_or_no_workdir_leaves_no_error_notes(started, flags):
    assert main(["launch", "--config=c", *flags]) == 75
    assert started[0].options["notes"] is None


def test_the_exit_code_is_that_of_the_job(started, monkeypatch):
    for code in (0, 1, 2, 75, 130):
        monkeypatch.setattr(supervisor.Supervisor, "run", lambda _, code=code: code)
        assert main(["launch", "--config=c"]) == code


WHOLE = [
    "--config=default",
    "--config.note=two  words; $HOME `x` 'y' \"z\"",
    "--workdir",
    "a run/mit Umläuten/日本",
    "--restore_from=-x y",
    "--restore_from",
    "- -- -",
    "",
    "*",
    "a\nb",
    "--group=3",  # no abbreviation of --groups
    "--unknown",
]


def test_other_arguments_reach_the_trainer_unchanged(started):
    assert main(["launch", *WHOLE[:4], "--groups=2", *WHOLE[4:]]) == 75
    for _, command, _ in processes(started):
        assert command[: len(TRAIN)] == TRAIN
        arguments = command[len(TRAIN) :]
        # The workdir comes last.
        assert arguments == [*WHOLE[:2], *WHOLE[4:], "--cpu_replicas=1", f"--workdir={WHOLE[3]}"]


def test_other_arguments_reach_the_trainer_of_a_real_process(tmp_path):
    """The whole way: arguments, a process, `hazeheal train`, which names what it was given."""
    place = "/dev/null/a run; 'Umläute' 日本"
    argv = ["--config=default", f"--restore_from={place}", f"--workdir={tmp_path / 'x y'}", "--data_dir=d"]
    for extra, said in (
        (["--config.note=ein  Wort"], "--config.note=ein  Wort: the configuration has no field 'note'"),
        (["--nothing='x  y' ß"], "unrecognized arguments: --nothing='x  y' ß; see hazeheal train --help"),
        (["--cpu_replicas=1", "straße"], "unrecognized arguments: straße; see"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "hazeheal", "launch", *argv, *extra],
            cwd=ROOT,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("hazeheal train: error: ")
        assert said in line


def test_flags_of_both_commands_are_passed_on():
    """Another one of `hazeheal train` that is called like one of `hazeheal launch` would never reach it."""
    both = [
        {flag for action in command.parser()._actions for flag in action.option_strings} for command in (launch, train)
    ]
    assert both[0] & both[1] == {
        *("-h", "--help", "--gpus", "--cpu_replicas", "--dry_run", "--data_dir", "--workdir"),
    }
