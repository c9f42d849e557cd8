"""A SavedModel of `hazeheal export` restores as its run: any size, tiles, 16 bits, several devices."""

import json
import shutil

import checkpoints_made
import numpy as np
import pytest
from disks import flip
from PIL import Image
from refusals import refusal
from test_restorer import apart, noise

from hazeheal import __main__ as program
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.inference.exported_models import ExportedModel, KerasModel, OnnxModel
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.load_model import open_model
from hazeheal.inference.locate_model import locate_model
from hazeheal.inference.restorer import Restorer
from hazeheal.models import pretrained


def make(folder, **fields):
    """(a run's directory, that of its export)"""
    run = checkpoints_made.write_run(folder / "run", (5, 20.0), (9, 10.0), **fields)
    assert program.main(["export", f"--model={run}", "--which=newest", f"--output={folder / 'export'}"]) == 0
    return run, folder / "export"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("gate"), model__se_ratio=0.25)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_saved_model_restores_as_the_run(made, dtype):
    run, export = made
    gan, model = DehazeGAN.from_run(run, which="newest"), open_model(export)
    white = np.iinfo(dtype).max
    ours, theirs = (Restorer(m, tile_size=120) for m in (model, gan))
    for size, tiled in (((1, 1), False), ((31, 50), False), ((230, 210), True)):
        image = noise(*size, dtype=dtype)
        assert (len(ours.plan(*size).tiles) > 1) == tiled
        restored = ours.restore(image)
        assert apart(restored, theirs.restore(image)).max() <= white / 255
        assert restored.dtype == dtype
    assert ours.uses_averages
    assert apart(restored, image).mean() > 3


@pytest.mark.slow
def test_on_several_devices(made):
    run, export = made
    image = noise(230, 210)
    wanted = Restorer(DehazeGAN.from_run(run, which=9), tile_size=120).restore(image)
    restorer = Restorer(ExportedModel(export / "saved_model"), tile_size=120, devices=("CPU:0", "CPU:1"))
    assert apart(restorer.restore(image), wanted).max() <= 1


def test_the_commands_accept_an_export(made, tmp_path, capsys):
    run, export = made
    for kind in ("hazy", "GT"):
        (tmp_path / kind).mkdir()
        Image.fromarray(noise(40, 50, seed=len(kind))).save(tmp_path / kind / "1.png")
    hazy = tmp_path / "hazy/1.png"
    for model in (run, export):
        flags = [f"--model={model}", f"--output={tmp_path / model.name}"]
        flags += ["--which=newest"] if model == run else []
        assert program.main(["dehaze", str(hazy), *flags]) == 0
    ours, theirs = (np.asarray(Image.open(tmp_path / name / "1.png")) for name in ("export", "run"))
    assert apart(ours, theirs).max() <= 1
    capsys.readouterr()
    folders = [f"--hazy_dir={tmp_path / 'hazy'}", f"--gt_dir={tmp_path / 'GT'}"]
    flags = [f"--model={export}", f"--output={tmp_path / 'scores'}"]
    assert program.main(["evaluate", *folders, *flags]) == 0
    assert '"checkpoint": "ckpt-00000009"' in (tmp_path / "scores/summary.json").read_text()
    assert program.main(["dehaze", str(hazy), f"--model={tmp_path}", f"--output={tmp_path / 'out'}"]) == 1
    assert program.main(["export", f"--model={export}", f"--output={tmp_path / 'out'}"]) == 1
    assert "is an export, which cannot be exported; name the run" in capsys.readouterr().err


def test_damaged_exports_are_refused(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made[1], copy)
    assert "computes in float32, not in mixed_bfloat16" in refusal(
        UsageError, open_model, copy, precision="mixed_bfloat16"
    )
    saved = copy / "saved_model"
    (weights,) = saved.glob("variables/*.data*")
    flip(weights, 100)
    assert f"{weights} has changed since it was written" in refusal(HazeHealError, open_model, copy)
    weights.unlink()
    assert "No such file" in refusal(HazeHealError, open_model, copy)
    metadata = json.loads((saved / "assets.extra/hazeheal.json").read_text())
    del metadata["files"]
    (saved / "assets.extra/hazeheal.json").write_text(json.dumps(metadata))
    assert "does not list the files" in refusal(HazeHealError, open_model, copy)
    (saved / "assets.extra/hazeheal.json").write_text("{")
    assert "is damaged" in refusal(HazeHealError, open_model, copy)
    (saved / "assets.extra/hazeheal.json").unlink()
    assert "not of `hazeheal export`" in refusal(HazeHealError, open_model, saved)
    shutil.rmtree(saved)
    assert "is an export without a format that can be run here" in refusal(HazeHealError, open_model, copy)
    (copy / "export.json").unlink()
    assert "is not a run directory" in refusal(HazeHealError, open_model, copy)


@pytest.fixture(scope="module")
def files(made, tmp_path_factory):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    run, _ = made
    folder = tmp_path_factory.mktemp("files") / "export"
    flags = ["--which=newest", "--format=keras,onnx", f"--output={folder}"]
    assert program.main(["export", f"--model={run}", *flags]) == 0
    return folder


def test_keras_and_onnx_files_restore_images(made, files):
    wanted, image = DehazeGAN.from_run(made[0], which="newest"), noise(130, 170)
    deep = noise(60, 70, dtype=np.uint16)
    for name, kind in (("generator.keras", KerasModel), ("generator.onnx", OnnxModel), ("", KerasModel)):
        model = open_model(files / name)
        assert isinstance(model, kind) and model.checkpoint.name == "ckpt-00000009"
        assert apart(Restorer(model, tile_size=120).restore(image), wanted.restore(image)).max() <= 1
        mirrored = [Restorer(each, mirror=True).restore(image) for each in (model, wanted)]
        assert apart(*mirrored).max() <= 1
    assert apart(open_model(files / "generator.keras").restore(deep), wanted.restore(deep)).max() <= 40
    with pytest.raises(DataError, match="8 bits per channel only"):
        open_model(files / "generator.onnx").restore(deep)


def test_files_that_cannot_be_run_are_refused(made, files, tmp_path):
    assert "omit --which" in refusal(UsageError, open_model, files / "generator.onnx", which="best")
    assert "omit --which" in refusal(UsageError, open_model, "fast", which=7)
    assert "does not exist" in refusal(HazeHealError, open_model, tmp_path / "none.onnx")
    for name, said in (("a.keras", "not a .keras file"), ("a.onnx", "cannot be loaded by ONNX Runtime")):
        (tmp_path / name).write_bytes(b"no model")
        assert said in refusal(HazeHealError, open_model, tmp_path / name)
    (tmp_path / "a.tflite").write_bytes(b"")
    assert "other devices" in refusal(UsageError, open_model, tmp_path / "a.tflite")


def test_the_identity_follows_the_weights(made, files, tmp_path):
    run, export = made
    models = [("best", None), ("fast", None), (run, "newest"), (export, None), (files / "generator.onnx", None)]
    found = [locate_model(model, which=which).identity for model, which in models]
    assert len(set(found)) == len(models)
    assert found == [locate_model(model, which=which).identity for model, which in models]
    shutil.copy(pretrained.find("fast"), tmp_path / "copy.npz")
    assert locate_model(tmp_path / "copy.npz").identity == found[1]


def test_the_page_loads_every_network_that_it_lists(made, tmp_path):
    from hazeheal.commands import demo

    images, names = demo._open(demo.parser().parse_args([f"--model={made[0]}", "--which=newest"]), str(tmp_path))
    assert names == [made[0].name, *pretrained.names()]
    assert {type(images.models[name]()) for name in names} == {Restorer}
