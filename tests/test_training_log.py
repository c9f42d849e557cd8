"""training_log.csv: what it holds after full disks, kills and restores."""

import csv
import errno
import logging
import math
import struct

import numpy as np
import pytest
from disks import full_disk
from places import SHARED

from hazeheal.errors import HazeHealError
from hazeheal.training.reports import append
from hazeheal.training.reports.training_log import COLUMNS, TrainingLog

REFERENCE = SHARED / "reference/original_training_log.csv"
SMALL = ("epoch", "loss", "step")


@pytest.fixture(autouse=True)
def records_reach_pytest(restored_logger):
    """Undoes what another test's `setup_logging` did to the logger."""
    logger = logging.getLogger("hazeheal")
    logger.handlers[:], logger.propagate = [], True


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def small_log(path, steps=(10, 20, 30, 40)):
    log = TrainingLog(path, columns=SMALL)
    for epoch, step in enumerate(steps):
        log.append({"epoch": epoch, "loss": 1 / (epoch + 3), "step": step})
    return log


def test_the_first_columns_are_those_of_the_original():
    if not REFERENCE.exists():
        pytest.skip("../shared is absent")
    original = REFERENCE.read_text().splitlines()[0].split(",")
    assert list(COLUMNS[: len(original)]) == original


def test_rows_read_back_bit_for_bit(tmp_path):
    values = [
        0.1,
        1 / 3,
        1e-300,
        5e-324,
        2**53 + 1.0,
        -0.0,
        math.pi,
        math.inf,
        np.float32(0.1),
        np.float64(2 / 7),
    ]
    log = TrainingLog(tmp_path / "training_log.csv")
    for step, value in enumerate(values):
        log.append({"epoch": np.int64(step), "step": step, "disc_loss": value, "val_psnr": None})
    rows = rows_of(log.path)
    assert list(rows[0]) == list(COLUMNS)
    assert [struct.pack("d", float(row["disc_loss"])) for row in rows] == [
        struct.pack("d", float(v)) for v in values
    ]
    assert {row["val_psnr"] for row in rows} == {row["gen_gan_loss"] for row in rows} == {"NA"}
    assert [row["epoch"] for row in rows] == [str(step) for step in range(len(values))]


def test_rows_of_the_original_are_written_identically(tmp_path):
    if not REFERENCE.exists():
        pytest.skip("../shared is absent")
    header, *lines = REFERENCE.read_text().splitlines()
    log = TrainingLog(tmp_path / "log.csv", columns=(*header.split(","), "step"))
    for row in rows_of(REFERENCE):
        numbers = {k: None if v == "NA" else float(v) for k, v in row.items()}
        log.append(numbers | {"epoch": int(row["epoch"]), "step": int(row["epoch"])})
    assert [line.rsplit(",", 1)[0] for line in log.path.read_text().splitlines()[1:]] == lines


def test_invalid_rows_and_files_are_refused(tmp_path):
    log = TrainingLog(tmp_path / "log.csv")
    with pytest.raises(ValueError, match="unknown columns: looss"):
        log.append({"step": 1, "looss": 2.0})
    with pytest.raises(ValueError, match="must have a step"):
        log.append({"epoch": 1})
    with pytest.raises(ValueError, match="commas"):
        log.append({"step": 1, "epoch": "a,b"})
    assert not log.path.exists()
    log.path.write_text("epoch,other\n0,1\n")
    with pytest.raises(HazeHealError, match=r"log\.csv has the columns 'epoch,other'"):
        TrainingLog(log.path)


def test_torn_at_every_byte(tmp_path):
    whole = small_log(tmp_path / "whole.csv").path.read_bytes()
    path = tmp_path / "log.csv"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        log = TrainingLog(path, columns=SMALL)
        log.append({"epoch": 9, "loss": 0.5, "step": 90})
        lines = whole[:cut].splitlines(keepends=True)
        lines = [line for line in lines if line.endswith(b"\n")] or [b"epoch,loss,step\n"]
        assert path.read_bytes() == b"".join(lines) + b"9,0.5,90\n"


@pytest.mark.parametrize("step", [-1, 0, 10, 25, 30, 40, 99])
def test_rewind_to_a_step(tmp_path, step):
    log = small_log(tmp_path / "training_log.csv")
    before = log.path.read_bytes().splitlines(keepends=True)
    later = [line for line in before[1:] if int(line.split(b",")[2]) > step]
    assert log.rewind_to(step=step) == len(later)
    assert log.path.read_bytes() == b"".join(line for line in before if line not in later)
    aside = tmp_path / "training_log.set_aside.csv"
    assert (aside.read_bytes() if aside.exists() else b"") == (
        b"".join([before[0], *later]) if later else b""
    )
    assert log.rewind_to(step=step) == 0
    # The resumed run writes the row again; it is there once.
    log.append({"epoch": 3, "loss": 0.25, "step": 40})
    assert [row["step"] for row in rows_of(log.path)].count("40") == (2 if step >= 40 else 1)


def test_a_resumed_run_leaves_the_file_of_an_unbroken_one(tmp_path):
    unbroken = small_log(tmp_path / "a.csv").path.read_bytes()
    log = small_log(tmp_path / "b.csv", steps=(10, 20, 30))
    with open(log.path, "ab") as file:
        file.write(b"3,0.1")
    log = TrainingLog(log.path, columns=SMALL)
    log.rewind_to(step=20)
    for epoch in (2, 3):
        log.append({"epoch": epoch, "loss": 1 / (epoch + 3), "step": 10 * epoch + 10})
    assert log.path.read_bytes() == unbroken


class Killed(BaseException):
    pass


def test_rewind_killed_between_any_two_actions(tmp_path, monkeypatch):
    whole = small_log(tmp_path / "whole.csv").path.read_bytes()
    head, *lines = whole.splitlines(keepends=True)
    state = {}

    def wrap(module, name):
        real = getattr(module, name)

        def stand_in(*args, **options):
            if state["left"] == 0:
                raise Killed
            state["left"] -= 1
            return real(*args, **options)

        monkeypatch.setattr(module, name, stand_in)

    for name in ("write", "fsync", "replace", "ftruncate", "truncate"):
        wrap(append.os, name)
    for stop in range(100):
        path = tmp_path / f"{stop}.csv"
        path.write_bytes(whole)
        state["left"] = stop
        finished = True
        try:
            TrainingLog(path, columns=SMALL).rewind_to(step=20)
        except Killed:
            finished = False
            assert path.read_bytes() == whole or path.read_bytes() == head + b"".join(lines[:2])
        state["left"] = 10**6
        TrainingLog(path, columns=SMALL).rewind_to(step=20)
        assert path.read_bytes() == head + b"".join(lines[:2])
        assert (tmp_path / f"{stop}.set_aside.csv").read_bytes() == head + b"".join(lines[2:])
        if finished:
            break
    assert 4 <= stop < 50


@pytest.mark.parametrize("limit", [1, 17, 20, 24])
def test_rows_that_did_not_fit_on_a_full_disk_are_written_later(tmp_path, caplog, limit):
    log = TrainingLog(tmp_path / "log.csv", columns=("epoch", "step"))
    log.append({"epoch": 0, "step": 10})
    with full_disk(limit):
        for epoch in (1, 2, 3):
            log.append({"epoch": epoch, "step": 10 + 10 * epoch})
    log.append({"epoch": 4, "step": 50})
    assert caplog.text.count("log.csv could not be written") == 1
    assert log.failures >= 1
    assert (tmp_path / "log.csv").read_text() == "epoch,step\n0,10\n1,20\n2,30\n3,40\n4,50\n"


def test_a_failed_rewind_leaves_the_log(tmp_path, monkeypatch):
    log = small_log(tmp_path / "log.csv")
    before = log.path.read_bytes()

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(append.os, "write", full)
    with pytest.raises(HazeHealError, match=r"cannot move the rows after step 10 .*No space left"):
        log.rewind_to(step=10)
    assert log.path.read_bytes() == before
