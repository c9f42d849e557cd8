"""log.txt and the console, also when the disk is full or the console is closed."""

import errno
import io
import logging
import re
import sys

import pytest
from disks import full_disk

from hazeheal.training.reports.logging_setup import setup_logging
from hazeheal.training.reports.progress import ProgressLine

pytestmark = pytest.mark.usefixtures("restored_logger")
LOG = logging.getLogger("hazeheal")


@pytest.mark.parametrize("limit", [1, 31, 60, 90])
def test_a_full_disk_costs_one_warning(tmp_path, capsys, limit):
    setup_logging(tmp_path / "log.txt")
    LOG.info("first")
    with full_disk(limit):
        for number in (1, 2, 3):
            LOG.info("message %d %s", number, "x" * 100)
    LOG.info("last")
    assert capsys.readouterr().err.count("log.txt could not be written") == 1
    messages = [line.split(" ", 2)[2] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert messages[0] == "first" and messages[-1] == "last"


def test_log_txt_has_time_stamps_and_the_console_has_none(tmp_path, capsys):
    path = tmp_path / "new" / "log.txt"
    setup_logging(path)
    LOG.info("replicas: %d", 2)
    LOG.debug("a detail")
    LOG.warning("two\nlines")
    assert capsys.readouterr().err == "replicas: 2\ntwo\nlines\n"
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} "
    assert re.fullmatch(f"{stamp}replicas: 2\n{stamp}two\nlines\n", path.read_text())


def test_a_second_setup_replaces_the_first_and_appends(tmp_path, capsys):
    for number in (1, 2):
        setup_logging(tmp_path / "log.txt")
        LOG.info("message %d", number)
    assert capsys.readouterr().err == "message 1\nmessage 2\n"
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2


def test_groups_after_the_first_display_warnings_only(tmp_path, capsys):
    setup_logging(tmp_path / "log.txt", group=1)
    LOG.info("information")
    LOG.warning("a warning")
    assert capsys.readouterr().err == "group_01: a warning\n"
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_closed_console_does_not_end_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken())
    setup_logging(tmp_path / "log.txt")
    LOG.info("into the file")
    line = ProgressLine(10)
    line.update(1, epoch=0, losses={}, images_per_second=None)
    line.close()
    assert (tmp_path / "log.txt").read_text().endswith("into the file\n")
