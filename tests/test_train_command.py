"""`hazeheal train` as users run it: processes that are killed and resumed, and the public names in a script."""

import json
import math
import pathlib
import random
import re
import signal
import sys
import textwrap
import time

import numpy as np
import processes
import pytest
import tiny
from places import ROOT
from train_calls import RUN, TOTAL, finish, flags, refused

from hazeheal.__main__ import main
from hazeheal.data.images import image_io
from hazeheal.inference.gan import DehazeGAN
from hazeheal.runs import status
from hazeheal.training.result import RATES


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    """(directory, stdout, stderr) of a run without interruption."""
    run = tmp_path_factory.mktemp("command") / "run"
    code, out, err = finish(tiny.start(*flags(data, run), "--cpu_replicas=2"))
    assert code == 0, err
    return run, out, err


def test_a_run_ends_with_a_summary_of_its_results_and_files(unbroken):
    run, out, err = unbroken
    result = json.loads((run / "result.json").read_text())
    assert list(result) == [
        *("psnr_input", "psnr", "ssim_input", "ssim"),
        *("steps", *RATES, "replicas", "precision", "xla"),
    ]
    lines = out.splitlines()
    assert re.fullmatch(r"complete: 96 steps, [\d.]+ images/s on 2 replica\(s\), float32, XLA off", lines[0])
    gain = result["psnr"] - result["psnr_input"]
    psnr = rf"  PSNR +{result['psnr_input']:.2f} dB +{result['psnr']:.2f} dB +\({re.escape(f'{gain:+.2f}')} dB\)"
    assert re.fullmatch(psnr, lines[2])
    assert re.fullmatch(rf"  SSIM +{result['ssim_input']:.4f} +{result['ssim']:.4f}", lines[3])
    for line, place in zip(lines[4:8], ("samples", "checkpoints", "summaries", "result.json"), strict=True):
        path = pathlib.Path(line.split()[-1])
        assert path.name == place
        assert path.exists()
    command = f"{sys.executable} -m tensorboard.main --logdir={run}"
    assert lines[8:] == [f"TensorBoard           {command}"]
    assert "step 96/96 (100%)" in err


@pytest.mark.slow
def test_killed_again_and_again_it_is_the_same_run(unbroken, data, tmp_path):
    """SIGKILL at random times, and SIGTERM: the same command resumes with bit-identical results."""
    run = tmp_path / "run"
    command = [*flags(data, run), "--cpu_replicas=2"]
    log = run / "group_00/log.txt"
    for name in ("SIGKILL", "SIGTERM", "SIGKILL"):
        before, length = tiny.newest(run), len(log.read_text()) if log.exists() else 0
        process = tiny.start(*command)
        try:
            if name == "SIGTERM":
                processes.wait_for(lambda n=length: log.exists() and len(log.read_text()) > n, process)
                refuses_a_second_process(process, command, run)
            processes.wait_for(lambda s=before: tiny.newest(run) > s, process)
            delay = random.uniform(0, 0.1)
            time.sleep(delay)
            process.send_signal(signal.Signals[name])
            code, _, err = finish(process)
        finally:
            process.kill()
        print(f"{name} {delay:.3f} s after the first checkpoint past step {before}: step {tiny.newest(run)}")
        assert before < tiny.newest(run) < TOTAL, "it was over before it could be stopped"
        state = status.read_status(run)["state"]
        if name == "SIGKILL":
            assert (code, state) == (-signal.SIGKILL, "killed")
            continue
        assert state == "preempted"
        assert code == 75, err
        assert (
            log.read_text()
            .splitlines()[-1]
            .endswith(f"stopped by {name} at step {tiny.newest(run)}; rerun the command to resume")
        )
    code, _, err = finish(tiny.start(*command))
    assert code == 0, err
    assert status.read_status(run)["state"] == "complete"

    other = unbroken[0]
    names = [
        "group_00/training_log.csv",
        *(f"group_00/samples/step_{n:08d}.png" for n in (0, 25, 50, 75, 96)),
    ]
    for name in names:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert tiny.newest(run) == tiny.newest(other) == TOTAL
    for step in {*tiny.steps(run)} & {*tiny.steps(other)}:  # a save during a slow write is skipped
        assert tiny.tensors(run, step) == tiny.tensors(other, step)
    places = [event[:3] for event in tiny.events(run)]
    assert len(places) == len(set(places))
    assert tiny.timeless(run) == tiny.timeless(other)
    results = [json.loads((r / "result.json").read_text()) for r in (run, other)]
    for result in results:
        assert all(0 <= result.pop(name) < math.inf for name in RATES)
    assert results[0] == results[1]
    assert "rolled back" not in log.read_text()
    assert "damaged" not in log.read_text()


def refuses_a_second_process(process, command, run):
    """While a process trains in a directory, another one ends with one line that says which it is."""
    process.send_signal(signal.SIGSTOP)
    try:
        code, out, err = finish(tiny.start(*command))
    finally:
        process.send_signal(signal.SIGCONT)
    assert code == 1
    assert out == ""
    (line,) = [line for line in err.splitlines() if "error: " in line and line.startswith("hazeheal")]
    assert f"--workdir={run} is in use by process {process.pid} on " in line


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_signal_before_the_run_is_open(data, tmp_path, name, code):
    process = tiny.start(*flags(data, tmp_path / "run"))
    maps = pathlib.Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        process.kill()
        pytest.skip("this system has no /proc to see by when TensorFlow is being imported")
    processes.wait_for(lambda: "tensorflow" in maps.read_text(), process)
    process.send_signal(signal.Signals[name])
    assert finish(process)[0] == code
    assert tiny.steps(tmp_path / "run") == []


def test_a_complete_run_is_started_again(unbroken, data, capsys):
    run = unbroken[0]
    before = tiny.files(run)
    assert main([*flags(data, run), "--cpu_replicas=2"]) == 0
    out, err = capsys.readouterr()
    assert out == unbroken[1]
    assert f"the run in {run} is complete (96 steps)" in err
    after = tiny.files(run)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["group_00/log.txt"]


def test_from_python_in_ten_lines(data, tmp_path):
    """The public names in a plain script; also: one replica by default, and no validation split."""
    script = f"""
    from hazeheal import DehazeGAN, DehazeTrainer, config
    from hazeheal.data.images import image_io

    settings = config.load({tiny.arguments(**RUN | {"train__steps": 4, "data__val_split": ""})!r})
    trainer = DehazeTrainer(settings, data_dir={str(data)!r}, workdir="run")
    result = trainer.train()
    print(result["complete"], result["steps"], result["replicas"], result["psnr"])
    image, _ = image_io.load_rgb({str(data) + "-images/hazy/0000.png"!r})
    image_io.save(DehazeGAN.from_run("run").restore(image), "restored.png")
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    variables = {"PYTHONPATH": str(ROOT)}
    code, out, err = processes.run(sys.executable, "script.py", cwd=tmp_path, variables=variables)
    assert code == 0, err
    assert out == "True 4 1 None\n"
    hazy, _ = image_io.load_rgb(f"{data}-images/hazy/0000.png")
    restored, _ = image_io.load_rgb(tmp_path / "restored.png")
    assert restored.shape == hazy.shape == (40, 40, 3)
    assert np.array_equal(restored, DehazeGAN.from_run(tmp_path / "run", which=4).restore(hazy))
    assert not np.array_equal(restored, hazy)


def test_dry_run_of_an_existing_run(unbroken, data, tmp_path_factory, capsys):
    run = unbroken[0]
    before = tiny.files(run)
    assert main([*flags(data, run), "--dry_run"]) == 0
    assert f"workdir   {run}: resumes from ckpt-00000096\n" in capsys.readouterr().out
    other = tiny.data_set(tmp_path_factory.getbasetemp(), name="other", seed=1)
    said = refused(capsys, [*flags(other, run), "--dry_run"], code=2)
    assert f"--data_dir={other} is not the data set that the run in {run} was trained on" in said
    assert tiny.files(run) == before
