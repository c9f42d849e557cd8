"""launch/train_ray.py: its flags, its checks, and what its workers run."""

import shlex
import sys

import jobs
import processes
import pytest
import ray_jobs
import tiny
from places import ROOT

from hazeheal.distributed import ray_worker
from hazeheal.runs.run_dir import RunDirectory

train_ray = ray_jobs.load()


@pytest.fixture
def flags(data, tmp_path):
    """Arguments of a valid job."""
    return ["--gpus_per_worker=0", *jobs.flags(data, tmp_path / "run")]


@pytest.fixture
def no_ray(monkeypatch):
    """A machine on which nothing can be started: Ray is not installed."""
    monkeypatch.setitem(sys.modules, "ray", None)


def refused(capsys, *argv, code=2):
    assert train_ray.main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("train_ray: error: ")
    return line.removeprefix("train_ray: error: ")


def test_help_imports_neither_ray_nor_tensorflow():
    code = (
        "import runpy, sys\nsys.argv = ['train_ray.py', '--help']\n"
        "try:\n    runpy.run_path('launch/train_ray.py', run_name='__main__')\n"
        "except SystemExit as end:\n    print(end.code, sorted({'ray', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    code, out, err = processes.run_python(code, variables={"PYTHONPATH": str(ROOT)})
    assert (code, err) == (0, "")
    text, _, last = out.rstrip("\n").rpartition("\n")
    assert last == "0 []"
    assert text.startswith("usage: python launch/train_ray.py")
    assert {"0", "1", "2", "75", "130"} <= set(text.partition("exit codes:")[2].split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--workers=0"], "argument --workers: must be a positive integer, got '0'"),
        (["--gpus_per_worker=0.5"], "argument --gpus_per_worker: must be a non-negative integer, got '0.5'"),
        (["--cpus_per_worker=0"], "argument --cpus_per_worker: must be a positive integer, got '0'"),
        (["--max_restarts=-1"], "argument --max_restarts: must be a non-negative integer, got '-1'"),
        (["--hang_timeout=soon"], "argument --hang_timeout: must be a number of seconds, 0 or more, got 'soon'"),
        (["--workdir=runs/a"], "--workdir=runs/a must be an absolute path, on storage that all nodes share"),
        (["--workdir="], "--workdir must be an absolute path"),
        (["--data_dir=records/a"], "--data_dir=records/a must be an absolute path, on storage that all nodes share"),
        (["--gpus=0,1"], "--gpus cannot be used here; use --gpus_per_worker"),
        (["--cpu_replicas=2"], "--cpu_replicas cannot be used here; use --gpus_per_worker=0"),
        (["--preview=a.png"], "--preview cannot be used here; use hazeheal train"),
        (["--plot_models"], "--plot_models cannot be used here; use hazeheal train"),
        (["--groups=2"], "unrecognized arguments: --groups=2; see hazeheal train --help"),
        (["--config.train.batchsize=4"], "the configuration has no field 'train.batchsize'"),
        (["--workers=3"], "--config.train.batch_size=4 does not divide over 3 replicas; use 3 or 6"),
        (["--workers=2", "--gpus_per_worker=4"], "--config.train.batch_size=4 does not divide over 8 replicas; use 8"),
        (["--config.data.crop_size=64"], "--config.data.crop_size=64"),
        (["--restore_from=/nowhere"], "/nowhere"),
    ],
)
@pytest.mark.parametrize("dry_run", [[], ["--dry_run"]])
def test_bad_usage_is_one_line_before_ray_is_needed(capsys, no_ray, flags, argv, said, dry_run):
    assert said in refused(capsys, *flags, *argv, *dry_run, code=1 if said.startswith("/") else 2)


def test_a_data_set_that_does_not_exist_is_refused(capsys, no_ray, flags, tmp_path):
    said = refused(capsys, *flags, f"--data_dir={tmp_path / 'absent'}", code=1)
    assert str(tmp_path / "absent") in said


@pytest.mark.parametrize("name", ["data_dir", "workdir"])
def test_the_directories_must_be_given(capsys, no_ray, flags, name):
    given = [flag for flag in flags if not flag.startswith(f"--{name}=")]
    assert refused(capsys, *given).startswith(f"--{name} must be an absolute path")


def test_without_ray_it_says_what_to_install(capsys, no_ray, flags):
    said = refused(capsys, *flags)
    assert said.startswith("launch/train_ray.py needs Ray (")
    assert said.endswith("): pip install 'hazeheal[ray]'")


def test_a_workdir_in_use_is_refused(capsys, flags, monkeypatch, tmp_path):
    monkeypatch.setattr(train_ray, "require_ray", lambda: None)
    with RunDirectory(tmp_path / "run").locked():
        assert refused(capsys, *flags, code=1).startswith(f"--workdir={tmp_path / 'run'} is in use by another run")


def test_a_dry_run_prints_what_a_worker_runs_and_needs_no_ray(capsys, no_ray, flags, data, tmp_path):
    assert train_ray.main([*flags, "--workers=2", "--cpus_per_worker=3", "--metrics_port", "9400", "--dry_run"]) == 0
    *plan, workers, command = capsys.readouterr().out.splitlines()
    assert plan == [
        f"data      {data}: 11 training, 3 validation pairs",
        f"workdir   {tmp_path / 'run'}: a new run",
    ]
    assert workers == "workers   2, each with 3 CPU:"
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words[: words.index("python")])
    assert variables["TF_NUM_INTRAOP_THREADS"] == "3"
    assert words[words.index("python") :] == [
        *("python", "-m", "hazeheal", "train", *tiny.arguments(**jobs.FIELDS), "--metrics_port", "9400"),
        *("--cpu_replicas=1", f"--data_dir={data}", f"--workdir={tmp_path / 'run'}"),
    ]
    assert not (tmp_path / "run").exists()


def test_a_worker_with_gpus_names_them():
    assert train_ray.device_flags(1) == ["--gpus=0"]
    assert train_ray.device_flags(3) == ["--gpus=0,1,2"]
    variables, defaults = train_ray.environment(gpus=2, cpus=8)
    assert "CUDA_VISIBLE_DEVICES" not in variables | defaults  # Ray's
    assert "TF_NUM_INTRAOP_THREADS" not in variables | defaults


def test_a_worker_without_gpus_uses_none_and_as_many_threads_as_cores():
    assert train_ray.device_flags(0) == ["--cpu_replicas=1"]
    variables, defaults = train_ray.environment(gpus=0, cpus=8)
    assert variables["CUDA_VISIBLE_DEVICES"] == "-1"
    assert defaults["TF_NUM_INTRAOP_THREADS"] == "8"
    assert variables["TF_USE_LEGACY_KERAS"] == "0"


@pytest.mark.parametrize(
    ("needed", "places"),
    [
        ({"CPU": 1}, 20),
        ({"CPU": 5, "GPU": 1}, 3),
        ({"CPU": 1, "GPU": 2}, 2),
        ({"CPU": 1, "GPU": 3}, 0),  # four GPUs in all, but not three in one node
        ({"CPU": 9, "GPU": 1}, 1),
    ],
)
def test_workers_are_counted_node_by_node(needed, places):
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 10.0, "GPU": 2.0, "memory": 1e9}, {"CPU": 2.0}]
    assert train_ray.count_places(nodes, needed) == places


@pytest.mark.parametrize(("argv", "gpus"), [(["--gpus_per_worker=2"], 2), (["--gpus_per_worker=0"], 0), ([], 1)])
def test_flags_become_the_settings_of_ray(argv, gpus, tmp_path):
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'hazeheal[ray]'")
    argv = [*argv, "--workers=3", "--cpus_per_worker=8", "--max_restarts=7", f"--workdir={tmp_path}"]
    flags = train_ray.parser().parse_args(argv)
    trainer = train_ray.make_trainer(flags, job="a job")
    assert trainer.train_loop_per_worker is ray_worker.run_group
    assert trainer.train_loop_config == {"job": "a job"}
    assert (trainer.scaling_config.num_workers, trainer.scaling_config.use_gpu) == (3, gpus > 0)
    assert trainer.scaling_config.resources_per_worker == {"CPU": 8} | ({"GPU": gpus} if gpus else {})
    assert trainer.run_config.failure_config.max_failures == 7
    assert trainer.run_config.storage_context.experiment_fs_path == str(tmp_path / "ray")
