"""The progress line: updated in place on a terminal, plain lines elsewhere."""

import fcntl
import io
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


def test_plain_lines_where_there_is_no_terminal(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with ProgressLine(1000, initial_step=400, stream=stream, interval=30) as line:
        for step in range(401, 501):
            line.update(step, epoch=3, losses={"gen_total_loss": 7.3123456}, images_per_second=41.04)
            now[0] += 1.0
    lines = stream.getvalue().splitlines()
    assert [re.match(r"step (\d+)/1000", text)[1] for text in lines] == ["401", "431", "461", "491", "500"]
    assert lines[0] == "step 401/1000 (40%), epoch 3, gen_total_loss 7.312, 41.0 images/s"
    assert lines[1] == "step 431/1000 (43%), epoch 3, gen_total_loss 7.312, 41.0 images/s, 0:09:29 left"


def test_without_an_update_nothing_is_printed():
    stream = io.StringIO()
    ProgressLine(10, stream=stream).close()
    assert stream.getvalue() == ""


ON_A_TERMINAL = """
    import sys
    from hazeheal.training.reports.logging_setup import setup_logging
    from hazeheal.training.reports.progress import ProgressLine
    import time

    logger = setup_logging(None)
    with ProgressLine(60, initial_step=10) as line:
        for step in range(11, 61):
            line.update(step, epoch=1, losses={"loss": 0.5}, images_per_second=9.0)
            time.sleep(0.01)
            if step in (20, 40):
                logger.info("validated at %d", step)
"""


@pytest.mark.parametrize("columns", [0, 120], ids=["unknown_width", "120_columns"])
def test_a_terminal_has_one_line_updated_in_place_below_the_log_messages(columns):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    process = processes.start(sys.executable, "-c", textwrap.dedent(ON_A_TERMINAL), stderr=follower)
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
    assert re.fullmatch(
        r"step 60/60 100%, epoch 1, loss 0\.5, 9\.0 images/s \|█{9,}\| 00:0\d<00:00", screen[2]
    ), screen
    assert screen[3:] in ([], [""])
    assert output.count(b"\r") > 4
