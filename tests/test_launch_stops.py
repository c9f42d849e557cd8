"""launch/train_multigpu.sh: exit codes and signals, of the training and of the steps before it."""

import shlex
import signal
import subprocess
import sys
import time

import pytest
from scripts import ROOT, Machine

TRAINER = """
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def stop(number, frame):
    (here / "signal").write_text(signal.Signals(number).name)
    time.sleep(0.5)  # saving takes a moment, which the launcher has to wait for
    (here / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, stop)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "started with SIGINT ignored"
signal.signal(signal.SIGINT, stop)
(here / "ready").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("code", [1, 2, 75])
def test_exit_code_of_the_trainer_is_passed_on(tmp_path, code):
    assert Machine(tmp_path, train=f"exit {code}").run("--config=c", "--data_dir=d").returncode == code


def test_a_failed_conversion_stops_before_training(tmp_path):
    machine = Machine(tmp_path)
    stand_in = machine.folder / "env/bin/python"
    stand_in.write_text(stand_in.read_text().replace("exit 0\n", '[[ "$*" != *convert* ]] || exit 1\n'))
    assert machine.run("--hazy_dir=.", "--gt_dir=.", "--workdir=w").returncode == 1
    assert [call[1] for call in machine.calls()] == ["hazeheal", "tfrecords_tools"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_trainer_and_its_code_comes_back(tmp_path, number):
    trainer = tmp_path / "trainer.py"
    trainer.write_text(TRAINER)
    machine = Machine(tmp_path, train=shlex.join(["exec", sys.executable, str(trainer), str(tmp_path)]))
    process = subprocess.Popen(
        machine.command("--config=c", "--data_dir=d"),
        env=machine.environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background has SIGINT ignored, and bash cannot trap what it was started with ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert process.poll() is None and time.monotonic() < until, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)  # an impatient user changes nothing
        assert process.wait(30) == 75
    finally:
        process.kill()
        process.stderr.close()
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "signal").read_text() == number.name


@pytest.mark.parametrize("seconds", [30, 0.02])
def test_a_signal_at_any_moment_ends_script_and_step(tmp_path, seconds):
    """As with a conversion: before it is there, and while it ends, none is left behind; what is done is done."""
    script = tmp_path / "script.sh"
    script.write_text(
        f"set -euo pipefail\nsource {shlex.quote(str(ROOT / 'launch/environment.sh'))}\n"
        f"echo ready\nrun_step sleep {seconds}\necho complete\n"
    )
    term = signal.SIGTERM
    for attempt in range(60):
        process = subprocess.Popen(
            ["bash", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # no more is read than the line: a slow reader would take "complete" with it
            preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(attempt * (0.0001 if seconds == 30 else 0.0005))
        process.send_signal(term)
        # One that was left behind would hold the pipes until it ends.
        out, err = process.communicate(timeout=10)
        # Where the signal meets the end of the traps, bash 5.2 says so and takes it as one without a trap.
        err = b"".join(line for line in err.splitlines(True) if b"run_pending_traps: " not in line)
        assert (process.returncode, out, err) in {
            *[(-term, b"", b""), (128 + term, b"", b"")],  # the script itself, the step
            *[(-term, b"complete\n", b""), (0, b"complete\n", b"")],
        }


def test_two_quickstarts_make_their_images_one_after_the_other(tmp_path):
    """As of two hosts that see one directory."""
    machine = Machine(tmp_path)
    stand_in = machine.folder / "env/bin/python"
    making = f'd={shlex.quote(str(tmp_path))}/making; mkdir "$d" || touch "$d.twice"; sleep 0.5; rmdir "$d"'
    stand_in.write_text(
        stand_in.read_text().replace("exit 0\n", f'[[ "$*" != *synthetic* ]] || {{ {making}; }}\n')
    )
    hosts = [
        subprocess.Popen(
            machine.command("--hosts=a,b", f"--index={i}"), env=machine.environ, stdin=subprocess.DEVNULL
        )
        for i in (0, 1)
    ]
    assert [process.wait(30) for process in hosts] == [0, 0]
    assert [call[1] for call in machine.calls()].count("hazeheal.data.synthesis.synthetic_pairs") == 2
    assert not (tmp_path / "making.twice").exists()
