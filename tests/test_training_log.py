"""training_log.csv: what it holds after full disks, kills and restores."""

import csv
import errno
import logging
import math
import os
import pathlib
import struct
import types

import pytest
from disks import full_disk
from places import SHARED

from hazeheal.errors import HazeHealError
from hazeheal.training.reports.training_log import COLUMNS, HEADER, TrainingLog
from hazeheal.utils import atomic, pace

REFERENCE = SHARED / "reference/original_training_log.csv"


@pytest.fixture(autouse=True)
def records_reach_pytest(restored_logger):
    """Undoes what another test's `setup_logging` did to the logger."""
    logger = logging.getLogger("hazeheal")
    logger.handlers[:], logger.propagate = [], True


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_log(path, steps=(10, 20, 30, 40)):
    log = TrainingLog(path)
    for epoch, step in enumerate(steps):
        log.append({"epoch": epoch, "disc_loss": 1 / (epoch + 3), "step": step})
    return log


def test_the_first_columns_are_those_of_the_original():
    if not REFERENCE.exists():
        pytest.skip("../shared is absent")
    original = REFERENCE.read_text().splitlines()[0].split(",")
    assert list(COLUMNS[: len(original)]) == original


def test_rows_read_back_bit_for_bit(tmp_path):
    values = [0.1, 1 / 3, 1e-300, 5e-324, 2**53 + 1.0, -0.0, math.pi, math.inf]
    log = TrainingLog(tmp_path / "training_log.csv")
    for step, value in enumerate(values):
        log.append({"epoch": step, "step": step, "disc_loss": value, "val_psnr": None})
    rows = rows_of(log.path)
    assert list(rows[0]) == list(COLUMNS)
    assert [struct.pack("d", float(row["disc_loss"])) for row in rows] == [struct.pack("d", v) for v in values]
    assert {row["val_psnr"] for row in rows} == {row["gen_gan_loss"] for row in rows} == {"NA"}
    assert [row["epoch"] for row in rows] == [str(step) for step in range(len(values))]


def test_rows_of_the_original_are_written_identically(tmp_path):
    if not REFERENCE.exists():
        pytest.skip("../shared is absent")
    header, *lines = REFERENCE.read_text().splitlines()
    log = TrainingLog(tmp_path / "log.csv")
    for row in rows_of(REFERENCE):
        numbers = {k: None if v == "NA" else float(v) for k, v in row.items()}
        log.append(numbers | {"epoch": int(row["epoch"]), "step": int(row["epoch"])})
    columns = len(header.split(","))
    assert [",".join(line.split(",")[:columns]) for line in log.path.read_text().splitlines()[1:]] == lines


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("epoch,other\n0,1\n", r"log\.csv has the columns 'epoch,other'"),
        (f"{HEADER}0,1\n", r"log\.csv cannot be read .*move the file away"),
    ],
)
def test_invalid_files_are_refused(tmp_path, content, problem):
    path = tmp_path / "log.csv"
    path.write_text(content)
    with pytest.raises(HazeHealError, match=problem):
        TrainingLog(path)
    assert path.read_text() == content


def test_a_torn_last_row_is_dropped(tmp_path):
    complete = write_log(tmp_path / "complete.csv").path.read_text()
    path = tmp_path / "log.csv"
    for cut in range(0, len(complete) + 1, 7):
        path.write_text(complete[:cut])
        TrainingLog(path).append({"epoch": 9, "disc_loss": 0.5, "step": 90})
        lines = [line for line in complete[:cut].splitlines(keepends=True) if line.endswith("\n")] or [HEADER]
        *before, last = path.read_text().splitlines(keepends=True)
        assert before == lines and last.startswith("9,0.5,")


@pytest.mark.parametrize("step", [-1, 0, 10, 25, 30, 40, 99])
def test_rewind_to_a_step(tmp_path, step):
    log = write_log(tmp_path / "training_log.csv")
    before = log.path.read_text().splitlines(keepends=True)
    later = [line for line in before[1:] if int(line.split(",")[COLUMNS.index("step")]) > step]
    set_aside = tmp_path / "training_log.set_aside.csv"
    for _ in range(2):  # the second one changes nothing
        log.rewind_to(step)
        assert log.path.read_text() == "".join(line for line in before if line not in later)
        assert (set_aside.read_text() if later else "") == ("".join([HEADER, *later]) if later else "")
        assert set_aside.exists() == bool(later)
    log.append({"epoch": 3, "disc_loss": 0.25, "step": 40})
    assert [row["step"] for row in rows_of(log.path)].count("40") == 1


def test_a_resumed_run_writes_the_file_of_an_unbroken_one(tmp_path):
    unbroken = write_log(tmp_path / "a.csv").path.read_bytes()
    write_log(tmp_path / "b.csv", steps=(10, 20, 30))
    log = TrainingLog(tmp_path / "b.csv")
    log.rewind_to(20)
    for epoch in (2, 3):
        log.append({"epoch": epoch, "disc_loss": 1 / (epoch + 3), "step": 10 * epoch + 10})
    assert log.path.read_bytes() == unbroken


class Killed(BaseException):
    pass


def test_rewind_killed_between_any_two_actions(tmp_path, monkeypatch):
    complete = write_log(tmp_path / "complete.csv").path.read_text()
    header, *lines = complete.splitlines(keepends=True)
    rewound = header + "".join(lines[:2])
    actions_left = 0

    def wrap(module, name):
        real = getattr(module, name)

        def stand_in(*args, **options):
            nonlocal actions_left
            if actions_left == 0:
                raise Killed
            actions_left -= 1
            return real(*args, **options)

        monkeypatch.setattr(module, name, stand_in)

    wrap(atomic.os, "fsync")
    wrap(atomic.os, "replace")
    wrap(pathlib.Path, "write_bytes")
    for stop in range(7):
        path = tmp_path / f"{stop}.csv"
        with open(path, "w") as file:
            file.write(complete)
        actions_left = stop
        try:
            TrainingLog(path).rewind_to(20)
            finished = True
        except Killed:
            finished = False
            assert path.read_text() in (complete, rewound)
        actions_left = 1000
        TrainingLog(path).rewind_to(20)
        assert path.read_text() == rewound
        assert (tmp_path / f"{stop}.set_aside.csv").read_text() == header + "".join(lines[2:])
        assert finished == (stop == 6)


def test_rows_that_did_not_fit_on_a_full_disk_are_written_later(tmp_path, caplog):
    log = write_log(tmp_path / "log.csv", steps=(10,))
    before = log.path.read_bytes()
    with full_disk(20):
        for epoch in (1, 2, 3):
            log.append({"epoch": epoch, "step": 10 + 10 * epoch})
        assert log.path.read_bytes() == before
    log.append({"epoch": 4, "step": 50})
    assert caplog.text.count("log.csv cannot be written") == 1
    assert [row["step"] for row in rows_of(log.path)] == ["10", "20", "30", "40", "50"]
    assert os.listdir(tmp_path) == ["log.csv"]


def test_a_failed_rewind_does_not_change_the_log(tmp_path, monkeypatch):
    log = write_log(tmp_path / "log.csv")
    before = log.path.read_bytes()

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(HazeHealError, match=r"log.set_aside.csv cannot be written: No space left"):
        log.rewind_to(10)
    assert log.path.read_bytes() == before


def test_rows_in_quick_succession_are_written_together(tmp_path):
    path = tmp_path / "log.csv"
    log = TrainingLog(path, min_seconds=60.0)
    for epoch in range(3):
        log.append({"epoch": epoch, "step": 10 + 10 * epoch})
    assert len(path.read_text().splitlines()) == 2  # the header and the first row
    log.flush()
    immediate = TrainingLog(tmp_path / "other.csv")
    for epoch in range(3):
        immediate.append({"epoch": epoch, "step": 10 + 10 * epoch})
    assert path.read_bytes() == immediate.path.read_bytes()


def test_on_a_slow_disk_writes_are_rarer(tmp_path, monkeypatch):
    now, moments, write = [0.0], [], TrainingLog._write

    def slow(log):
        moments.append(now[0])
        now[0] += 0.5
        write(log)

    monkeypatch.setattr(pace, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(TrainingLog, "_write", slow)
    log = TrainingLog(tmp_path / "log.csv", min_seconds=1.0)
    for epoch in range(300):
        log.append({"epoch": epoch, "step": epoch + 1})
        now[0] += 1
    assert moments == [0.0, 100.5, 201.0]  # 0.5 % of the time
    log.flush()
    assert len(rows_of(log.path)) == 300
