"""`hazeheal checkpoints`: lists every checkpoint of every group, with its damage."""

import json
import logging
import os
import re
import resource
import shutil
import sys
import time

import numpy as np
import processes
import pytest
import tiny
from disks import flip, truncate

from hazeheal.__main__ import main
from hazeheal.commands import checkpoints as command
from hazeheal.runs.checkpoint_manager import CheckpointManager

DATA = "state.data-00000-of-00001"


@pytest.fixture
def run(tmp_path):
    """A run of one group with steps 4, 8 and 12; 8 is the best."""
    path = tmp_path / "Läufe im Nebel" / "run 1"
    save(path, [(4, 20.0), (8, 22.5), (12, 21.0)])
    return path


def save(run, entries, *, group=0):
    """Writes checkpoints [(step, psnr or None), ...] of a group; returns their folder."""
    folder = run / f"group_{group:02d}" / "checkpoints"
    checkpoints = CheckpointManager(folder, keep=10, log=logging.getLogger("test"))
    for step, psnr in entries:
        values = {"a": np.random.default_rng(step).normal(size=20_000).astype(np.float32)}
        checkpoints.save(values, step=step, metrics={} if psnr is None else {"psnr": psnr})
    assert checkpoints.wait()
    checkpoints.close()
    return folder


def folder_of(run, step=None, *, group=0):
    folder = run / f"group_{group:02d}" / "checkpoints"
    return folder if step is None else folder / f"ckpt-{step:08d}"


def call(capsys, *argv):
    """(exit code, stdout, stderr without its beginning) of `hazeheal checkpoints ARGV`."""
    code = main(["checkpoints", *map(str, argv)])
    out, err = capsys.readouterr()
    if code:
        assert err.startswith("hazeheal checkpoints: error: ") and err.count("\n") == 1
    return code, out, err.removeprefix("hazeheal checkpoints: error: ").rstrip("\n")


def as_json(capsys, run):
    """(exit code, the list that --json prints, stderr)."""
    code, out, err = call(capsys, run, "--json")
    return code, json.loads(out), err


def states(rows):
    return [(row["step"], row["state"]) for row in rows]


def test_a_table_of_intact_checkpoints(run, capsys):
    moment = time.mktime((2026, 3, 1, 14, 5, 9, 0, 0, -1))
    os.utime(folder_of(run, 8) / "manifest.json", (moment, moment))
    code, out, err = call(capsys, run)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["group_00", "step   MiB  saved                PSNR (dB)  state"]
    when = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"   4  0\.08  {when}      20\.00  intact", lines[2])
    assert lines[3] == "   8  0.08  2026-03-01 14:05:09      22.50  intact, best"
    assert re.fullmatch(rf"  12  0\.08  {when}      21\.00  intact, newest", lines[4])
    assert lines[5:] == []


def test_json(run, capsys):
    code, rows, err = as_json(capsys, run)
    assert (code, err) == (0, "")
    files = [p.stat().st_size for p in folder_of(run, 8).iterdir()]
    assert len(files) == 3
    saved = rows[1].pop("saved")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", saved)
    assert rows[1] == {
        "group": "group_00",
        "name": "ckpt-00000008",
        "step": 8,
        "bytes": sum(files),
        "psnr": 22.5,
        "state": "whole",
        "reason": None,
        "newest": False,
        "best": True,
    }
    assert [(row["step"], row["newest"], row["best"]) for row in rows] == [
        (4, False, False),
        (8, False, True),
        (12, True, False),
    ]


def test_newest_and_best_may_be_the_same_and_scores_may_be_missing(tmp_path, capsys):
    save(tmp_path, [(4, None), (8, 21.0), (12, 21.0)])
    save(tmp_path, [(4, None), (8, float("nan"))], group=1)
    code, out, _ = call(capsys, tmp_path)
    assert code == 0
    ends = [line.split("  ")[-1] for line in out.splitlines()]
    first = ["group_00", "state", "intact", "intact", "intact, newest, best"]
    assert ends == [*first, "", "group_01", "state", "intact", "intact, newest"]
    assert [line.split()[-2:] for line in out.splitlines()[-2:]] == [["-", "intact"], ["intact,", "newest"]]


DAMAGES = {
    "truncated": (lambda c: truncate(c / DATA), rf"{DATA} has \d+ bytes instead of \d+"),
    "a flipped byte": (lambda c: flip(c / DATA), rf"{DATA} has changed since it was written \(SHA-256\)"),
    "no index": (lambda c: (c / "state.index").unlink(), r"FileNotFoundError: .*: 'state\.index'"),
    "no manifest": (lambda c: (c / "manifest.json").unlink(), r"FileNotFoundError: .*: 'manifest\.json'"),
    "no text": (lambda c: (c / "manifest.json").write_bytes(b"\xff\xfe"), "UnicodeDecodeError: .*"),
    "empty": (lambda c: [p.unlink() for p in c.iterdir()], "FileNotFoundError: .*"),
    "a file": (lambda c: (shutil.rmtree(c), c.touch()), "NotADirectoryError: .*"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_listed_with_the_reason(run, capsys, name):
    spoil, reason = DAMAGES[name]
    spoil(folder_of(run, 12))
    code, out, err = call(capsys, run)
    assert code == 1
    assert err == "group_00: ckpt-00000012 is damaged; training resumes from the newest intact one"
    lines = out.splitlines()
    assert lines[3].endswith("  intact, newest, best")
    assert re.fullmatch(rf" +12 .*  damaged: {reason}", lines[4])
    code, rows, again = as_json(capsys, run)
    assert (code, again) == (1, err)
    assert states(rows) == [(4, "whole"), (8, "whole"), (12, "damaged")]
    assert re.fullmatch(reason, rows[2]["reason"])
    assert not rows[2]["newest"] and not rows[2]["best"] and rows[1]["newest"]


def test_two_groups(run, capsys):
    save(run, [(4, 20.0), (8, None)], group=1)
    assert call(capsys, run)[0] == 0
    flip(folder_of(run, 4, group=1) / DATA)
    flip(folder_of(run, 8) / DATA)
    code, out, err = call(capsys, run)
    assert code == 1
    assert "group_00: ckpt-00000008 is damaged; group_01: ckpt-00000004 is damaged; " in err
    assert [line for line in out.splitlines() if line.startswith("group_")] == ["group_00", "group_01"]
    assert "\n\ngroup_01\n" in out
    flip(folder_of(run, 8, group=1) / DATA)
    assert "group_01: ckpt-00000008 is damaged; group_01 has no intact checkpoint; " in call(capsys, run)[2]


def test_a_group_without_checkpoints(run, capsys):
    for name in ("group_100", "group_02", "group_x", "other"):
        (run / name).mkdir()
    (run / "group_02" / "checkpoints").mkdir()
    code, out, err = call(capsys, run)
    assert code == 1
    assert err.startswith("group_02 has no intact checkpoint; group_100 has no intact checkpoint; ")
    assert out.endswith("\n\ngroup_02\nno checkpoints\n\ngroup_100\nno checkpoints\n")
    assert {row["group"] for row in as_json(capsys, run)[1]} == {"group_00"}


def test_checkpoints_that_are_not_restored_are_listed(run, capsys):
    """Renamed by a restore or a rewind, or being written: listed, and not an error."""
    flip(folder_of(run, 12) / DATA)
    folder = folder_of(run)
    CheckpointManager(folder, keep=3, log=logging.getLogger("test")).find_latest()
    shutil.copytree(folder_of(run, 4), folder / "ckpt-00000012.damaged.1")
    shutil.copytree(folder_of(run, 4), folder / "ckpt-00000009.set_aside")
    shutil.copytree(folder_of(run, 4), folder / ".writing-ckpt-00000016-123")
    (folder / "notes").mkdir()
    code, rows, _ = as_json(capsys, run)
    assert code == 0
    assert [(row["name"], row["state"]) for row in rows] == [
        ("ckpt-00000004", "whole"),
        ("ckpt-00000008", "whole"),
        ("ckpt-00000009.set_aside", "set aside"),
        ("ckpt-00000012.damaged", "set aside"),
        ("ckpt-00000012.damaged.1", "set aside"),
        (".writing-ckpt-00000016-123", "being written"),
    ]
    assert rows[1]["newest"] and rows[1]["best"]
    ends = [line.split("  ")[-1] for line in call(capsys, run)[1].splitlines()]
    aside = "set aside: ckpt-00000012.damaged"
    assert ends[-3:] == [aside, f"{aside}.1", "being written"]


def test_nothing_is_changed(run, capsys):
    flip(folder_of(run, 12) / DATA)
    before = tiny.files(run)
    call(capsys, run)
    assert tiny.files(run) == before


def test_a_run_that_is_training(run, capsys, monkeypatch):
    """While the first checkpoint is read, the run saves a new one and removes all others."""
    damage, todo = command.checkpoints.find_damage, ["train"]

    def train_on(path):
        if todo:
            todo.pop()
            checkpoints = CheckpointManager(folder_of(run), keep=1, log=logging.getLogger("test"))
            checkpoints.save({"a": np.zeros(10, np.float32)}, step=16, metrics={"psnr": 23.0})
            assert checkpoints.wait()
            checkpoints.close()
        return damage(path)

    monkeypatch.setattr(command.checkpoints, "find_damage", train_on)
    code, rows, _ = as_json(capsys, run)
    assert code == 0
    assert states(rows) == [(16, "whole")]
    assert rows[0]["newest"] and rows[0]["best"]


def test_no_run(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    advice = "; name the --workdir of a training"
    for place in ("nowhere", "empty", "file"):
        path = tmp_path / place
        assert call(capsys, path) == (2, "", f"{path} is not the directory of a run{advice}")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: RUN; see hazeheal checkpoints --help"),
        (["a", "b"], "unrecognized arguments: b; see hazeheal checkpoints --help"),
        (["a", "--jso"], "unrecognized arguments: --jso; see hazeheal checkpoints --help"),
    ],
)
def test_bad_usage(capsys, argv, said):
    assert call(capsys, *argv) == (2, "", said)


class Terminal:
    """A stream that claims to be a terminal and records what is written."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_progress_bar_only_on_a_terminal(run, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["checkpoints", str(run)]) == 0
    assert "reading:   0%" in terminal.text
    assert terminal.text.endswith("\r" + " " * 80 + "\r") or terminal.text.endswith("\r")
    out = capsys.readouterr().out
    monkeypatch.undo()
    assert call(capsys, run) == (0, out, "")


def test_processes(run):
    """As a process: without TensorFlow, with a closed pipe, and with names that are not valid UTF-8."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = tiny.start("checkpoints", "--help")
    out, err = process.communicate(timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (process.returncode, err) == (0, "")
    assert all(word in out for word in ("RUN", "--json", "exit codes", "set aside"))
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1

    strange = run.with_name(os.fsdecode(b"run \xff"))
    run.rename(strange)
    (folder_of(strange, 12) / "state.index").unlink()
    for more in ([], ["--json"]):
        process = tiny.start("checkpoints", os.fspath(strange), *more)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "ckpt-00000012 is damaged" in err and "Traceback" not in err
        assert "FileNotFoundError" in out


def test_help_and_listing_do_not_import_tensorflow(run):
    code = """
import sys
from hazeheal.__main__ import main
codes = [main(["checkpoints", *argv]) for argv in (["--help"], [sys.argv[1]])]
print(codes, sorted({"tensorflow", "keras"} & set(sys.modules)))
"""
    ended, out, err = processes.run_python(code, run)
    assert ended == 0, err
    assert out.splitlines()[-1] == "[0, 0] []"
