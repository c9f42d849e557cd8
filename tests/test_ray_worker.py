"""A worker of Ray Train: its notes, its reports, and the training process that it watches."""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import types

import pytest
import ray_jobs
from places import ROOT

from hazeheal.distributed import ray_worker
from hazeheal.distributed.ray_board import Board


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
    notes = ray_worker._Notes(ray_jobs.Remote(board), attempt="a", name="group_00")
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
            board=ray_jobs.Remote(board),
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
    assert len(reads) >= 20  # another thread may read once more


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
