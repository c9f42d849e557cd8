"""Pretrained networks by name: in Python, as the default of the commands, and errors if they are missing.

The tests write their own weights files, and only open those of the package.
"""

import json
import pathlib
import shutil

import checkpoints_made
import numpy as np
import pytest
import tiny
from PIL import Image
from refusals import refusal
from test_restorer import apart, noise

from hazeheal import __main__ as program
from hazeheal.config_fields import FIELDS, flat
from hazeheal.errors import HazeHealError
from hazeheal.export import check, exporter, formats
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.load_model import open_model
from hazeheal.models import pretrained, weights

MOST_BYTES = 8 * 2**20


def call(capsys, *argv):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    code = program.main([*map(str, argv)])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return checkpoints_made.write_run(path, (5, 20.0), (9, 10.0))


@pytest.fixture(scope="module")
def files(run):
    """A folder with best.npz, written by the command, and fast.npz: the two checkpoints of the run."""
    folder, gan = run.parent / "shipped", DehazeGAN.from_run(run, which="newest")
    assert program.main(["export", "--format=weights", f"--model={run}", f"--output={folder / 'best.npz'}"]) == 0
    formats.write_weights(gan, folder / "fast.npz", exporter.describe(gan))
    return folder


@pytest.fixture
def shipped(files, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", files)
    return files


@pytest.fixture
def none_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "nowhere")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory of the user, with an image."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise(40, 50)).save("hazy.png")
    for side in ("hazy", "GT"):
        pathlib.Path(side).mkdir()
        Image.fromarray(noise(30, 34, seed=len(side))).save(f"{side}/1.png")
    return tmp_path


def load(path):
    return np.asarray(Image.open(path))


def test_an_export_names_no_folder_of_the_machine(tmp_path):
    fields = {"data__cache": "/home/me/cache", "loss__perceptual_weights": "/home/me/vgg19.npz"}
    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0), **fields)
    text = json.dumps(exporter.describe(DehazeGAN.from_run(run)))
    assert "/home/me" not in text and str(tmp_path) not in text


def test_the_weights_are_those_of_the_run_rounded_to_float16(shipped, run):
    for name, which in (("best", 5), ("fast", 9)):
        gan, of_run = DehazeGAN.from_pretrained(name), DehazeGAN.from_run(run, which=which)
        # Files that are passed on do not name folders of the machine that they were made on.
        stored, fields = flat(gan.config), flat(of_run.config)
        assert not [name for name in fields if stored[name] != fields[name] and not FIELDS[name].per_host]
        assert gan.generator.count_params() > 300
        for ours, theirs in zip(gan.generator.variables, of_run.generator.variables, strict=True):
            assert ours.path == theirs.path
            np.testing.assert_array_equal(ours, np.asarray(theirs).astype("f2").astype("f4"))
        assert gan.checkpoint == shipped / f"{name}.npz"
        facts = {"run": "run", "step": which, "psnr": 20.0 if which == 5 else 10.0, "data_fingerprint": "f"}
        assert gan.metadata.items() >= facts.items()
    assert pretrained.names() == ["best", "fast"]
    assert DehazeGAN.from_pretrained().checkpoint.name == "best.npz"
    assert pretrained.load("fast").metadata == gan.metadata


def test_rounding_stays_within_the_tolerance(shipped, run):
    gan, of_run = DehazeGAN.from_pretrained("best"), DehazeGAN.from_run(run)
    assert any((np.asarray(v) != np.asarray(v).astype("f2")).any() for v in of_run.generator.variables)
    (target,), image = formats.targets(["weights"]), noise(70, 90)
    difference = apart(gan.restore(image), of_run.restore(image))
    assert difference.max() <= target.tolerance.largest and difference.mean() <= target.tolerance.mean
    assert apart(gan.restore(image), image).mean() > 3, "the network must change the image"


def test_precision_is_that_of_the_arithmetic_only(shipped):
    gan = DehazeGAN.from_pretrained("best", precision="mixed_bfloat16")
    assert gan.generator.get_layer("encoder_0").compute_dtype == "bfloat16"
    assert {v.dtype for v in gan.generator.variables} == {"float32"}


def test_best_is_the_default_of_dehaze(shipped, folder, capsys):
    code, said, wrong = call(capsys, "dehaze", "hazy.png", "--output=out")
    assert (code, said, wrong) == (0, "restored 1 to out\n", ""), wrong
    best, fast = DehazeGAN.from_pretrained("best"), DehazeGAN.from_pretrained("fast")
    assert np.array_equal(load("out/hazy.png"), best.restore(load("hazy.png")))
    assert call(capsys, "dehaze", "hazy.png", "--model=fast", "--output=out2")[0] == 0
    assert np.array_equal(load("out2/hazy.png"), fast.restore(load("hazy.png")))
    assert not np.array_equal(load("out/hazy.png"), load("out2/hazy.png"))


def test_names_and_paths_are_distinguished(shipped, folder, run, caplog):
    pathlib.Path("best").mkdir()  # results of another command, say
    shutil.copy(shipped / "fast.npz", folder / "own.npz")
    shutil.copytree(run, "fast")
    assert open_model("best").checkpoint == shipped / "best.npz"
    assert caplog.messages == ["best is a pretrained network; to use the path, write ./best"]
    assert open_model("fast").checkpoint == shipped / "fast.npz"
    for path in ("./fast", pathlib.Path("fast"), str(folder / "fast")):
        assert open_model(path, which="newest").checkpoint.name == "ckpt-00000009"
    for path in ("own.npz", pathlib.Path("own.npz")):
        assert open_model(path).metadata == pretrained.load("fast").metadata
    assert DehazeGAN.from_pretrained(folder / "own.npz").metadata["step"] == 9


def test_evaluate_scores_best_by_default(shipped, folder, capsys, caplog):
    flags = ["evaluate", "--hazy_dir=hazy", "--gt_dir=GT", "--no_baseline"]
    code, said, wrong = call(capsys, *flags, "--output=scores")
    assert (code, wrong) == (0, "")
    assert [line.split()[0] for line in said.splitlines()[2:4]] == ["input", "best"]
    told = json.loads(pathlib.Path("scores/summary.json").read_text())["models"]["best"]
    assert told["checkpoint"] == "best.npz" and told["sha256"] == pretrained.load("best").metadata["sha256"]
    shutil.copy(shipped / "fast.npz", "best")
    code, said, wrong = call(capsys, *flags, "--model=fast", "--model=best", "--model=./best")
    assert code == 0 and "to use the path, write ./best" in caplog.text
    assert [line.split()[0] for line in said.splitlines()[2:6]] == ["input", "fast", "best", "./best"]
    assert "given twice" in call(capsys, *flags, "--model=fast", "--model=fast")[2]
    code, said, _ = call(capsys, *flags, "--no_model")
    assert code == 0 and "best" not in said.splitlines()[2]
    assert call(capsys, *flags, "--no_model", "--model=fast")[0] == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            [],
            "the network 'best' is not in this installation; the pretrained networks are not in this installation; or use a run",
        ),
        (["--model=fast"], "the network 'fast' is not in this installation; the pretrained networks are not in"),
        (
            ["--model=besst"],
            "besst does not exist, and no pretrained network has that name; the pretrained networks are not in",
        ),
    ],
)
@pytest.mark.parametrize("command", ["dehaze", "evaluate"])
def test_a_missing_network_is_reported_in_one_line(none_shipped, folder, capsys, command, flags, said):
    given = ["hazy.png", "--output=out"] if command == "dehaze" else ["--hazy_dir=hazy", "--gt_dir=GT"]
    code, out, wrong = call(capsys, command, *given, *flags)
    assert (code, out) == (1, "")
    assert wrong.startswith(f"hazeheal {command}: error: {said}") and wrong.count("\n") == 1
    assert not pathlib.Path("out").exists()


def test_an_unknown_name_is_refused_with_the_known_names(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for action in (open_model, DehazeGAN.from_pretrained, pretrained.load):
        message = refusal(HazeHealError, action, "besst")
        assert message.startswith("besst ") and "the pretrained networks are best, fast; " in message
    assert "mine.npz is not a file, and no pretrained" in refusal(HazeHealError, open_model, "mine.npz")


def changed(file, path, *, values=None, **fields):
    """A copy of a file with other variables or metadata, and a valid hash."""
    found = weights.read(file)
    metadata = {**found.metadata, **fields}
    metadata.pop("sha256")
    weights.write(path, found.values if values is None else values(dict(found.values)), metadata)
    return path


def without(values):
    del values["head/kernel"]
    return values


def transposed(values):
    return values | {"head/kernel": values["head/kernel"].swapaxes(0, 2)}


def with_another(values):
    return values | {"head/other": values["head/bias"]}


def of_model(file, **fields):
    config = weights.read(file).metadata["config"]
    return config | {"model": config["model"] | fields}


def test_weights_of_another_network_are_refused(files, tmp_path):
    path, best = tmp_path / "changed.npz", files / "best.npz"
    DehazeGAN.from_pretrained(changed(best, path))
    for values, said in (
        (without, "head/kernel has shape None, but its configuration needs"),
        (transposed, "head/kernel has shape ["),
        (with_another, "head/other has shape [3], but its configuration needs None"),
    ):
        assert said in refusal(HazeHealError, DehazeGAN.from_pretrained, changed(best, path, values=values))
    for fields, said in (
        ({"depth": 2}, "but its configuration needs"),
        ({"norm": "newer"}, "norm is 'newer': must be one of"),
        (
            {"norm": "batch"},
            "model.norm=batch was removed; use the version that trained it, or train again: use none",
        ),
        ({"output": "direct"}, "model.output=direct was removed; "),
        ({"attention": 4}, "other fields (model.attention); use the version that trained it"),
    ):
        copy = changed(best, path, config=of_model(best, **fields), made_by="hazeheal 7.1")
        assert said in refusal(HazeHealError, DehazeGAN.from_pretrained, copy)
    assert "of hazeheal 7.1" in refusal(HazeHealError, open_model, path)


def test_an_export_of_weights(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, wrong = call(capsys, "export", f"--model={run}", "--format=weights", "--output=out")
    assert code == 0, wrong
    assert "of 255, mean 0.0" in said and "hazeheal dehaze --model=out/generator.npz" in said
    told = json.loads(pathlib.Path("out/export.json").read_text())
    inside = weights.read("out/generator.npz").metadata
    assert inside.items() >= {name: v for name, v in told.items() if name != "exports"}.items()
    assert inside["metrics"] == {"psnr": 20.0} and inside["versions"]["hazeheal"] in inside["made_by"]
    assert open_model("out").checkpoint == pathlib.Path("out/generator.npz")


def test_a_pretrained_network_is_exported_in_other_formats(shipped, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, wrong = call(capsys, "export", "--model=best", "--format=keras", "--output=out")
    assert code == 0, wrong
    assert "best.npz: largest differences from it" in said
    told, inside = json.loads(pathlib.Path("out/export.json").read_text()), pretrained.load("best").metadata
    assert told["made_of_weights"] == inside["sha256"]
    names = ("run", "checkpoint", "step", "psnr", "metrics", "data_fingerprint", "config", "parameters")
    assert {name: told[name] for name in names} == {name: inside[name] for name in names}


def test_a_weights_file_does_not_replace_another_file(files, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sorted(p.name for p in files.iterdir()) == ["best.npz", "fast.npz"], "nothing was left beside them"
    before = (files / "best.npz").read_bytes()
    flags = ["export", f"--model={run}", "--format=weights"]
    code, _, wrong = call(capsys, *flags, f"--output={files / 'best.npz'}")
    assert code == 2 and "already exists" in wrong
    assert (files / "best.npz").read_bytes() == before
    code, _, wrong = call(capsys, "export", f"--model={run}", "--output=model.npz")
    assert code == 2 and "--output='model.npz' is for --format=weights only" in wrong
    monkeypatch.setattr("hazeheal.export.formats.HALF", check.Difference(0, 0.0))
    code, _, wrong = call(capsys, *flags, "--output=more/mine.npz")
    assert code == 1 and "generator.npz differs from ckpt-00000005 by up to" in wrong
    assert not any(pathlib.Path("more").iterdir())


@pytest.mark.parametrize("name", pretrained.names())
def test_the_networks_of_the_package_are_intact_and_small(name):
    path = pretrained.find(name)
    assert path.stat().st_size <= MOST_BYTES
    gan = DehazeGAN.from_pretrained(name)
    assert name in pretrained.NAMES and gan.metadata["step"] > 0
    assert gan.metadata["psnr"] is not None or len(gan.metadata["average_of"]) > 1
    image = noise(60, 50)
    assert gan.restore(image).shape == image.shape


def test_a_run_of_another_version_is_refused(tmp_path):
    fields = tiny.config(train__steps=1).to_dict()
    del fields["model"]["patch_size"]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(HazeHealError, match=r"config\.json: the networks .* other fields \(model\.patch_size\)"):
        DehazeGAN.from_run(tmp_path)
