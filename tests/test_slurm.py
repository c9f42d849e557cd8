"""launch/train_slurm.sbatch, with stand-ins for srun and scontrol that act on one machine as SLURM does on two nodes."""

import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Skips srun's own options, then runs the command once for each node. As the real one does it answers SIGTERM by
# killing them (_srun_signal_mgr in SLURM's src/srun/libsrun/srun_job.c: "forcing job termination").
SRUN = """#!/usr/bin/env bash
while [[ "$1" == --* ]]; do printf '%s\\n' "$1" >> "$FOLDER/srun.said"; shift; done
printf '%s\\n' "cores ${SRUN_CPUS_PER_TASK:-1}" >> "$FOLDER/srun.said"
pids=()
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do
  SLURM_NODEID=$node "$@" & pids+=($!)
done
echo "${pids[*]}" > "$FOLDER/step"
trap 'echo "srun: forcing job termination" >&2; kill -KILL "${pids[@]}" 2>/dev/null' TERM
worst=0
for pid in "${pids[@]}"; do
  code=0
  wait "$pid" || code=$?
  ((code > worst)) && worst=$code
done
exit "$worst"
"""
SCONTROL = """#!/usr/bin/env bash
if [[ "$1" == show ]]; then printf 'node%d\\n' $(seq 1 "$SLURM_JOB_NUM_NODES"); else echo "$*" > "$FOLDER/requeued"; fi
"""
# Signals the processes of a job's steps, and not the batch script.
SCANCEL = """#!/usr/bin/env bash
[[ "$*" == "--signal=TERM 40123" ]] && kill -TERM $(cat "$FOLDER/step")
"""
TRAIN = """
trap 'exit 75' TERM
printf '%s\\n' "$PWD" "$@" > "$FOLDER/node$SLURM_NODEID"
for ((i = 0; i < ${SECONDS_TO_TRAIN:-0} * 20; i++)); do sleep 0.05; done
exit "${CODE:-0}"
"""


PATH = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def start(tmp_path):
    """Gives start(nodes, *arguments, **variables): the batch script as SLURM runs it, a process."""
    root = tmp_path / "a clone"
    (root / "launch").mkdir(parents=True)
    (root / "launch/train_multigpu.sh").write_text(TRAIN)
    script = tmp_path / "spool/slurm_script"  # SLURM runs a copy, elsewhere
    script.parent.mkdir()
    shutil.copy(ROOT / "launch/train_slurm.sbatch", script)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("scancel", SCANCEL)):
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
            "--gpus=all",
            "--config=rice1",
            "--workdir=two words",
        ]
    assert not (tmp_path / "requeued").exists()


def test_one_node_trains_alone(start, tmp_path):
    assert start(1, "--config=rice1").wait(30) == 0
    assert told(tmp_path, 0)[1:] == ["--gpus=all", "--config=rice1"]


@pytest.mark.parametrize("devices", [["--cpu_replicas=2"], ["--cpu_replicas", "2"], ["--gpus=0,1"], ["--gpus", "0"]])
def test_devices_that_are_asked_for_are_those_of_all_nodes(start, tmp_path, devices):
    assert start(2, "--config=rice1", *devices).wait(30) == 0
    for node in (0, 1):
        assert told(tmp_path, node)[3:] == ["--config=rice1", *devices]


def test_gpus_are_requested():
    script = (ROOT / "launch/train_slurm.sbatch").read_text()
    assert "\n#SBATCH --gpus-per-node=1\n" in script


def test_a_node_without_a_gpu_stops_the_job(start, tmp_path):
    (tmp_path / "a clone/launch/train_multigpu.sh").write_text(f'exec {sys.executable} -m hazeheal launch "$@"\n')
    process = start(1, "--config=rice1", "--data_dir=d", "--workdir=w", PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert (
        "--gpus=all: CUDA_VISIBLE_DEVICES= lists no GPU; check the driver and what the scheduler has allocated" in err
    )
    assert not (tmp_path / "requeued").exists()


def begun(tmp_path):
    end = time.monotonic() + 20
    while not all((tmp_path / f"node{n}").exists() for n in (0, 1)):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_at_the_time_limit_it_saves_and_is_requeued(start, tmp_path):
    process = start(2, "--config=rice1", SECONDS_TO_TRAIN="20")
    begun(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert process.stderr.read() == ""
    assert (tmp_path / "requeued").read_text().strip() == "requeue 40123"


def test_a_job_that_the_scheduler_has_requeued_itself(start, tmp_path):
    """As it does itself with a job that it preempts: then the processes are told by it, and there is no way to do it twice."""
    process = start(2, "--config=rice1", SECONDS_TO_TRAIN="20")
    begun(tmp_path)
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    subprocess.run([tmp_path / "scancel", "--signal=TERM", "40123"], env={"FOLDER": str(tmp_path)} | PATH, check=True)
    assert process.wait(30) == 75
    assert "the scheduler did not requeue the job" in process.stderr.read()


def test_every_task_gets_the_requested_cores(start, tmp_path):
    assert start(2, SLURM_CPUS_PER_TASK="32").wait(30) == 0
    options = (tmp_path / "srun.said").read_text().splitlines()
    assert options == ["--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=0", "--label", "cores 32"]


@pytest.mark.parametrize("code", ["1", "2"])
def test_an_error_is_not_requeued(start, tmp_path, code):
    assert start(2, CODE=code).wait(30) == int(code)
    assert not (tmp_path / "requeued").exists()


def test_the_exit_code_of_a_step_that_ends_early_is_kept(start, tmp_path):
    """As where srun cannot start it: the shell may have buried it by then, which is no success."""
    (tmp_path / "srun").write_text("#!/bin/sh\nexit 3\n")
    script = tmp_path / "spool/slurm_script"
    script.write_text(script.read_text().replace("step=$!\n", "step=$!\nsleep 0.5\n"))
    assert start(2).wait(30) == 3


def test_submitted_from_elsewhere(start, tmp_path):
    process = start(2, SLURM_SUBMIT_DIR=str(tmp_path))
    assert process.wait(30) == 2
    assert "is not a clone of HazeHeal; submit from a clone, or set HAZEHEAL_ROOT" in process.stderr.read()
