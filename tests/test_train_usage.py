"""`hazeheal train`: invalid arguments, exit codes, signals and help; in this process or in short ones."""

import json
import resource
import signal

import processes
import pytest
import tiny
from train_calls import RUN, finish, flags, refused

from hazeheal import __version__
from hazeheal import config as configs
from hazeheal.__main__ import main
from hazeheal.commands import train
from hazeheal.data import records
from hazeheal.distributed.preemption import StopSignals


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
        (["--gpus=0,x"], 2, "argument --gpus: must be a list of numbers such as 0,1, got '0,x'"),
        (["--gpus=97"], 2, "--gpus=97: this machine has "),
        (["--gpus=0", "--cpu_replicas=2"], 2, "argument --cpu_replicas: not allowed with argument --gpus"),
        (["--cpu_replicas=0"], 2, "argument --cpu_replicas: must be a positive integer, got '0'"),
        (["--cpu_replicas=-2"], 2, "argument --cpu_replicas: must be a positive integer, got '-2'"),
        (
            ["--cpu_replicas=2", "--config.train.batch_size=5"],
            2,
            "--config.train.batch_size=5 does not divide over 2 replicas; use 4 or 6",
        ),
        (
            ["--config.data.crop_size=48"],
            2,
            "--config.data.crop_size=48 is larger than the smallest image, 40x40",
        ),
        (
            ["--config.train.precision=mixed_float16"],
            2,
            "--config.train.precision=mixed_float16 is not supported",
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
        (["--data_dir=/nowhere"], 1, "/nowhere/manifest.json does not exist; create the data set with"),
        (["--restore_from=/nowhere"], 1, "--restore_from=/nowhere has no intact checkpoint"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_bad_input_is_one_line_and_leaves_nothing(capsys, monkeypatch, data, tmp_path, extra, code, said, dry):
    def built(*_, **__):
        raise AssertionError("a network was built before the input was checked")

    monkeypatch.setattr("hazeheal.training.step.step.build_networks", built)
    if dry and any(word in extra[0] for word in ("--gpus=97", "precision")):
        pytest.skip("what a device can do is not known without TensorFlow")
    argv = [*flags(data, tmp_path / "run"), *extra, *["--dry_run"] * dry]
    assert said in refused(capsys, argv, code=code)
    assert not [p for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"]


def test_missing_flags_are_named(capsys, data):
    config = tiny.arguments(**RUN)
    assert "give --config=NAME exactly once" in refused(capsys, ["train", "--workdir=w"], code=2)
    assert "--workdir=DIR is needed" in refused(capsys, ["train", *config, f"--data_dir={data}"], code=2)
    assert "--data_dir=DIR is needed" in refused(capsys, ["train", *config, "--workdir=w"], code=2)


@pytest.mark.parametrize("dry", [False, True])
def test_damaged_data_is_named(capsys, data, tmp_path, dry):
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
    assert refused(capsys, flags(data, "w"), code=1) == "[Errno 28] No space left on device: 'runs/x/summaries'"


def test_a_bug_is_not_caught(data, monkeypatch):
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


def test_stop_signals_are_recorded_and_handlers_restored():
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with StopSignals() as signals:
        assert signals.received is None
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == "SIGTERM"
        signal.raise_signal(signal.SIGTERM)  # a scheduler may repeat it
        assert signals.received == "SIGTERM"
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_sigint_after_a_signal_ends_the_process_immediately(first):
    code = (
        "import signal, time\nfrom hazeheal.distributed.preemption import StopSignals\n"
        f"with StopSignals():\n    signal.raise_signal(signal.{first})\n    print('still here', flush=True)\n"
        "    signal.raise_signal(signal.SIGINT)\n    print('too late', flush=True)\n"
    )
    ended, out, _ = processes.run_python(code)
    assert (ended, out) == (-signal.SIGINT, "still here\n")


@pytest.mark.slow
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
        (["trian"], 2, "unknown command 'trian'; use one of launch, train"),
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


def test_dry_run_shows_the_configuration_and_checks_the_data_without_tensorflow(data, tmp_path):
    run = tmp_path / "run"
    code, out, err = processes.run_python(DRY, *flags(data, run), "--cpu_replicas=2", "--dry_run")
    assert (code, err) == (0, "")
    text, end, rest = out.partition("\n}\n")
    shown = configs.from_dict(json.loads(text + end))
    assert configs.flat(shown) == configs.flat(tiny.config(**RUN))
    assert rest.splitlines() == [
        f"data      {data}: 11 training, 3 validation pairs",
        f"workdir   {run}: a new run",
        "[]",
    ]
    assert not run.exists()


def test_dry_run_into_a_closed_pipe(data, tmp_path):
    process = tiny.start(*flags(data, tmp_path / "run"), "--dry_run")
    process.stdout.close()
    process.stdout = None
    process.wait(processes.PATIENCE)
    assert process.returncode == 1
    assert process.stderr.read() == ""
