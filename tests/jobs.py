"""Shared by the tests of several processes: starts jobs of replica groups, disturbs them, and compares runs."""

import json
import os
import pathlib
import signal
import sys

import processes
import tiny

from hazeheal.distributed import placement, tf_config
from hazeheal.runs import checkpoints

TOTAL = 360
FIELDS = {
    "train__steps": TOTAL,
    "train__save_every": "12 steps",
    "train__log_every": "20 steps",
    "train__validate_every": "120 steps",
    "train__sample_every": "never",
    "samples__count": 1,
}


def flags(data, workdir, **overrides):
    return [f"--data_dir={data}", f"--workdir={workdir}", *tiny.arguments(**FIELDS | overrides)]


def launch(data, workdir, *more, groups=2, **overrides):
    """Starts `hazeheal launch`."""
    return tiny.start("launch", f"--groups={groups}", *flags(data, workdir, **overrides), *more)


def groups(data, workdirs, *more, program=("-m", "hazeheal", "train"), of_the_last=None, **overrides):
    """Starts one `hazeheal train` per group without a launcher.

    Args:
        data: The data set.
        workdirs: The run directory of each group; they may be the same.
        more: Further arguments of every process.
        program: Arguments of Python before those.
        of_the_last: Overrides for the last group only.
        overrides: Of the configuration.
    """
    addresses = [f"127.0.0.1:{port}" for port in placement.free_ports(len(workdirs))]
    started = []
    for group, workdir in enumerate(workdirs):
        # As the launcher sets it; the bits of a result depend on the number of threads.
        variables = {"TF_NUM_INTRAOP_THREADS": "1"}
        variables[tf_config.VARIABLE] = tf_config.to_json(addresses, group=group)
        fields = overrides | (of_the_last or {} if group == len(workdirs) - 1 else {})
        command = [sys.executable, *program, *flags(data, workdir, **fields), *more]
        started.append(processes.start(*command, variables=variables))
    return started


def workers(process, count=2):
    """Waits for the training processes of a launcher; returns their process ids by group."""

    def running():
        found = {}
        for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            try:
                variables = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            text = next((v.partition(b"=")[2] for v in variables if v.startswith(b"TF_CONFIG=")), b"")
            found[json.loads(text)["task"]["index"] if text else 0] = int(child)
        return found

    processes.wait_for(lambda: len(running()) == count, process)
    return [pid for _, pid in sorted(running().items())]


def fault(process, run, *, group, number, after=None, count=2):
    """Waits for a new checkpoint, sends a signal to a group's process, and returns its process id."""
    before = tiny.newest(run) if after is None else after
    processes.wait_for(lambda: tiny.newest(run) > before, process)
    pid = workers(process, count)[group]
    os.kill(pid, number)
    return pid


def stop(process, run, *, after=-1):
    """Waits for a checkpoint after step `after`, stops the job by SIGTERM, and returns its last step."""
    processes.wait_for(lambda: tiny.newest(run) > after, process)
    process.send_signal(signal.SIGTERM)
    code, _, err = processes.finish(process)
    assert code == 75, err
    return tiny.newest(run)


def same_curves(run, other, *, group=0, step=TOTAL):
    """Asserts that logs, variables and summaries of a group are the same, bit for bit, in two runs."""
    first, second = (pathlib.Path(r) / f"group_{group:02d}" for r in (run, other))
    assert (first / "training_log.csv").read_text() == (second / "training_log.csv").read_text()
    values = [checkpoints.read_variables(checkpoints.checkpoint_path(g / "checkpoints", step)) for g in (first, second)]
    assert values[0].keys() == values[1].keys()
    for name, value in values[0].items():
        assert value.tobytes() == values[1][name].tobytes(), name
    events = [[e for e in tiny.timeless(r, group=group) if e[1] != "config"] for r in (run, other)]
    keys = [event[:3] for event in events[0]]
    assert len(keys) == len(set(keys))
    assert events[0] == events[1]


def curve(run, group=0):
    """Returns [(step, gen_total_loss, disc_loss), ...] of training_log.csv."""
    import csv

    with open(pathlib.Path(run) / f"group_{group:02d}/training_log.csv", newline="") as file:
        return [(int(r["step"]), float(r["gen_total_loss"]), float(r["disc_loss"])) for r in csv.DictReader(file)]
