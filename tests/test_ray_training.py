"""launch/train_ray.py: the end of a job, its signals, and (slow) whole jobs on a Ray of this machine."""

import json
import os
import pathlib
import signal
import threading
import time

import jobs
import processes
import pytest
import ray_jobs
import tiny

from hazeheal.distributed import ray_worker

train_ray = ray_jobs.load()


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
    assert train_ray.run(Fit(board, code=code), ray_jobs.Remote(board)) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_asks_the_workers_to_save(board, number, code):
    before = signal.getsignal(number)
    assert train_ray.run(Fit(board, code=75, signals=[number]), ray_jobs.Remote(board)) == code
    assert board.read("a")["stop"]
    assert signal.getsignal(number) == before


def test_a_run_that_is_complete_before_it_stops_is_complete(board):
    assert train_ray.run(Fit(board, code=0, signals=[signal.SIGTERM]), ray_jobs.Remote(board)) == 0


def test_too_many_restarts_are_an_error(board, capsys):
    assert (
        train_ray.run(Fit(board, error=RuntimeError("a\ngroup_01 was ended by SIGKILL\n")), ray_jobs.Remote(board)) == 1
    )
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
            train_ray.run(trainer, ray_jobs.Remote(board))
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
