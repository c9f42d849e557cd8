"""Calls of `hazeheal train` on the tiny data set, in this process and in one of its own."""

import processes
import tiny

from hazeheal.__main__ import main

TOTAL = 96
# No interval is a multiple of another one, of the loop's 3 steps, or of an epoch's 2.75.
RUN = {
    "model__norm": "none",
    "train__steps": TOTAL,
    "train__keep": 2,
    "train__validate_every": "17 steps",
    "train__sample_every": "25 steps",
}


def flags(data, run, **overrides):
    return ["train", f"--data_dir={data}", f"--workdir={run}", *tiny.arguments(**RUN | overrides)]


def finish(process):
    """(exit code, stdout, stderr) of a process, which must not show a traceback."""
    code, out, err = processes.finish(process)
    assert "Traceback" not in err, err
    return code, out, err


def refused(capsys, argv, *, code):
    """What `hazeheal ARGV` says in its one line, with which it must end."""
    assert main([str(a) for a in argv]) == code
    _, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("hazeheal train: error: ")
    return line.removeprefix("hazeheal train: error: ")
