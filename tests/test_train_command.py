"""`hazeheal train` as its users run it: processes that are killed, refusals of one line, exit codes."""

import json
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import tiny

from hazeheal import __version__, records
from hazeheal import config as configs
from hazeheal.__main__ import main
from hazeheal.commands import train
from hazeheal.data import pictures
from hazeheal.models.gan import DehazeGAN
from hazeheal.training.signals import StopSignals

TOTAL = 96
# No interval is a multiple of another one, of the loop's 3 steps, or of an epoch's 2.75.
RUN = {
    "model__norm": "none",
    "train__steps": TOTAL,
    "train__keep": 2,
    "train__validate_every": "17 steps",
    "train__sample_every": "25 steps",
}
PATIENCE = 240  # seconds for what takes a few on a free machine


def flags(data, run, **overrides):
    return ["train", f"--data_dir={data}", f"--workdir={run}", *tiny.arguments(**RUN | overrides)]


def finish(process):
    """(exit code, stdout, stderr) of a process, which must not show a traceback."""
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}: {process.stderr.read()}"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    """(directory, stdout, stderr) of a run that nobody stopped."""
    run = tmp_path_factory.mktemp("command") / "run"
    code, out, err = finish(tiny.start(*flags(data, run), "--cpu_replicas=2"))
    assert code == 0, err
    return run, out, err


def newest(run):
    return max(tiny.steps(run), default=-1)


def test_a_run_ends_by_saying_what_it_reached_and_where_it_lies(unbroken):
    run, out, err = unbroken
    result = json.loads((run / "result.json").read_text())
    assert list(result) == [
        *("psnr_input", "psnr", "ssim_input", "ssim"),
        *("steps", "images_per_second", "replicas", "precision", "xla"),
    ]
    lines = out.splitlines()
    assert re.fullmatch(r"complete: 96 steps, [\d.]+ images/s on 2 replica\(s\), float32, XLA off", lines[0])
    gain = result["psnr"] - result["psnr_input"]
    psnr = (
        rf"  PSNR +{result['psnr_input']:.2f} dB +{result['psnr']:.2f} dB +\({re.escape(f'{gain:+.2f}')} dB\)"
    )
    assert re.fullmatch(psnr, lines[2])
    assert re.fullmatch(rf"  SSIM +{result['ssim_input']:.4f} +{result['ssim']:.4f}", lines[3])
    for line, place in zip(lines[4:8], ("samples", "checkpoints", "summaries", "result.json"), strict=True):
        path = pathlib.Path(line.split()[-1])
        assert path.name == place
        assert path.exists()
    command = f"{sys.executable} -m tensorboard.main --logdir={run}"
    assert lines[8:] == [f"TensorBoard           {command}"]
    assert "step 96/96 (100%)" in err


def test_killed_again_and_again_it_is_the_same_run(unbroken, data, tmp_path):
    """SIGKILL at random times, and SIGTERM: the same command goes on, and every bit is the same."""
    run = tmp_path / "run"
    command = [*flags(data, run), "--cpu_replicas=2"]
    log = run / "group_00/log.txt"
    for name in ("SIGKILL", "SIGTERM", "SIGKILL", "SIGKILL"):
        before, length = newest(run), len(log.read_text()) if log.exists() else 0
        process = tiny.start(*command)
        try:
            if name == "SIGTERM":
                wait_for(lambda n=length: log.exists() and len(log.read_text()) > n, process)
                refuses_a_second_process(process, command, run)
            wait_for(lambda s=before: newest(run) > s, process)
            delay = random.uniform(0, 0.1)
            time.sleep(delay)
            process.send_signal(signal.Signals[name])
            code, _, err = finish(process)
        finally:
            process.kill()
        print(f"{name} {delay:.3f} s after the first checkpoint past step {before}: step {newest(run)}")
        assert before < newest(run) < TOTAL, "it was over before it could be stopped"
        if name == "SIGKILL":
            assert code == -signal.SIGKILL
            continue
        assert code == 75, err
        assert (
            log.read_text()
            .splitlines()[-1]
            .endswith(f"stopped by {name} at step {newest(run)}; the same command goes on there")
        )
    code, _, err = finish(tiny.start(*command))
    assert code == 0, err

    other = unbroken[0]
    names = [
        "group_00/training_log.csv",
        *(f"group_00/samples/step_{n:08d}.png" for n in (0, 25, 50, 75, 96)),
    ]
    for name in names:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert tiny.steps(run) == tiny.steps(other)
    for step in tiny.steps(run):
        assert tiny.tensors(run, step) == tiny.tensors(other, step)
    places = [event[:3] for event in tiny.events(run)]
    assert len(places) == len(set(places))
    assert tiny.timeless(run) == tiny.timeless(other)
    results = [json.loads((r / "result.json").read_text()) for r in (run, other)]
    for result in results:
        assert result.pop("images_per_second") > 0
    assert results[0] == results[1]
    assert "goes on from" not in log.read_text()
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
    wait_for(lambda: "tensorflow" in maps.read_text(), process)
    process.send_signal(signal.Signals[name])
    assert finish(process)[0] == code
    assert tiny.steps(tmp_path / "run") == []


def test_again_after_it_is_complete(unbroken, data, capsys):
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
    from hazeheal.data import pictures

    settings = config.load({tiny.arguments(**RUN | {"train__steps": 4, "data__val_split": ""})!r})
    trainer = DehazeTrainer(settings, data_dir={str(data)!r}, workdir="run")
    result = trainer.train()
    print(result["complete"], result["steps"], result["replicas"], result["psnr"])
    picture, _ = pictures.load_rgb({str(data) + "-pictures/hazy/0000.png"!r})
    pictures.save(DehazeGAN.from_run("run").restore(picture), "restored.png")
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ
        | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(tiny.ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True 4 1 None\n"
    hazy, _ = pictures.load_rgb(f"{data}-pictures/hazy/0000.png")
    restored, _ = pictures.load_rgb(tmp_path / "restored.png")
    assert restored.shape == hazy.shape == (40, 40, 3)
    assert np.array_equal(restored, DehazeGAN.from_run(tmp_path / "run", which=4).restore(hazy))
    assert not np.array_equal(restored, hazy)


def refused(capsys, argv, *, code, error=True):
    """What `hazeheal ARGV` says in its one line, with which it must end."""
    assert main([str(a) for a in argv]) == code
    _, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("hazeheal train: error: ")
    return line.removeprefix("hazeheal train: error: ")


@pytest.mark.parametrize(
    ("extra", "code", "said"),
    [
        (
            ["--config.train.stepz=3"],
            2,
            "--config.train.stepz=3: the configuration has no field 'train.stepz'",
        ),
        (["--config.train.steps=many"], 2, "--config.train.steps=many is not an integer"),
        (["--config.train.epochs=3"], 2, "exactly one of them must be above 0"),
        (["--config=rice1"], 2, "give --config=NAME exactly once (it was given 2 times)"),
        (["--config.seed"], 2, "--config.seed needs a value"),
        (["--nothing=3"], 2, "unrecognized arguments: --nothing=3; see hazeheal train --help"),
        (["--gpus=0,x"], 2, "argument --gpus: '0,x' is no list of numbers such as 0,1"),
        (["--gpus=97"], 2, "--gpus=97: this machine has "),
        (["--gpus=0", "--cpu_replicas=2"], 2, "--gpus and --cpu_replicas exclude each other"),
        (["--cpu_replicas=0"], 2, "argument --cpu_replicas: '0' is no number of 1 or more"),
        (["--cpu_replicas=-2"], 2, "argument --cpu_replicas: '-2' is no number"),
        (
            ["--cpu_replicas=2", "--config.train.batch_size=5"],
            2,
            "--config.train.batch_size=5 does not divide over 2 replicas; use 4 or 6",
        ),
        (
            ["--config.data.crop_size=48"],
            2,
            "--config.data.crop_size=48 is larger than the smallest picture, 40x40",
        ),
        (
            ["--config.train.precision=mixed_float16"],
            2,
            "--config.train.precision=mixed_float16: this device lacks",
        ),
        (
            ["--config.loss.perceptual_weight=1", "--config.loss.perceptual_weights=/nowhere/vgg.npz"],
            2,
            "perceptual weights /nowhere/vgg.npz not found: give --config.loss.perceptual_weights=PATH",
        ),
        (
            ["--config.loss.perceptual_weight=1", "--config.loss.perceptual_layer=block9"],
            2,
            "'block9' is not a",
        ),
        (["--config.data.val_split=test"], 1, "has no split 'test'; it has train, val"),
        (["--data_dir=/nowhere"], 1, "/nowhere/manifest.json does not exist; make the data set with"),
        (["--restore_from=/nowhere"], 1, "--restore_from=/nowhere: no whole checkpoint there"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_bad_input_is_one_line_and_leaves_nothing(
    capsys, monkeypatch, data, tmp_path, extra, code, said, dry
):
    def built(*_, **__):
        raise AssertionError("a network was built before the input was checked")

    monkeypatch.setattr("hazeheal.training.trainer.DehazeGAN", built)
    if dry and any(word in extra[0] for word in ("--gpus=97", "precision")):
        pytest.skip("what a device can do is not known without TensorFlow")
    argv = [*flags(data, tmp_path / "run"), *extra, *["--dry_run"] * dry]
    assert said in refused(capsys, argv, code=code)
    assert not [p for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"]


def test_what_is_missing_is_asked_for(capsys, data):
    config = tiny.arguments(**RUN)
    assert "give --config=NAME exactly once" in refused(capsys, ["train", "--workdir=w"], code=2)
    assert "--workdir=DIR is needed" in refused(capsys, ["train", *config, f"--data_dir={data}"], code=2)
    assert "--data_dir=DIR is needed" in refused(capsys, ["train", *config, "--workdir=w"], code=2)


@pytest.mark.parametrize("dry", [False, True])
def test_damaged_data_are_named(capsys, data, tmp_path, dry):
    copy = tiny.damage_record(data, tmp_path / "copy", split="val")
    argv = [*flags(copy, tmp_path / "run"), *["--dry_run"] * dry]
    shard = records.open_split(copy, "val").shards[0]
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    assert f"shard {shard} has {len(content) - 1} bytes instead of" in refused(capsys, argv, code=1)
    shard.unlink()
    assert f"shard {shard} is missing" in refused(capsys, argv, code=1)
    (copy / "manifest.json").write_text("{")
    assert f"{copy / 'manifest.json'} cannot be read" in refused(capsys, argv, code=1)


@pytest.mark.parametrize("place", ["/dev/null/run", "file"])
def test_a_directory_that_cannot_be_written(capsys, data, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    line = refused(capsys, flags(data, place), code=1)
    assert line.startswith(f"--workdir={place} cannot be written: ")


def test_an_error_of_the_system_is_one_line(capsys, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "runs/x/summaries")

    monkeypatch.setattr(train, "train", full)
    assert (
        refused(capsys, flags(data, "w"), code=1) == "[Errno 28] No space left on device: 'runs/x/summaries'"
    )


def test_a_bug_is_not_disguised(data, monkeypatch):
    monkeypatch.setattr(train, "train", lambda *_: {}["nothing"])
    with pytest.raises(KeyError):
        main(flags(data, "w"))


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_exit_codes_of_a_stopped_run(capsys, data, monkeypatch, name, code):
    monkeypatch.setattr(train, "train", lambda *_: {"complete": False, "signal": name, "steps": 3})
    assert main(flags(data, "w")) == code
    assert capsys.readouterr().out == ""


def test_ctrl_c_before_the_run_is_open(data, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", interrupted)
    assert main(flags(data, "w")) == 130


def test_stop_signals_are_noted_and_given_back():
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with StopSignals() as signals:
        assert signals.received is None
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == "SIGTERM"
        signal.raise_signal(signal.SIGTERM)  # a scheduler may repeat it
        assert signals.received == "SIGTERM"
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_a_sigint_after_a_signal_ends_the_process_at_once(first):
    code = (
        "import signal, time\nfrom hazeheal.training.signals import StopSignals\n"
        f"with StopSignals():\n    signal.raise_signal(signal.{first})\n    print('still here', flush=True)\n"
        "    signal.raise_signal(signal.SIGINT)\n    print('too late', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "still here\n"


def test_real_processes_refuse_in_one_line(data, tmp_path):
    copy = tiny.damage_record(data, tmp_path / "copy", split="train")
    records.open_split(copy, "train").shards[0].unlink()
    for argv, code, said in (
        ([*flags(data, tmp_path / "run"), "--config.train.stepz=3"], 2, "no field 'train.stepz'"),
        (
            [*flags(copy, tmp_path / "run"), "--cpu_replicas=2"],
            1,
            "is missing; run `hazeheal-tfrecords verify",
        ),
        ([*flags(data, tmp_path / "run"), "--gpus=97"], 2, "--gpus=97: this machine has "),
        (["trian"], 2, "there is no command 'trian'; use one of train"),
    ):
        found, out, err = finish(tiny.start(*argv))
        assert found == code, err
        assert out == ""
        (line,) = [line for line in err.splitlines() if line.startswith("hazeheal") and "error: " in line]
        assert said in line
        assert err.endswith(f"{line}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--help"], 0, ["usage: hazeheal COMMAND", "train "]),
        (
            ["train", "--help"],
            0,
            ["--data_dir", "--workdir", "--gpus", "--restore_from", "--config.x.y=VALUE", "75"],
        ),
        (["--version"], 0, [f"hazeheal {__version__}"]),
        ([], 2, ["usage: hazeheal COMMAND"]),
    ],
)
def test_help_is_quick(argv, code, words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found, out, err = finish(tiny.start(*argv))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found == code
    assert all(word in (out if code == 0 else err) for word in words)
    assert (err if code == 0 else out) == ""
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1


DRY = """
import sys
from hazeheal.__main__ import main
code = main(sys.argv[1:])
print(sorted({"tensorflow", "keras"} & set(sys.modules)))
sys.exit(code)
"""


def dry_run(argv):
    return subprocess.run(
        [sys.executable, "-c", DRY, *argv, "--dry_run"],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_dry_run_shows_the_configuration_and_checks_the_data_without_tensorflow(data, tmp_path):
    run = tmp_path / "run"
    done = dry_run([*flags(data, run), "--cpu_replicas=2"])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    text, end, rest = done.stdout.partition("\n}\n")
    shown = configs.from_dict(json.loads(text + end))
    assert configs.flat(shown) == configs.flat(tiny.config(**RUN))
    assert rest.splitlines() == [
        f"data      {data}: 11 training, 3 validation pairs",
        f"workdir   {run}: a new run",
        "[]",
    ]
    assert not run.exists()


def test_dry_run_of_a_run_that_is_there(unbroken, data, tmp_path_factory, capsys):
    run = unbroken[0]
    before = tiny.files(run)
    assert main([*flags(data, run), "--dry_run"]) == 0
    assert f"workdir   {run}: goes on from ckpt-00000096\n" in capsys.readouterr().out
    other = tiny.data_set(tmp_path_factory.getbasetemp(), name="other", seed=1)
    said = refused(capsys, [*flags(other, run), "--dry_run"], code=2)
    assert f"--data_dir={other} is not the data set that the run in {run} was trained on" in said
    assert tiny.files(run) == before


def test_dry_run_into_a_pipe_that_closes(data, tmp_path):
    process = tiny.start(*flags(data, tmp_path / "run"), "--dry_run")
    process.stdout.close()
    process.stdout = None
    process.wait(PATIENCE)
    assert process.returncode == 1
    assert process.stderr.read() == ""


def graphviz_works():
    try:
        return subprocess.run(["dot", "-V"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_plot_models(tmp_path, capsys):
    pytest.importorskip("pydot")
    if not graphviz_works():
        pytest.skip("Graphviz is not installed")
    argv = ["train", *tiny.arguments(**RUN), f"--workdir={tmp_path / 'plots'}", "--plot_models"]
    assert main(argv) == 0
    paths = [tmp_path / "plots" / f"{name}_model.png" for name in ("generator", "discriminator")]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    for path in paths:
        picture, kept = pictures.load_rgb(path)
        assert kept.format == "png"
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 10


def test_plot_models_without_graphviz(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    argv = ["train", *tiny.arguments(**RUN), f"--workdir={tmp_path / 'plots'}", "--plot_models"]
    said = refused(capsys, argv, code=1)
    assert said.startswith("--plot_models needs pydot (pip install 'hazeheal[plots]') and Graphviz")
    assert not list((tmp_path / "plots").glob("*"))


def test_plot_models_where_nothing_can_be_written(capsys):
    pytest.importorskip("pydot")
    said = refused(
        capsys, ["train", *tiny.arguments(**RUN), "--workdir=/dev/null/plots", "--plot_models"], code=1
    )
    assert "/dev/null/plots/generator_model.png cannot be written" in said
