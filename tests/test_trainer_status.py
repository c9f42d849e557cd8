"""The contents of status.json during a run and after each kind of end."""

import json
import signal

import pytest
import tiny
from machine import TOTAL, log_of

from hazeheal.errors import DataError
from hazeheal.runs import checkpoints
from hazeheal.runs.status import ACTIVE, read_status

pytestmark = pytest.mark.usefixtures("restored_logger")


def test_status_of_a_complete_run(whole_run):
    run, result, _ = whole_run
    found = read_status(run)
    fixed = {"state": "complete", "alive": False, "reason": None, "exit_code": 0, "eta_seconds": None}
    fixed |= {"step": TOTAL, "steps": TOTAL, "epoch": 8, "checkpoint_step": TOTAL, "groups": 1, "replicas": 2}
    assert {name: found[name] for name in fixed} == fixed
    folder = run / "group_00/checkpoints"
    best = checkpoints.find_checkpoint(folder, which="best")
    assert (found["best_psnr"], found["best_step"]) == (
        checkpoints.validation_psnr(best),
        checkpoints.checkpoint_step(best),
    )
    last = {e[1]: e[3] for e in tiny.events(run) if e[:1] == ("train",) and e[2] == TOTAL}
    assert found["losses"]["gen_l1_loss"] == pytest.approx(last["loss/gen_l1_loss"])
    assert found["validation"]["step"] == TOTAL and found["validation"]["psnr"] == result["psnr"]
    assert found["data_dir"].endswith("tiny")


def test_status_during_a_run_and_after_a_stop(machine, tmp_path):
    seen = []
    look = {at: lambda: seen.append(read_status(tmp_path)) for at in (1, 13)}
    validate = machine.trainer._validator.run

    def watched(**options):
        seen.append(read_status(tmp_path))
        return validate(**options)

    machine.trainer._validator.run = watched
    try:
        result = machine.run(tmp_path, after=look | {17: lambda: signal.raise_signal(signal.SIGTERM)})
    finally:
        machine.trainer._validator.run = validate
    assert [(s["state"], s["alive"]) for s in seen[:2]] == [("starting", True), ("validating", True)]
    assert (seen[1]["step"], seen[1]["best_psnr"]) == (10, None)
    assert seen[2]["state"] in ACTIVE and seen[2]["best_step"] == 10 and seen[2]["step"] >= 10
    end = read_status(tmp_path)
    assert (end["state"], end["exit_code"], end["step"]) == ("preempted", 75, result["steps"])
    assert end["checkpoint_step"] == end["step"]
    # Going on, it knows the best so far; and says that it is complete where only that is missing.
    machine.run(tmp_path, resumed_at=result["steps"])
    end = read_status(tmp_path)
    assert end["state"] == "complete" and end["best_psnr"] >= seen[2]["best_psnr"]
    path = tmp_path / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "saving"}))
    machine.run(tmp_path, resumed_at=TOTAL)
    assert json.loads(path.read_text())["state"] == "complete"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(DataError("shard 3 is damaged"), "shard 3 is damaged"), (RuntimeError("x\ny"), "RuntimeError: x")],
)
def test_status_after_an_error(machine, tmp_path, error, reason):
    def fail():
        raise error

    with pytest.raises(type(error)):
        machine.run(tmp_path, before={10: fail})
    found = read_status(tmp_path)
    assert (found["state"], found["reason"], found["exit_code"], found["alive"]) == (
        "failed",
        reason,
        1,
        False,
    )


def test_a_status_that_cannot_be_written_costs_a_warning(machine, tmp_path):
    (tmp_path / "status.json").mkdir(parents=True)
    assert machine.run(tmp_path, train__steps=6)["complete"]
    assert log_of(tmp_path).count("status.json cannot be written") == 1
    assert read_status(tmp_path) is None
