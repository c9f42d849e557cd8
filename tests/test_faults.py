"""Faults in real processes: nothing is lost, and the losses are those of an undisturbed run.

Each row of docs/reliability.md names the test that shows it. What takes minutes is marked slow.
"""

import os
import random
import re
import shutil
import signal
import sys
import time

import disks
import jobs
import processes
import pytest
import tiny
from jobs import TOTAL

from hazeheal.data import records
from hazeheal.distributed import placement, supervisor
from hazeheal.runs import checkpoints


def completed(process):
    code, out, err = processes.finish(process)
    assert code == 0, err
    assert "Traceback" not in err, err
    return out, err


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    """An undisturbed run of two groups."""
    run = tmp_path_factory.mktemp("faults") / "run"
    completed(jobs.launch(data, run))
    return run


@pytest.fixture(scope="module")
def unbroken_alone(data, tmp_path_factory):
    """An undisturbed run of one process with two replicas."""
    run = tmp_path_factory.mktemp("faults") / "run"
    completed(jobs.launch(data, run, "--cpu_replicas=2", groups=1))
    return run


def same_in_both_groups(run, other):
    for group in (0, 1):
        jobs.same_curves(run, other, group=group)
        log = (run / f"group_{group:02d}/log.txt").read_text()
        assert "damaged" not in log


def restarts(err):
    return [line for line in err.splitlines() if line.startswith("launcher: ") and "; restarting " in line]


@pytest.mark.slow
def test_preempted_and_then_one_of_two_is_killed(unbroken, data, tmp_path):
    run = tmp_path / "run"
    process = jobs.launch(data, run)
    jobs.fault(process, run, group=1, number=signal.SIGTERM, after=24)
    code, _, err = processes.finish(process)
    assert code == 75, err
    stopped = [checkpoints.list_steps(run / g / "checkpoints")[-1] for g in ("group_00", "group_01")]
    assert stopped[0] == stopped[1] < TOTAL
    for group in ("group_00", "group_01"):
        assert f"stopped by SIGTERM at step {stopped[0]};" in (run / group / "log.txt").read_text()

    # The rerun resumes at that step; then a worker is killed.
    process = jobs.launch(data, run)
    pid = jobs.fault(process, run, group=1, number=signal.SIGKILL)
    before = time.monotonic()
    processes.wait_for(lambda: pid not in jobs.workers(process), process)
    assert time.monotonic() - before < 60
    _, err = completed(process)
    (line,) = restarts(err)
    assert f"group_01 (process {pid}) was ended by SIGKILL" in line
    assert "hazeheal train: error: another replica group has ended or does not respond" in err
    assert f"resumed at step {stopped[0]} from" in (run / "group_00/log.txt").read_text()
    same_in_both_groups(run, unbroken)


@pytest.mark.slow
def test_killed_five_times_at_random(unbroken_alone, data, tmp_path):
    """The launcher restarts the only process each time."""
    process = jobs.launch(data, tmp_path, "--cpu_replicas=2", groups=1)
    for _ in range(5):
        before = tiny.newest(tmp_path)
        processes.wait_for(lambda b=before: tiny.newest(tmp_path) > b, process)
        time.sleep(random.uniform(0, 0.15))
        os.kill(jobs.workers(process, 1)[0], signal.SIGKILL)
    _, err = completed(process)
    assert len(restarts(err)) == 5
    jobs.same_curves(tmp_path, unbroken_alone)


@pytest.mark.slow
@pytest.mark.parametrize("group", [0, 1])
def test_either_worker_may_be_killed(unbroken, data, tmp_path, group):
    process = jobs.launch(data, tmp_path)
    jobs.fault(process, tmp_path, group=group, number=signal.SIGKILL, after=40)
    _, err = completed(process)
    assert len(restarts(err)) == 1
    same_in_both_groups(tmp_path, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 2])
def test_a_silent_hang_is_noticed(unbroken, unbroken_alone, data, tmp_path, groups):
    more = ["--cpu_replicas=2"] if groups == 1 else []
    process = jobs.launch(data, tmp_path, "--hang_timeout=20", *more, groups=groups)
    before = time.monotonic()
    pid = jobs.fault(process, tmp_path, group=groups - 1, number=signal.SIGSTOP, after=40, count=groups)
    processes.wait_for(lambda: pid not in jobs.workers(process, groups), process)
    assert time.monotonic() - before < 20 + 120  # TensorFlow or the heartbeat; the job itself takes longer
    _, err = completed(process)
    (line,) = restarts(err)
    if groups == 1:
        assert f"group_00 (process {pid}) sent no heartbeat for 20 s" in line
        jobs.same_curves(tmp_path, unbroken_alone)
    else:
        same_in_both_groups(tmp_path, unbroken)


FAILED = "a device or the communication between devices failed (InternalError: uncorrectable ECC error encountered)"
DIFFER = (
    "the replicas differ at step 48: CPU:0 of group 0 and CPU:0 of group 1; a device computed or stored a wrong value, and "
    "this step was not saved"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "group", "said"), [("device", 0, FAILED), ("device", 1, FAILED), ("flip", 1, DIFFER)]
)
def test_a_failed_device_restarts_the_job(unbroken, data, tmp_path, fault, group, said, capfd):
    where, lines = placement.choose_placement(groups=2), []
    program = ["tests/faulty.py", fault, group, 40, tmp_path / "failed", "--", "train"]
    command = [sys.executable, *map(str, program), *jobs.flags(data, tmp_path), *where.flags()]

    def start():
        addresses = where.addresses()
        return [(f"group_{place:02d}", command, where.environment(place, addresses)) for place in range(2)]

    assert supervisor.Supervisor(start, max_restarts=3, hang_timeout=0, report=lines.append).run() == 0
    (line,) = lines
    assert "reported a failed device; restarting all processes" in line
    assert f"hazeheal train: error: {said}; rerun the command to resume from step 36 " in capfd.readouterr().err
    assert "resumed at step 36 from" in (tmp_path / "group_00/log.txt").read_text()
    same_in_both_groups(tmp_path, unbroken)


@pytest.mark.slow
def test_two_launchers_as_two_hosts(unbroken, data, tmp_path, monkeypatch):
    """A worker of one host is killed; both launchers restart their workers, which connect again."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # as one launcher of two groups sets it on two cores
    ports = jobs.placement.free_ports(2)
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    hosts = [jobs.launch(data, tmp_path, f"--hosts={hosts}", f"--index={i}", groups=1) for i in (0, 1)]
    processes.wait_for(lambda: tiny.newest(tmp_path) > 40, hosts[0])
    os.kill(jobs.workers(hosts[1], 1)[0], signal.SIGKILL)
    for host in hosts:
        _, err = completed(host)
        assert restarts(err)
    same_in_both_groups(tmp_path, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "flipped", "no index", "no manifest"])
def test_a_damaged_checkpoint(unbroken, data, tmp_path, damage):
    """In both groups the previous one is used, and the damaged one is logged and renamed."""
    process = jobs.launch(data, tmp_path)
    at = jobs.stop(process, tmp_path, after=40)
    for group in ("group_00", "group_01"):
        bad = checkpoints.checkpoint_path(tmp_path / group / "checkpoints", at)
        values = bad / "state.data-00000-of-00001"
        if damage == "truncated":
            os.truncate(values, 1000)
        elif damage == "flipped":
            disks.flip(values, 5000, bits=64)
        else:
            (bad / {"no index": "state.index", "no manifest": "manifest.json"}[damage]).unlink()
    completed(jobs.launch(data, tmp_path))
    for group in (0, 1):
        folder = tmp_path / f"group_{group:02d}"
        log = (folder / "log.txt").read_text()
        assert re.search(rf"checkpoint .*ckpt-{at:08d} is damaged \(.*\); renamed to ckpt-{at:08d}.damaged", log)
        assert (folder / f"checkpoints/ckpt-{at:08d}.damaged").is_dir()
        jobs.same_curves(tmp_path, unbroken, group=group)


@pytest.mark.slow
def test_gradients_that_are_not_finite_in_one_group_only(data, tmp_path):
    """Single ones are skipped in all groups; ten in a row rewind the run once, then stop it."""
    fields = {"train__steps": 120, "optimizer__max_skipped": 10, "train__log_every": "1 steps"}
    program = ["tests/faulty.py", "nan", "1", "31", "34", "--", "train"]
    for process in jobs.groups(data, [tmp_path / "few"] * 2, program=program, **fields):
        completed(process)
    for group in (0, 1):
        shown = {e[1:3]: e[3] for e in tiny.events(tmp_path / "few", group=group) if e[0] == "train"}
        assert [shown["health/skipped_steps", n] for n in (31, 32, 34, 35, 120)] == [0, 1, 3, 3, 3]
    states = [checkpoints.read_variables(tmp_path / f"few/group_{g:02d}/checkpoints/ckpt-00000120") for g in (0, 1)]
    assert states[0]["updates"] == 117
    assert all(value.tobytes() == states[1][name].tobytes() for name, value in states[0].items())


@pytest.mark.slow
def test_many_gradients_in_a_row_that_are_not_finite(data, tmp_path):
    program = ["tests/faulty.py", "inf", "1", "31", "999", "--", "train"]
    for process in jobs.groups(data, [tmp_path] * 2, program=program, train__steps=120):
        code, _, err = processes.finish(process)
        assert code == 1
        assert "Traceback" not in err
        assert "12 steps in a row were not finite (up to step 43): rolled back to step 24, with half" in err
        (line,) = [line for line in err.splitlines() if "error: " in line]
        assert "again after a rollback with half the learning rate; the last checkpoint is intact" in line
    assert checkpoints.find_damage(checkpoints.find_checkpoint(tmp_path / "group_00/checkpoints")) is None


@pytest.mark.slow
def test_a_shard_that_is_damaged_while_training(data, tmp_path):
    """The error names record and source; with `skip` the record is skipped and counted."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    split = records.open_split(copy, "train")
    row = split.index[4]
    shard = split.shards[row["shard"]]
    offset = int(row["offset"]) + int(row["length"]) // 2
    program = [sys.executable, "tests/faulty.py", "damage", shard, offset, "30", "--"]
    code, _, err = processes.run(*program, "train", *jobs.flags(copy, tmp_path / "fail"), "--cpu_replicas=2")
    assert code == 1
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert f"damaged record: {shard}, record 4 (number 4 of split train), key " in line
    assert ", made of " in line
    assert 0 < tiny.newest(tmp_path / "fail") < jobs.TOTAL / 2  # records are read some steps ahead

    arguments = ["train", *jobs.flags(copy, tmp_path / "skip"), "--cpu_replicas=2", "--on_bad_record=skip"]
    code, _, err = processes.run(sys.executable, "-m", "hazeheal", *arguments)
    assert code == 0, err
    assert err.count(f"skipped: damaged record: {shard}, record 4") == 1
    counts = [e[3] for e in tiny.events(tmp_path / "skip") if e[1] == "health/bad_records"]
    assert counts[-1] == 1


@pytest.mark.slow
def test_a_disk_that_fills_up(unbroken_alone, data, tmp_path):
    """From a step on every save fails: a warning each, an intact last checkpoint, and an error at the end."""
    program = [sys.executable, "tests/faulty.py", "full", "100", "--"]
    arguments = ["train", *jobs.flags(data, tmp_path), "--cpu_replicas=2"]
    code, _, err = processes.run(*program, *arguments)
    assert code == 1
    assert re.search(r"checkpoint of step \d+ could not be written", err)
    assert f"step {TOTAL} could not be saved in" in err.splitlines()[-1]
    newest = tiny.newest(tmp_path)
    assert 0 < newest <= 96
    assert checkpoints.find_damage(checkpoints.checkpoint_path(tmp_path / "group_00/checkpoints", newest)) is None
    code, _, err = processes.run(sys.executable, "-m", "hazeheal", *arguments)
    assert code == 0, err
    jobs.same_curves(tmp_path, unbroken_alone)


@pytest.mark.slow
def test_a_clock_that_steps_back(unbroken_alone, data, tmp_path):
    """By an hour in the first process; the second process starts earlier than the first, by its clock."""
    arguments = ["train", *jobs.flags(data, tmp_path), "--cpu_replicas=2"]

    def start(seconds):
        return processes.start(sys.executable, "tests/faulty.py", "clock", seconds, "--", *arguments)

    jobs.stop(start(3600), tmp_path, after=90)
    completed(start(90000))
    jobs.same_curves(tmp_path, unbroken_alone)


def test_a_workdir_that_cannot_be_written(data, tmp_path):
    """A file system mounted read-only; root may write everywhere else."""
    code, out, err = processes.run(
        *(sys.executable, "-m", "hazeheal", "train", *jobs.flags(data, "/proc/run")), "--cpu_replicas=1"
    )
    assert (code, out) == (1, "")
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert "--workdir=/proc/run cannot be written" in line
