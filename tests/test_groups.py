"""Replica groups: real processes that train as one job.

Kills, hangs and full disks are tested in test_faults.py.
"""

import json
import shutil
import socket

import jobs
import numpy as np
import processes
import pytest
import tiny

from hazeheal.distributed import runtime as runtimes
from hazeheal.distributed.groups import Groups
from hazeheal.runs import checkpoints

TOTAL = 50
SHORT = {
    "train__steps": TOTAL,
    "optimizer__learning_rate": 2e-4,  # the default: at the tiny runs' 1e-3 rounding grows faster
    "train__save_every": "20 steps",
    "train__log_every": "1 steps",
    "train__validate_every": "25 steps",
    "train__sample_every": "25 steps",
}


def complete(*started):
    """Waits for processes that must complete; returns their stderr."""
    errors = []
    for process in started:
        code, _, err = processes.finish(process)
        assert code == 0, err
        assert "Traceback" not in err, err
        errors.append(err)
    return errors


def one_process(data, run, *more, **overrides):
    return tiny.start("train", *jobs.flags(data, run, **SHORT | overrides), *more)


@pytest.fixture(scope="module")
def proxy():
    """A proxy that never answers, to which this module's variables send every connection that uses proxies."""
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as environment:
        listener.setblocking(False)
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            environment.delenv(name, raising=False)
        for name in ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy", "ALL_PROXY"):
            environment.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield listener


@pytest.fixture(scope="module")
def two_groups(data, proxy, tmp_path_factory):
    """The reference run: two groups with one replica each."""
    run = tmp_path_factory.mktemp("groups") / "two groups, übrigens"
    process = jobs.launch(data, run, "--hang_timeout=120", "--max_restarts=0", **SHORT)
    code, out, err = processes.finish(process)
    assert code == 0, err
    return run, out, err


def losses(run, group=0):
    names = ("loss/gen_total_loss", "loss/disc_loss")
    return {e[1:3]: e[3] for e in tiny.events(run, group=group) if e[0] == "train" and e[1] in names}


def assert_same_losses(run, other):
    """Compares with the tolerance of the design, as rounding errors grow during training."""
    ours, theirs = losses(run), losses(other)
    assert ours.keys() == theirs.keys()
    assert {step for _, step in ours} == set(range(1, TOTAL + 1))
    for (name, step), value in ours.items():
        tolerance = 1e-6 if step == 1 else 1e-3 if step <= 10 else 1e-2
        assert value == pytest.approx(theirs[name, step], rel=tolerance), (name, step)


def test_every_group_writes_its_own_files(two_groups, data):
    run, out, err = two_groups
    saved = [checkpoints.list_steps(run / group / "checkpoints") for group in ("group_00", "group_01")]
    assert saved[0] == saved[1]
    # Step 20 is older than the newest three. Where a write is slow, the save after it is skipped in both groups.
    assert {25, 50} <= {*saved[0]} <= {20, 25, 40, 50} and len(saved[0]) == 3
    for group in ("group_00", "group_01"):
        assert sorted(p.name for p in (run / group / "samples").iterdir()) == [f"step_{n:08d}.png" for n in (0, 25, 50)]
        assert "2 replicas on CPU:0 of each of 2 groups" in (run / group / "log.txt").read_text()
    logs = [(run / g / "training_log.csv").read_text() for g in ("group_00", "group_01")]
    assert logs[0] == logs[1]
    # Each group shows 2 of the 3 images.
    sheets = [(run / g / "samples/step_00000050.png").read_bytes() for g in ("group_00", "group_01")]
    assert sheets[0] != sheets[1]
    result = json.loads((run / "result.json").read_text())
    assert (result["replicas"], result["steps"]) == (2, TOTAL)
    # Printed once, by the first group.
    assert out.count("complete: 50 steps") == 1
    assert err.count("data      ") == 1
    assert err.count("step 50: validation PSNR") == 1


def test_no_connection_goes_through_a_proxy(two_groups, proxy):
    with pytest.raises(BlockingIOError):
        proxy.accept()


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_same_losses_as_one_group(two_groups, data, tmp_path, replicas):
    complete(one_process(data, tmp_path, f"--cpu_replicas={replicas}"))
    assert_same_losses(tmp_path, two_groups[0])
    figures = [json.loads((r / "result.json").read_text()) for r in (tmp_path, two_groups[0])]
    for name in ("psnr_input", "ssim_input"):
        assert figures[0][name] == pytest.approx(figures[1][name], rel=1e-9)
    assert figures[0]["psnr"] == pytest.approx(figures[1]["psnr"], abs=0.1)


@pytest.mark.slow
def test_a_run_that_changes_its_groups_and_replicas(two_groups, data, tmp_path):
    cache = {"data__cache": tmp_path / "caches"}
    complete(jobs.launch(data, tmp_path, **SHORT | cache | {"train__steps": 17}))
    complete(one_process(data, tmp_path, "--cpu_replicas=2", **cache, train__steps=34))
    assert checkpoints.list_steps(tmp_path / "group_00/checkpoints")[-1] == 34
    assert checkpoints.list_steps(tmp_path / "group_01/checkpoints")[-1] == 17
    complete(jobs.launch(data, tmp_path, **SHORT | cache))
    assert len(list((tmp_path / "caches").glob("*.pixels"))) == 2
    # Group 1 did not run from step 17 to 34: it restores the other group's checkpoint, and saves its own.
    log = (tmp_path / "group_01/log.txt").read_text()
    assert f"resumed at step 34 from {tmp_path}/group_00/checkpoints/ckpt-00000034" in log
    assert 34 in checkpoints.list_steps(tmp_path / "group_01/checkpoints")
    assert_same_losses(tmp_path, two_groups[0])


@pytest.mark.slow
def test_groups_without_a_shared_file_system(two_groups, data, tmp_path):
    """Each has its own directory; a missing checkpoint is sent over the network with the same bits."""
    first, second = tmp_path / "host a", tmp_path / "host b"
    complete(*jobs.groups(data, [first, second], **SHORT | {"train__steps": 17}))
    shutil.rmtree(second)
    complete(*jobs.groups(data, [first, second], **SHORT | {"train__steps": 34}))
    log = (second / "group_01/log.txt").read_text()
    assert "resumed at step 17 from group 0 over the network" in log
    for run in (first, second):
        assert json.loads((run / "result.json").read_text())["steps"] == 34
        assert json.loads((run / "config.json").read_text())["train"]["steps"] == 34
    newest = first / "group_00/checkpoints/ckpt-00000034/state.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:-1])
    complete(*jobs.groups(data, [first, second], **SHORT))
    log = (first / "group_00/log.txt").read_text()
    assert "ckpt-00000034 is damaged (state.data-00000-of-00001 has " in log
    assert "resumed at step 34 from group 1 over the network" in log
    assert losses(first) == losses(two_groups[0])
    final = [
        checkpoints.read_variables(g / f"checkpoints/ckpt-{TOTAL:08d}")
        for g in (first / "group_00", second / "group_01", two_groups[0] / "group_00")
    ]
    for name, value in final[2].items():
        assert value.tobytes() == final[0][name].tobytes() == final[1][name].tobytes(), name


def test_groups_that_do_not_agree_are_refused(data, tmp_path):
    """With different flags they would wait forever, or train on different images."""
    run = tmp_path / "run"
    for number, process in enumerate(jobs.groups(data, [run, run], of_the_last={"seed": 7}, **SHORT)):
        code, out, err = processes.finish(process)
        assert (code, out) == (2, "")
        (line,) = [line for line in err.splitlines() if "error: " in line]
        assert "the replica groups do not agree on --config.seed: it is " in line
        assert f"it is {(0, 7)[number]} in group {number} and different in group {1 - number}" in line
        assert "Traceback" not in err
    assert not list(run.rglob("ckpt-*"))


def test_a_single_group_does_not_communicate():
    runtime = runtimes.choose_runtime(cpu_replicas=1, precision="float32")
    groups = Groups(runtime)
    assert groups.is_first
    np.testing.assert_array_equal(groups.gather([1.5, -2.0]), [[1.5, -2.0]])
    groups.barrier()
    groups.check_same({"anything": 1})
    content = ({"a": np.arange(3)}, {"b": 1})
    assert groups.broadcast(content, source=0) is content
