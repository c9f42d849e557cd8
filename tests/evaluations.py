"""What the tests of `hazeheal evaluate` share: calls of the command, image folders and a run."""

import logging

import tiny

from hazeheal import config as configs
from hazeheal.__main__ import main
from hazeheal.inference.gan import DehazeGAN
from hazeheal.runs.checkpoint_manager import CheckpointManager


def call(capsys, *argv):
    """(exit code, stdout, stderr) without the prefix of the command."""
    capsys.readouterr()
    code = main(["evaluate", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err.strip().removeprefix("hazeheal evaluate: error: ")


def flags_of(folders):
    return f"--hazy_dir={folders['hazy']}", f"--gt_dir={folders['GT']}"


def folders_of(data):
    """The folders of the images that `tiny.data_set` has converted."""
    pair = data.with_name(f"{data.name}-images")
    return {"hazy": pair / "hazy", "GT": pair / "GT"}


def write_run(path):
    """Writes a run's directory with two checkpoints of an untrained generator; the better is the older."""
    path.mkdir()
    config = tiny.config(train__steps=8)
    (path / "config.json").write_text(configs.to_json(config))
    gan = DehazeGAN(config, for_training=False)
    checkpoints = CheckpointManager(path / "group_00/checkpoints", keep=3, log=logging.getLogger("test"))
    for step, score in ((4, 21.0), (8, 20.0)):
        values = {f"generator/{v.path}": v.numpy() * (1 + step / 16) for v in gan.generator.variables}
        checkpoints.save(values, step=step, metrics={"psnr": score})
        assert checkpoints.wait()
    checkpoints.close()
    return path
