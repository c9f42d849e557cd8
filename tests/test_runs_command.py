"""`hazeheal runs`: the runs below a directory, with and without a status.json."""

import json
import os
import sys

import processes
import pytest

from hazeheal.__main__ import main
from hazeheal.runs.listing import FACTS
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.runs.status import Status


def call(capsys, *argv):
    """(exit code, stdout, stderr) of `hazeheal runs ARGV`."""
    code = main(["runs", *map(str, argv)])
    return code, *capsys.readouterr()


def as_json(capsys, *argv):
    """{run: facts} that --json prints."""
    code, out, err = call(capsys, *argv, "--json")
    assert (code, err) == (0, "")
    return {row.pop("run"): row for row in json.loads(out)}


def make_run(path, *, step=20, state="training"):
    directory = RunDirectory(path)
    status = Status(directory, total_steps=40, facts={"data_dir": "records/rice1"})
    with directory.locked():
        status.begin()
        status.beat(10)
        status.log(step, losses={}, rates={"images_per_second": 41.04, "overhead_share": 0.0123})
        status.saving(step, {"psnr": 21.5})
        status.enter(state, step=step)
    return directory, status


def test_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run("runs/b/done")[1].complete(40)
    make_run("runs/b/stopped")[1].stopped("SIGTERM", 24)
    directory, status = make_run("runs/alive")
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
        "overhead",
        "updated",
        "data",
        "set",
    ]
    assert lines[1].split()[:7] == ["runs/alive", "training", "20/40", "1:01:40", "21.50", "dB", "@20"]
    assert lines[1].endswith("records/rice1") and " 41.0      1.2%  " in lines[1]
    assert lines[2].split()[:3] == ["runs/b/done", "complete", "40/40"]
    assert lines[3].split()[:4] == ["runs/b/stopped", "preempted", "24/40", "-"]
    assert len(lines) == 4


def test_problems_are_printed_below_the_table(tmp_path, capsys):
    make_run(tmp_path / "killed")
    _, status = make_run(tmp_path / "failed")
    with pytest.raises(ValueError, match="two"), status.record_failure():
        raise ValueError("two\nlines")
    code, out, _ = call(capsys, tmp_path)
    assert code == 0
    *_, failed, killed = out.splitlines()
    assert failed == f"{tmp_path}/failed: failed (exit code 1): ValueError: two"
    assert killed.startswith(f"{tmp_path}/killed: killed: process {os.getpid()} on ")
    assert killed.endswith("died without a final status; rerun the command to start again")


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_run_without_a_readable_status_is_unknown(tmp_path, capsys, text):
    (tmp_path / "run/group_00/checkpoints").mkdir(parents=True)
    (tmp_path / "run/config.json").write_text("{}")
    (tmp_path / "not a run/group_00").mkdir(parents=True)
    if text is not None:
        (tmp_path / "run/status.json").write_text(text)
    rows = as_json(capsys, tmp_path)
    assert rows == {str(tmp_path / "run"): dict.fromkeys(FACTS) | {"state": "unknown"}}
    code, out, _ = call(capsys, tmp_path)
    assert code == 0
    assert out.splitlines()[1].split()[1:] == ["unknown", "-/-", *["-"] * 6]


def test_each_run_is_listed_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run("runs/a")
    make_run("runs/a/finer")
    os.symlink("runs", "link")
    assert list(as_json(capsys, "runs", "runs/a", "link")) == ["runs/a", "runs/a/finer"]
    assert list(as_json(capsys, "runs/a")) == ["runs/a", "runs/a/finer"]


def test_no_run_and_bad_usage(tmp_path, capsys):
    code, out, err = call(capsys, tmp_path)
    assert (code, out) == (1, "") and f"no run in or below {tmp_path}" in err
    code, _, err = call(capsys, tmp_path / "absent")
    assert code == 2 and "is not a directory" in err
    assert call(capsys)[0] == 2
    code, out, _ = call(capsys, "--help")
    assert code == 0 and "examples:" in out and "exit codes:" in out


def test_it_changes_nothing_and_does_not_import_tensorflow(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    code = "import sys\nfrom hazeheal.__main__ import main\ncode = main(sys.argv[1:])\nassert 'tensorflow' not in sys.modules\nsys.exit(code)"
    code, out, err = processes.run(sys.executable, "-c", code, "runs", tmp_path)
    assert (code, err) == (0, "") and len(out.splitlines()) == 5
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
