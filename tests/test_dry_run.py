"""`hazeheal train --dry_run`, with and without a data set."""

import json

import checkpoints_made
import pytest
import tensorflow as tf
import tiny

from hazeheal.__main__ import main
from hazeheal.distributed import tf_config


def flags(run, *more, **overrides):
    return ["train", "--dry_run", f"--workdir={run}", *tiny.arguments(train__steps=10, **overrides), *more]


def refused(capsys, argv, *, code=2):
    assert main(argv) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hazeheal train: error: ")
    return line


def test_the_configuration_is_shown_and_that_the_data_was_not_checked(tmp_path, capsys):
    assert main(flags(tmp_path / "run")) == 0
    text, end, rest = capsys.readouterr().out.partition("\n}\n")
    assert json.loads(text + end)["train"]["steps"] == 10
    assert rest.splitlines() == [
        "data      no data set was given; what depends on it was not checked",
        f"workdir   {tmp_path / 'run'}: a new run",
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "overrides", "said"),
    [
        ([], {"train__batch_size": "x"}, "--config.train.batch_size=x is not an integer"),
        ([], {"train__nothing": 1}, "the configuration has no field 'train.nothing'"),
        (["--cpu_replicas=3"], {}, "does not divide over 3 replicas"),
        ([], {"loss__perceptual_weight": 0.1, "loss__perceptual_weights": "/nowhere.npz"}, "/nowhere.npz"),
        (["--data_dir="], {}, "--data_dir=DIR is needed"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path, capsys, more, overrides, said):
    assert said in refused(capsys, flags(tmp_path, *more, **overrides))


def test_a_run_with_networks_of_an_earlier_version_is_refused_and_other_old_fields_are_ignored(tmp_path, capsys):
    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0))
    config = json.loads((run / "config.json").read_text())
    config["loss"]["weighting"] = "fixed"
    (run / "config.json").write_text(json.dumps(config))
    assert main(flags(run)) == 0
    assert "resumes from ckpt-00000005" in capsys.readouterr().out
    config["model"]["norm"] = "batch"
    (run / "config.json").write_text(json.dumps(config))
    line = refused(capsys, flags(run), code=1)
    assert f"{run}/config.json: model.norm=batch was removed; use the version that trained it" in line


def test_the_replicas_of_all_groups_count(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config.to_json(["a:1", "b:1", "c:1"], group=0))
    assert "over 3 replicas" in refused(capsys, flags(tmp_path, "--cpu_replicas=1"))


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has GPUs")
def test_gpus_that_tensorflow_does_not_see_are_refused_with_what_to_do(tmp_path, capsys):
    line = refused(capsys, flags(tmp_path, "--gpus=0"))
    assert "--gpus=0: this machine has no GPU that TensorFlow can use" in line
    assert "pip install '.[cuda]'" in line
