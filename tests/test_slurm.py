"""launch/train_slurm.sbatch, with stand-ins for srun and scontrol that do on one machine what SLURM does on two nodes."""

import pathlib
import shutil
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Skips srun's own options, then runs the command once for each node and hands a signal on to both.
SRUN = """#!/usr/bin/env bash
while [[ "$1" == --* ]]; do shift; done
pids=()
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do
  SLURM_NODEID=$node "$@" & pids+=($!)
done
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM
worst=0
for pid in "${pids[@]}"; do
  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; code=$?; done
  ((code > worst)) && worst=$code
done
exit "$worst"
"""
SCONTROL = """#!/usr/bin/env bash
if [[ "$1" == show ]]; then printf 'node%d\\n' $(seq 1 "$SLURM_JOB_NUM_NODES"); else echo "$*" > "$FOLDER/requeued"; fi
"""
TRAIN = """
trap 'exit 75' TERM
printf '%s\\n' "$PWD" "$@" > "$FOLDER/node$SLURM_NODEID"
for ((i = 0; i < ${SECONDS_TO_TRAIN:-0} * 20; i++)); do sleep 0.05; done
exit "${CODE:-0}"
"""


@pytest.fixture
def start(tmp_path):
    """Gives start(nodes, *arguments, **variables): the batch script as SLURM runs it, a process."""
    root = tmp_path / "a clone"
    (root / "launch").mkdir(parents=True)
    (root / "launch/train_multigpu.sh").write_text(TRAIN)
    script = tmp_path / "spool/slurm_script"  # SLURM runs a copy, elsewhere
    script.parent.mkdir()
    shutil.copy(ROOT / "launch/train_slurm.sbatch", script)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(nodes, *arguments, **variables):
        environment = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "FOLDER": str(tmp_path),
            "SLURM_JOB_ID": "40123",
            "SLURM_JOB_NODELIST": f"node[1-{nodes}]",
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_SUBMIT_DIR": str(root),
        }
        return subprocess.Popen(
            ["bash", str(script), *arguments], env=environment | variables, stderr=subprocess.PIPE, text=True
        )

    return run


def told(tmp_path, node):
    return (tmp_path / f"node{node}").read_text().splitlines()


def test_every_node_gets_all_hosts_and_its_own_number(start, tmp_path):
    assert start(2, "--config=rice1", "--workdir=two words").wait(30) == 0
    for node in (0, 1):
        assert told(tmp_path, node) == [
            str(tmp_path / "a clone"),
            "--hosts=node1:10123,node2:10123",
            f"--index={node}",
            "--config=rice1",
            "--workdir=two words",
        ]
    assert not (tmp_path / "requeued").exists()


def test_one_node_trains_alone(start, tmp_path):
    assert start(1, "--config=rice1").wait(30) == 0
    assert told(tmp_path, 0)[1:] == ["--config=rice1"]


def test_preempted_it_saves_and_is_queued_again(start, tmp_path):
    process = start(2, "--config=rice1", SECONDS_TO_TRAIN="20")
    end = time.monotonic() + 20
    while not all((tmp_path / f"node{n}").exists() for n in (0, 1)) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert (tmp_path / "requeued").read_text().strip() == "requeue 40123"


def test_an_error_is_not_queued_again(start, tmp_path):
    assert start(2, CODE="1").wait(30) == 1
    assert not (tmp_path / "requeued").exists()


def test_submitted_from_elsewhere(start, tmp_path):
    process = start(2, SLURM_SUBMIT_DIR=str(tmp_path))
    assert process.wait(30) == 2
    assert "is no clone of HazeHeal; submit from it, or set HAZEHEAL_ROOT" in process.stderr.read()
