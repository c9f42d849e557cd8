"""The progress line: updated in place on a terminal, plain lines elsewhere."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import textwrap

import processes
import pytest

from hazeheal.training.reports import progress
from hazeheal.training.reports.progress import ProgressLine


def test_plain_lines_where_there_is_no_terminal(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    line = ProgressLine(500, initial_step=400)
    for step in range(401, 501):
        line.update(step, epoch=3, losses={"gen_total_loss": 7.3123456}, images_per_second=41.04)
        now[0] += 1.0
    line.close()
    lines = capsys.readouterr().err.splitlines()
    assert [re.match(r"step (\d+)/500", text)[1] for text in lines] == ["401", "431", "461", "491", "500"]
    assert lines[0] == "step 401/500 (80%), epoch 3, gen_total_loss 7.312, 41.0 images/s"
    assert lines[1] == "step 431/500 (86%), epoch 3, gen_total_loss 7.312, 41.0 images/s, 0:01:09 left"


def test_a_disabled_line_and_one_without_an_update_write_nothing(capsys):
    line = ProgressLine(10, enabled=False)
    line.update(10, epoch=3, losses={}, images_per_second=None)
    line.close()
    ProgressLine(10).close()
    assert capsys.readouterr().err == ""


ON_A_TERMINAL = """
    import logging
    import pathlib
    import sys
    from hazeheal.training.reports.logging_setup import setup_logging
    from hazeheal.training.reports.progress import ProgressLine
    import time

    setup_logging(pathlib.Path(sys.argv[1]))
    line = ProgressLine(60, initial_step=10)
    for step in range(11, 61):
        line.update(step, epoch=1, losses={"loss": 0.5}, images_per_second=9.0)
        time.sleep(0.01)
        if step in (20, 40):
            logging.getLogger("hazeheal").info("validated at %d", step)
    line.close()
"""


@pytest.mark.parametrize("columns", [0, 120], ids=["unknown_width", "120_columns"])
def test_a_terminal_has_one_line_updated_in_place_below_the_log_messages(columns, tmp_path):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    script = [sys.executable, "-c", textwrap.dedent(ON_A_TERMINAL), str(tmp_path / "log.txt")]
    process = processes.start(*script, stderr=follower)
    os.close(follower)
    output = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # On Linux: the other end is closed
            break
        if not piece:
            break
        output += piece
    os.close(leader)
    assert process.wait(timeout=30) == 0
    # A minimal terminal: after a carriage return the line is overwritten.
    screen = []
    for line in output.decode().split("\r\n"):
        cells = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        screen.append("".join(cells).rstrip())
    assert screen[:2] == ["validated at 20", "validated at 40"]
    assert re.fullmatch(r"step 60/60 100%, epoch 1, loss 0\.5, 9\.0 images/s \|█{9,}\| 00:0\d<00:00", screen[2]), screen
    assert screen[3:] in ([], [""])
    assert output.count(b"\r") > 4
