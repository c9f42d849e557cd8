"""launch/train_ray.py: its flags, its checks, what its workers run, and whole jobs on a Ray of this machine."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
import time
import types

import jobs
import processes
import pytest
import ray_jobs
import tiny
from places import ROOT

from hazeheal.distributed import ray_worker
from hazeheal.distributed.ray_board import Board
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


def test_the_status_of_a_run_becomes_metrics():
    status = {
        **{"state": "training", "step": 30, "epoch": 2, "images_per_second": None, "best_psnr": 20.5, "best_step": 20},
        "losses": {"gen_l1_loss": 0.25, "disc_loss": None},
        "validation": {"step": 20, "psnr": 20.5, "val_gen_l1_loss": 0.5},
    }
    assert ray_worker.metrics(status) == {
        **{"step": 30, "epoch": 2, "best_psnr": 20.5, "best_step": 20, "gen_l1_loss": 0.25},
        **{"val_step": 20, "val_psnr": 20.5, "val_gen_l1_loss": 0.5},
    }
    assert ray_worker.metrics({"step": 0, "losses": {}, "validation": None}) == {"step": 0}


def test_notes_of_replaced_workers_do_not_apply_to_new_ones():
    board = Board()
    assert not board.has_started()
    board.note("a", error=(2, "group_01"))
    board.stop()
    assert board.has_started()
    board.end("a", 0, 2)
    assert board.read("a") == {"stop": True, "is_over": True, "error": (2, "group_01")}
    assert board.read("b") == {"stop": True, "is_over": False}


def test_the_exit_code_is_that_of_the_last_attempt():
    """In the first one a worker was killed, and worker 0 has saved."""
    board = Board()
    assert board.exit_code() is None
    board.end("a", 0, 75)
    board.end("b", 1, 0)
    board.end("b", 0, 0)
    assert board.exit_code() == 0


@pytest.mark.parametrize(("codes", "expected"), [((0, 1), 1), ((75, 2), 2), ((75, 75), 75), ((2, 0), 2), ((75, 0), 75)])
def test_the_exit_code_of_a_job_is_that_of_an_error_in_any_worker(codes, expected):
    board = Board()
    for rank, code in enumerate(codes):
        board.end("a", rank, code)
    assert board.exit_code() == expected


@pytest.fixture
def reported(board, monkeypatch):
    """What is reported to Ray: [(metrics, contents of the pointer or None), ...]."""
    found = []

    def report(values, checkpoint):
        found.append((values, checkpoint))

    def from_directory(folder):
        return json.loads(pathlib.Path(folder, ray_worker.POINTER).read_text())

    sys.modules["ray"].train = types.SimpleNamespace(
        report=report, Checkpoint=types.SimpleNamespace(from_directory=from_directory)
    )
    monkeypatch.setattr(ray_worker, "REPORT_SECONDS", 0.0)
    return found


def write_status(run, **values):
    status = {"state": "training", "step": 0, "steps": 100, "pid": 1, "updated": "2026-01-01T00:00:00+00:00"} | values
    run.mkdir(exist_ok=True)
    (run / "status.json").write_text(json.dumps(status))


def test_worker_0_reports_new_losses_and_each_checkpoint_once(board, reported, tmp_path):
    run = tmp_path / "run"
    write_status(run, step=7, losses={"l": 7.0}, checkpoint_step=6)  # of a process that has been killed
    notes = ray_worker._Notes(Remote(board), attempt="a", name="group_00")
    reports = ray_worker._Reports(str(run), notes)
    reports.send(is_final=False)
    write_status(run, pid=2, step=6, losses={}, checkpoint_step=6)
    reports.send(is_final=False)
    assert reported == []
    write_status(run, pid=2, step=10, losses={"l": 1.0}, checkpoint_step=6)
    for _ in range(2):
        reports.send(is_final=False)
    pointer = {"workdir": str(run), "step": 6}
    assert reported == [({"step": 10, "l": 1.0}, pointer)]
    write_status(run, pid=2, step=12, losses={"l": 1.0}, checkpoint_step=6)
    reports.send(is_final=False)
    assert reported[1:] == [({"step": 12, "l": 1.0}, None)]
    reports.send(is_final=True)
    assert reported[2:] == [({"step": 12, "l": 1.0}, pointer)]
    assert board.read("a")["reports"] == 3


def test_other_workers_report_as_often_as_worker_0(board, reported, tmp_path):
    reports = ray_worker._Reports(str(tmp_path), None)
    for count in (0, 2, 2, 3):
        reports.follow({"reports": count} if count else {})
        assert reported == [({}, None)] * count


class Remote:
    """Stands for a Ray actor: `actor.method.remote(...)` is a call."""

    def __init__(self, actor):
        self._actor = actor

    def __getattr__(self, name):
        return types.SimpleNamespace(remote=getattr(self._actor, name))


@pytest.fixture
def board(monkeypatch):
    """A board in this process, and a Ray that reads it."""
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(get=lambda value: value))
    return Board()


@pytest.fixture
def worker(board, monkeypatch, tmp_path):
    """Returns worker(code, stop_when=None): the exit code of a worker whose training runs this shell code."""
    monkeypatch.setattr(ray_worker, "POLL_SECONDS", 0.02)
    nothing = types.SimpleNamespace(send=lambda **_: None, follow=lambda _: None)
    monkeypatch.setattr(ray_worker, "_Reports", lambda *_: nothing)

    def run(code, *, rank=0):
        program = tmp_path / "python"
        program.write_text(f"#!/usr/bin/env bash\ncd {shlex.quote(str(tmp_path))}\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        job = ray_worker.Job(
            arguments=("--flag", "two words"),
            workdir=str(tmp_path / "run"),
            cwd=os.getcwd(),
            variables={"FORCED": "1", "TF_USE_LEGACY_KERAS": "0"},
            defaults={"FORCED": "2", "SET": "2", "UNSET": "2"},
            hang_timeout=0.0,
            id=ray_worker.mark(tmp_path / "run"),
            board=Remote(board),
        )
        notes = ray_worker._Notes(job.board, attempt="a", name=f"group_{rank:02d}")
        return ray_worker._watch(job, rank, notes)

    return run


def test_a_worker_runs_hazeheal_train_with_its_variables(worker, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")  # as Ray does
    monkeypatch.setenv("SET", "1")
    assert worker('printf "%s\\n" "$@" "$FORCED" "$SET" "$UNSET" "$TF_USE_LEGACY_KERAS" > said') == 0
    assert (tmp_path / "said").read_text().splitlines() == [
        *("-m", "hazeheal", "train", "--flag", "two words"),
        *("1", "1", "2", "0"),
    ]


@pytest.mark.parametrize("code", [1, 2, 75])
def test_the_result_of_a_worker_is_the_exit_code(worker, board, code):
    """A user error is no failure for Ray, which would start the training again."""
    assert worker(f"exit {code}") == code
    assert ("error" in board.read("a")) == (code != 75)


@pytest.mark.parametrize(
    ("code", "said"), [("kill -KILL $$", "was ended by SIGKILL"), ("exit 69", "lost another group")]
)
def test_a_lost_training_fails_the_worker_so_that_ray_restarts_all(worker, board, code, said):
    with pytest.raises(ray_worker.ProcessLostError, match=said):
        worker(f"echo >> started; {code}")
    assert "error" not in board.read("a")


def test_a_lost_training_is_not_restarted_in_its_worker(worker, tmp_path):
    with pytest.raises(ray_worker.ProcessLostError):
        worker("echo once >> started; kill -KILL $$")
    assert (tmp_path / "started").read_text() == "once\n"


SAVES = "trap 'exit 75' TERM; touch ready; while true; do sleep 0.05; done"


def test_a_request_to_stop_reaches_the_training(worker, board):
    board.stop()
    assert worker(SAVES) == 75


def test_the_error_of_another_worker_ends_a_worker(worker, board, monkeypatch):
    monkeypatch.setattr("hazeheal.distributed.supervisor.NOTES_SECONDS", 0.05)
    board.note("a", error=(2, "group_01 on h2"))
    assert worker(SAVES) == 2


def test_other_workers_stay_for_the_last_reports_of_worker_0(worker, board):
    reads, original = [], board.read

    def read(attempt):
        reads.append(attempt)
        if len(reads) == 20:
            board.end("a", 0, 0)
        return original(attempt)

    board.read = read
    assert worker("exit 0", rank=1) == 0
    assert len(reads) == 20


def test_a_workdir_that_is_not_shared_is_refused(worker, board, tmp_path, monkeypatch, capfd):
    """On this node there is a directory of the same name, of another job."""
    monkeypatch.setattr(ray_worker, "mark", lambda _: "another")
    (tmp_path / "run/ray").mkdir(parents=True)
    for prepare in (lambda: None, lambda: (tmp_path / "run/ray/job_id").write_text("old")):
        prepare()
        assert worker("touch started") == 2
        assert "is not the same directory on" in capfd.readouterr().err
        assert board.read("a")["error"][0] == 2
    assert not (tmp_path / "started").exists()


def test_a_group_waits_until_its_previous_process_has_saved(worker, tmp_path, monkeypatch):
    code = (
        "import sys, time\nfrom hazeheal.runs.run_dir import RunDirectory\n"
        "with RunDirectory(sys.argv[1], group=1).locked():\n    print('go', flush=True); time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    start = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, "60"], **start) as previous:
        previous.stdout.readline()
        monkeypatch.setattr(ray_worker, "RELEASE_SECONDS", 0.1)
        with pytest.raises(ray_worker.ProcessLostError, match="the previous process of group 1 still uses"):
            worker("touch started", rank=1)
        assert not (tmp_path / "started").exists()
        previous.kill()
    with subprocess.Popen([*command, "0.3"], **start) as previous:
        previous.stdout.readline()
        monkeypatch.setattr(ray_worker, "RELEASE_SECONDS", 30.0)
        with pytest.raises(ray_worker.ProcessLostError, match="SIGKILL"):
            worker("kill -KILL $$", rank=1)
        assert previous.wait(0.1) == 0


class Fit:
    """Stands for Ray's trainer."""

    def __init__(self, board, *, code=None, error=None, signals=()):
        self.board, self.code, self.error, self.signals = board, code, error, signals

    def fit(self):
        self.board.note("a")
        for number in self.signals:
            os.kill(os.getpid(), number)
        while self.signals and not self.board.read("a")["stop"]:
            pass
        if self.error:
            raise self.error
        self.board.end("a", 0, self.code)


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_the_exit_code_is_that_of_the_job(board, code):
    assert train_ray.run(Fit(board, code=code), Remote(board)) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_asks_the_workers_to_save(board, number, code):
    before = signal.getsignal(number)
    assert train_ray.run(Fit(board, code=75, signals=[number]), Remote(board)) == code
    assert board.read("a")["stop"]
    assert signal.getsignal(number) == before


def test_a_run_that_is_complete_before_it_stops_is_complete(board):
    assert train_ray.run(Fit(board, code=0, signals=[signal.SIGTERM]), Remote(board)) == 0


def test_too_many_restarts_are_an_error(board, capsys):
    assert train_ray.run(Fit(board, error=RuntimeError("a\ngroup_01 was ended by SIGKILL\n")), Remote(board)) == 1
    assert capsys.readouterr().err == "train_ray: error: the job has failed: group_01 was ended by SIGKILL\n"


class Waits:
    """Stands for Ray's trainer while there is no room for the workers, or while they save."""

    def __init__(self, *signals):
        self.signals, self.end = signals, threading.Event()

    def fit(self):
        for number in self.signals:
            os.kill(os.getpid(), number)
            time.sleep(0.1)
        self.end.wait()


class LeftError(Exception):
    pass


def left(trainer, board, monkeypatch):
    """The exit code with which the program ends at once."""

    def leave(code):
        raise LeftError(code)

    monkeypatch.setattr(train_ray, "leave", leave)
    try:
        with pytest.raises(LeftError) as error:
            train_ray.run(trainer, Remote(board))
    finally:
        trainer.end.set()
    return error.value.args[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_job_that_is_stopped_while_it_waits_for_room_ends_at_once(board, monkeypatch, number, code):
    assert left(Waits(number), board, monkeypatch) == code


def test_a_second_ctrl_c_ends_the_job_at_once(board, monkeypatch):
    board.note("a")
    assert left(Waits(signal.SIGINT, signal.SIGINT), board, monkeypatch) == 130


# Whole jobs


@pytest.fixture(scope="module")
def whole_job(data, tmp_path_factory):
    """(directory, output) of a job of two workers that nothing disturbed."""
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'hazeheal[ray]'")
    run = tmp_path_factory.mktemp("ray") / "run"
    code, text = ray_jobs.finish(ray_jobs.start(data, run), run)
    assert code == 0, text
    return run, text


@pytest.mark.slow
def test_a_job_trains_and_its_result_has_the_metrics(whole_job):
    from ray.train import Result

    run, text = whole_job
    assert f"complete: {jobs.TOTAL} steps" in text
    result, reached = Result.from_path(run / "ray"), json.loads((run / "result.json").read_text())
    assert result.metrics == ray_worker.metrics(json.loads((run / "status.json").read_text()))
    assert result.metrics["step"] == result.metrics["val_step"] == jobs.TOTAL
    assert result.metrics["val_psnr"] == reached["psnr"]
    assert result.metrics["gen_l1_loss"] > 0
    with result.checkpoint.as_directory() as folder:
        pointer = json.loads(pathlib.Path(folder, ray_worker.POINTER).read_text())
    assert pointer == {"workdir": str(run), "step": jobs.TOTAL}
    assert tiny.steps(run, group=1) == tiny.steps(run)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "group"), [("worker", 1), ("worker", 0), ("training", 1)])
def test_a_killed_process_is_replaced_and_the_run_is_the_same(whole_job, data, tmp_path, what, group):
    run = tmp_path / "run"
    process = ray_jobs.start(data, run)
    processes.wait_for(lambda: tiny.newest(run) >= 24, process)
    ray_jobs.kill(run, group=group, what=what, number=signal.SIGKILL)
    code, text = ray_jobs.finish(process, run)
    assert code == 0, text
    assert text.count("waiting for the other groups") == 4  # two groups, twice
    for number in (0, 1):
        jobs.same_curves(whole_job[0], run, group=number)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_stopped_job_saves_and_the_same_command_resumes(whole_job, data, tmp_path, number, expected):
    run = tmp_path / "run"
    process = ray_jobs.start(data, run)
    processes.wait_for(lambda: tiny.newest(run) >= 24, process)
    process.send_signal(number)
    code, text = ray_jobs.finish(process, run)
    assert code == expected, text
    stopped_at = tiny.newest(run)
    assert json.loads((run / "status.json").read_text())["step"] == stopped_at < jobs.TOTAL
    code, text = ray_jobs.finish(ray_jobs.start(data, run), run)
    assert code == 0, text
    assert f"resumed at step {stopped_at}" in text
    jobs.same_curves(whole_job[0], run)


@pytest.mark.slow
def test_a_user_error_of_one_worker_ends_the_job_without_a_restart(data, tmp_path):
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'hazeheal[ray]'")
    run = tmp_path / "run"
    run.mkdir()
    (run / "group_01").touch()  # where its directory should be
    code, text = ray_jobs.finish(ray_jobs.start(data, run), run)
    assert code == 1, text
    assert f"--workdir={run} cannot be written" in text
    assert text.count("waiting for the other groups") <= 2


@pytest.mark.slow
def test_a_training_that_is_lost_again_and_again_ends_the_job(data, tmp_path):
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'hazeheal[ray]'")
    run = tmp_path / "run"
    process = ray_jobs.start(data, run, "--max_restarts=0", workers=1)
    processes.wait_for(lambda: tiny.newest(run) >= 24, process)
    ray_jobs.kill(run, group=0, what="training", number=signal.SIGKILL)
    code, text = ray_jobs.finish(process, run)
    assert code == 1, text
    assert text.rstrip().splitlines()[-1].startswith("train_ray: error: the job has failed: ")
    assert "was ended by SIGKILL" in text


@pytest.mark.slow
def test_more_workers_than_a_machine_has_room_for_are_refused(data, tmp_path):
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'hazeheal[ray]'")
    run = tmp_path / "run"
    code, text = ray_jobs.finish(ray_jobs.start(data, run, "--cpus_per_worker=1000"), run)
    assert code == 2, text
    assert "train_ray: error: the cluster has room for 0 of 2 workers with 1000 CPU each" in text
