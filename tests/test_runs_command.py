"""`hazeheal runs`: the runs below a folder, with and without a status.json."""

import csv
import json
import logging
import os
import sys

import numpy as np
import processes
import pytest

from hazeheal.__main__ import main
from hazeheal.runs.checkpoints import Checkpoints
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.runs.status import Status
from hazeheal.training.reports.training_log import COLUMNS

LOG = """\
2026-03-01 14:05:09.123 devices   1 replica on CPU:0; precision float32 (as configured); XLA off (as configured)
2026-03-01 14:05:09.123 networks  generator 1,000 parameters, discriminator 1,000; perceptual loss off
2026-03-01 14:05:09.123 data      records/a set: 11 training, 3 validation pairs
2026-03-01 14:05:09.123 training  40 steps of 4 images (14.55 epochs)
"""


def call(capsys, *argv):
    """(exit code, stdout, stderr) of `hazeheal runs ARGV`."""
    code = main(["runs", *map(str, argv)])
    return code, *capsys.readouterr()


def told(capsys, *argv):
    """{run: facts} that --json prints."""
    code, out, err = call(capsys, *argv, "--json")
    assert (code, err) == (0, "")
    return {row.pop("run"): row for row in json.loads(out)}


def of_today(path, *, step=20, state="training"):
    directory = RunDirectory(path)
    status = Status(directory, total_steps=40, facts={"data_dir": "records/rice1"})
    with directory.locked():
        status.begin()
        status.beat(10)
        status.validated(step, {"psnr": 21.5})
        status.log(step, losses={}, images_per_second=41.04)
        status.enter(state, step=step)
    return directory, status


def of_before(path, *, log=LOG, steps=((4, 20.0), (8, 22.5), (12, 21.0)), result=None):
    """A run as it was left before there was a status.json."""
    directory = RunDirectory(path)
    directory.group.mkdir(parents=True)
    directory.config.write_text(json.dumps({"train": {"steps": 0, "epochs": 14.5, "batch_size": 4}}))
    directory.log.write_text(log)
    with open(directory.training_log, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="NA")
        writer.writeheader()
        writer.writerow({"epoch": 0, "step": 3, "val_psnr": "23.25"})
        writer.writerow({"epoch": 1, "step": 13})
        file.write("2,0.")  # torn
    checkpoints = Checkpoints(directory.checkpoints, keep=10, log=logging.getLogger("test"))
    for step, psnr in steps:
        progress = {"clock": {"seconds": 2.0, "steps": step}}
        checkpoints.save({"a": np.zeros(2, "float32")}, step=step, metrics={"psnr": psnr}, progress=progress)
    checkpoints.wait()
    checkpoints.close()
    if result is not None:
        directory.save_result(result)
    return directory


def test_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_today("runs/b/done")[1].complete(40)
    of_today("runs/b/stopped")[1].stopped("SIGTERM", 24)
    directory, status = of_today("runs/alive")
    status._facts["eta_seconds"] = 3700.0
    with directory.locked():
        status._write()
        code, out, err = call(capsys, "runs")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == [
        "run",
        "state",
        "step",
        "left",
        "best",
        "PSNR",
        "images/s",
        "updated",
        "data",
        "set",
    ]
    assert lines[1].split()[:7] == ["runs/alive", "training", "20/40", "1:01:40", "21.50", "dB", "@20"]
    assert lines[1].endswith("records/rice1") and " 41.0  " in lines[1]
    assert lines[2].split()[:3] == ["runs/b/done", "complete", "40/40"]
    assert lines[3].split()[:4] == ["runs/b/stopped", "preempted", "24/40", "-"]
    assert len(lines) == 4


def test_what_is_wrong_is_told_under_the_table(tmp_path, capsys):
    of_today(tmp_path / "killed")
    _, status = of_today(tmp_path / "failed")
    with pytest.raises(ValueError, match="two"), status.record_failure():
        raise ValueError("two\nlines")
    code, out, _ = call(capsys, tmp_path)
    assert code == 0
    *_, failed, killed = out.splitlines()
    assert failed == f"{tmp_path}/failed: failed (exit code 1): ValueError: two"
    assert killed.startswith(f"{tmp_path}/killed: killed: process {os.getpid()} on ")
    assert killed.endswith("is gone without a word; the same command goes on from the start")


def test_runs_of_before(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_before("unfinished")
    of_before(
        "stopped",
        log=f"{LOG}2026-03-01 14:06:09.123 stopped by SIGINT at step 12; the same command goes on\n",
    )
    of_before("again", log=f"{LOG}2026-03-01 14:06:09.123 stopped by SIGINT at step 12; the same\n{LOG}")
    of_before("done", result={"steps": 40, "images_per_second": 12.5, "replicas": 2, "precision": "float32"})
    alive = of_before("alive")
    with alive.locked():
        found = told(capsys, ".")
    states = {run: row["state"] for run, row in found.items()}
    assert states == {
        "alive": "training",
        "again": "unfinished",
        "done": "complete",
        "stopped": "stopped",
        "unfinished": "unfinished",
    }
    row = found["unfinished"]
    assert (row["step"], row["steps"], row["epoch"], row["checkpoint_step"]) == (13, 40, 2, 12)
    assert (row["best_psnr"], row["best_step"], row["images_per_second"]) == (23.25, 3, 24.0)
    assert (row["data_dir"], row["groups"], row["alive"]) == ("records/a set", 1, False)
    assert (found["done"]["step"], found["done"]["images_per_second"], found["done"]["replicas"]) == (
        40,
        12.5,
        2,
    )


def test_a_run_of_which_little_is_left(tmp_path, capsys):
    (tmp_path / "run/group_00/checkpoints").mkdir(parents=True)
    (tmp_path / "run/config.json").write_text("{")
    (tmp_path / "no run/group_00").mkdir(parents=True)
    found = told(capsys, tmp_path)
    assert list(found) == [str(tmp_path / "run")]
    row = found[str(tmp_path / "run")]
    assert (row["state"], row["step"], row["steps"], row["best_psnr"]) == ("unfinished", 0, None, None)
    code, out, _ = call(capsys, tmp_path)
    assert code == 0 and "0/-" in out


def test_each_run_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_today("runs/a")
    of_today("runs/a/finer")
    os.symlink("runs", "link")
    assert list(told(capsys, "runs", "runs/a", "link")) == ["runs/a", "runs/a/finer"]
    assert list(told(capsys, "runs/a")) == ["runs/a", "runs/a/finer"]


def test_no_run_and_bad_usage(tmp_path, capsys):
    code, out, err = call(capsys, tmp_path)
    assert (code, out) == (1, "") and f"no run in or below {tmp_path}" in err
    code, _, err = call(capsys, tmp_path / "absent")
    assert code == 2 and "is no directory" in err
    assert call(capsys)[0] == 2
    code, out, _ = call(capsys, "--help")
    assert code == 0 and "examples:" in out and "exit codes:" in out


def test_it_changes_nothing_and_does_without_tensorflow(tmp_path):
    of_today(tmp_path / "a")
    of_before(tmp_path / "b")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    code = "import sys\nfrom hazeheal.__main__ import main\ncode = main(sys.argv[1:])\nassert 'tensorflow' not in sys.modules\nsys.exit(code)"
    code, out, err = processes.run(sys.executable, "-c", code, "runs", tmp_path)
    assert (code, err) == (0, "") and len(out.splitlines()) == 4
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
