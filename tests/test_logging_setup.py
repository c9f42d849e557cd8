"""log.txt and the console, also when the disk is full or the console is closed."""

import errno
import io
import re

import pytest
from disks import full_disk

from hazeheal.training.reports.logging_setup import setup_logging
from hazeheal.training.reports.progress import ProgressLine

pytestmark = pytest.mark.usefixtures("restored_logger")


@pytest.mark.parametrize("limit", [1, 31, 60, 90])
def test_a_full_disk_costs_messages_and_the_log_says_how_many(tmp_path, capsys, limit):
    console = io.StringIO()
    logger = setup_logging(tmp_path / "log.txt", stream=console)
    logger.info("first")
    with full_disk(limit):
        for number in (1, 2, 3):
            logger.info("message %d %s", number, "x" * 100)
    logger.info("last")
    assert capsys.readouterr().err == ""
    assert console.getvalue().count("log.txt could not be written") == 1
    lines = [line.split(" ", 2)[2] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines[0] == "first" and lines[-1] == "last"
    assert len(lines) == 3 and re.fullmatch(r"WARNING [34] messages before this one .*", lines[1])


def test_log_txt_has_time_stamps_and_the_console_has_none(tmp_path):
    console = io.StringIO()
    path = tmp_path / "new" / "log.txt"
    logger = setup_logging(path, verbosity=1, stream=console)
    logger.info("replicas: %d", 2)
    logger.debug("a detail")
    logger.warning("two\nlines")
    assert console.getvalue() == "replicas: 2\ntwo\nlines\n"
    stamped = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (.*)")
    assert [stamped.fullmatch(line)[1] for line in path.read_text().splitlines()] == [
        "replicas: 2",
        "two",
        "lines",
    ]


def test_verbosity_and_a_second_setup(tmp_path):
    shown = {}
    for verbosity in (0, 1, 2):
        console = io.StringIO()
        logger = setup_logging(tmp_path / f"{verbosity}.txt", verbosity=verbosity, stream=console)
        logger.debug("d"), logger.info("i"), logger.warning("w")
        shown[verbosity] = (
            console.getvalue().split(),
            len((tmp_path / f"{verbosity}.txt").read_text().splitlines()),
        )
    assert shown == {0: (["w"], 2), 1: (["i", "w"], 2), 2: (["d", "i", "w"], 3)}


def test_a_torn_line_of_log_txt_is_dropped(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("2026-01-01 00:00:00.000 whole\n2026-01-01 00:00:0")
    setup_logging(path, stream=io.StringIO()).info("next")
    lines = path.read_text().splitlines()
    assert len(lines) == 2 and lines[0].endswith("whole") and lines[1].endswith("next")


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_closed_console_does_not_end_the_training(tmp_path, capsys):
    logger = setup_logging(tmp_path / "log.txt", stream=Broken())
    logger.info("into the file")
    with ProgressLine(10, stream=Broken()) as line:
        line.update(1)
    assert (tmp_path / "log.txt").read_text().endswith("into the file\n")
    assert capsys.readouterr().err == ""
