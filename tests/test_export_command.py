"""`hazeheal export` as users run it: the files, their use in other programs, and the arguments it refuses."""

import json
import pathlib

import checkpoints_made
import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import hazeheal
from hazeheal import __main__ as program
from hazeheal import config as configs
from hazeheal.export import check
from hazeheal.inference.gan import DehazeGAN
from hazeheal.models import uint8_model, view

FILES = ("saved_model", "generator.keras", "generator_float32.tflite", "generator_float16.tflite")
# In a process where there is no HazeHeal: images in, images out of the signature that servers run.
WITHOUT_HAZEHEAL = """
import sys
sys.modules["hazeheal"] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
for name, batch in np.load(sys.argv[2]).items():
    np.save(f"{sys.argv[3]}/{name}.npy", model.signatures["serving_default"](hazy=tf.constant(batch))["restored"])
assert not any(name.startswith("hazeheal.") for name in sys.modules)
"""
WITH_ITS_LAYERS = """
import sys
import numpy as np
import hazeheal.export.keras_layers, keras
model = keras.saving.load_model(sys.argv[1])
for name, batch in np.load(sys.argv[2]).items():
    np.save(f"{sys.argv[3]}/{name}.npy", model(batch))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return checkpoints_made.write_run(path, (5, 20.0), (9, 10.0))


@pytest.fixture(scope="module")
def exported(run):
    """An export in all formats that need only TensorFlow."""
    output = run.parent / "exports/all"
    flags = ["--format=saved_model,keras,tflite", "--tflite_precision=float32,float16"]
    assert program.main(["export", f"--model={run}", *flags, f"--output={output}"]) == 0
    return output


@pytest.fixture(scope="module")
def wanted(run):
    """The images of the check, restored by the checkpoint."""
    return check.reference(DehazeGAN.from_run(run).network(), check.make_batches(0))


def call(capsys, *argv):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    code = program.main(["export", *map(str, argv)])
    return code, *capsys.readouterr()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_summary_describes_the_export(exported, run):
    assert names(exported) == sorted([*FILES, "export.json"])
    assert names(exported.parent) == ["all"], "no temporary file may remain"
    told = json.loads((exported / "export.json").read_text())
    assert configs.shared(configs.from_dict(told["config"])) == configs.shared(DehazeGAN.from_run(run).config)
    facts = {"run": "run", "checkpoint": "ckpt-00000005", "step": 5, "psnr": 20.0, "data_fingerprint": "f"}
    assert {name: told[name] for name in facts} == facts
    assert told["made_by"] == f"hazeheal {hazeheal.__version__}"
    assert list(told["exports"]) == list(FILES)
    inside = json.loads((exported / "saved_model/assets.extra/hazeheal.json").read_text())
    assert inside["config"] == told["config"]
    for name, entry in told["exports"].items():
        paths = [exported / path for path in entry["sha256"]]
        assert entry["bytes"] == sum(path.stat().st_size for path in paths)
        assert all(path.is_relative_to(exported / name) for path in paths)
        assert entry["largest_difference"] <= 4
    assert inside["functions"] == ["restore_uint8", "restore_uint16"]


@pytest.mark.parametrize(("code", "file"), [(WITHOUT_HAZEHEAL, FILES[0]), (WITH_ITS_LAYERS, FILES[1])])
def test_exports_load_in_another_process(exported, wanted, tmp_path, code, file):
    np.savez(tmp_path / "given.npz", *check.make_batches(0))
    ended, _, err = processes.run_python(code, exported / file, tmp_path / "given.npz", tmp_path)
    assert ended == 0, err
    for number, expected in enumerate(wanted):
        found = np.load(tmp_path / f"arr_{number}.npy")
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() <= 1
    assert max(np.abs(w.astype(int) - b).mean() for w, b in zip(wanted, check.make_batches(0), strict=True)) > 3


def test_layers_keep_their_registered_names():
    """.keras files refer to layers by these names. Files of version 0.1 must load."""
    names = "Normalise ToPicture Laid View Maps MirrorPad Patches Pixels CropTo Output Head"
    for name in f"{names} EncoderStage DecoderStage MBConv".split():
        assert keras.saving.get_registered_object(f"hazeheal>{name}") is not None, name
    assert keras.saving.get_registered_name(uint8_model.ToUint8) == "hazeheal>ToPicture"
    assert keras.saving.get_registered_name(view.ApplyMaps) == "hazeheal>Laid"


def test_a_server_finds_its_signature(exported):
    saved = saved_model_pb2.SavedModel.FromString((exported / "saved_model/saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    signature = graph.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    for side, name in ((signature.inputs, "hazy"), (signature.outputs, "restored")):
        assert list(side) == [name]
        assert side[name].dtype == tf.uint8.as_datatype_enum
        assert [dim.size for dim in side[name].tensor_shape.dim] == [-1, -1, -1, 3]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_tflite_has_a_named_signature(exported, wanted, precision):
    interpreter = tf.lite.Interpreter(str(exported / f"generator_{precision}.tflite"))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["hazy"], "outputs": ["restored"]}}
    halves = [d["name"] for d in interpreter.get_tensor_details() if d["dtype"] == np.float16]
    assert bool(halves) == (precision == "float16")
    # The runner resizes for itself, larger and smaller.
    restore = interpreter.get_signature_runner("serving_default")
    for batch, expected in list(zip(check.make_batches(0), wanted, strict=True))[::-1]:
        found = restore(hazy=batch)["restored"]
        assert np.abs(found.astype(int) - expected).max() <= (1 if precision == "float32" else 4)


@pytest.mark.parametrize("side", [0, 1])
def test_an_error_in_images_larger_than_the_view_alone_is_found(side):
    batches = check.make_batches(256)

    def restore(batch):
        wrong = np.uint8(8 * (batch.shape[1:3][side] > 256))
        return batch ^ wrong

    assert check.compare(restore, batches, batches, name="it").largest == 8
    without_view = check.make_batches(0)
    assert check.compare(restore, without_view, without_view, name="it").largest == 0
    assert any(min(batch.shape[1:3]) > 256 for batch in batches)


def rounded_down(tensor):
    return tf.cast((tf.clip_by_value(tensor, -1, 1) + 1) * 127.5, tf.uint8)


def scaled_by_128(image):
    return tf.cast(image, tf.float32) / 128 - 1


@pytest.mark.parametrize(("name", "wrong"), [("to_uint8", rounded_down), ("normalize", scaled_by_128)])
def test_an_export_that_differs_is_refused_and_not_written(run, tmp_path, capsys, monkeypatch, name, wrong):
    monkeypatch.setattr(f"hazeheal.models.uint8_model.{name}", wrong)
    code, out, err = call(capsys, f"--model={run}", "--format=keras", f"--output={tmp_path / 'new/out'}")
    assert code == 1
    assert "generator.keras differs from ckpt-00000005 by up to" in err
    assert err.endswith("nothing was written\n") and err.count("\n") == 1
    assert "wrote" not in out
    assert not any((tmp_path / "new").iterdir())


def test_a_checkpoint_that_restores_to_nan_is_refused(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "hazeheal.inference.network.restore_pixels",
        lambda generator, hazy, *, white: generator(tf.cast(hazy, tf.float32)) * float("nan"),
    )
    code, _, err = call(capsys, f"--model={run}", f"--output={tmp_path / 'new/out'}")
    assert code == 1 and "the checkpoint restores images of [1, 1, 1, 3] to NaN" in err
    assert not (tmp_path / "new/out").exists()


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (
            ["--format=saved_model,torch"],
            2,
            "must be one or more of saved_model,keras,tflite,onnx,weights, got 'saved_model,torch'",
        ),
        (["--format=keras,keras"], 2, "got 'keras,keras'"),
        (["--tflite_precision=float16"], 2, "--tflite_precision needs --format=tflite"),
        (
            ["--format=tflite", "--tflite_precision=int4"],
            2,
            "must be one or more of float32,float16, got 'int4'",
        ),
        (["--output="], 2, "--output is empty"),
        (["--output=full"], 2, "--output='full' already exists; name a new directory"),
        (["--output=full/file"], 2, "--output='full/file' already exists"),
        (["--model=none"], 1, "none does not exist, and no pretrained network has that name"),
        (["--which=7"], 1, "has no intact checkpoint (7)"),
        (["--which=last"], 2, "'last' is not a checkpoint"),
    ],
)
def test_invalid_flags_are_refused_first(run, tmp_path, monkeypatch, capsys, flags, code, said):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("full").mkdir()
    pathlib.Path("full/file").touch()
    given = {"--model": f"--model={run}", "--output": "--output=out"}
    given |= {flag.split("=")[0]: flag for flag in flags}
    result, _, err = call(capsys, *given.values())
    assert result == code
    assert said in err
    assert err.count("\n") == 1
    assert names(tmp_path) == ["full"]


def test_onnx_names_the_missing_packages(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call(capsys, f"--model={run}", "--format=onnx", f"--output={tmp_path / 'out'}")
    assert code == 1
    assert err == (
        "hazeheal export: error: --format=onnx needs onnx, tf2onnx, onnxruntime, not installed here; "
        "pip install 'hazeheal[onnx]'\n"
    )


def test_help_does_not_import_tensorflow():
    code = """
import sys
from hazeheal.__main__ import main
print(main(["export", "--help"]), sorted({"tensorflow", "keras"} & set(sys.modules)))
"""
    ended, out, err = processes.run_python(code)
    assert ended == 0, err
    assert out.splitlines()[-1] == "0 []"
    assert all(word in out for word in ("--model", "examples", "exit codes", "--tflite_precision"))
