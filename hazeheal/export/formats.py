"""The formats of `hazeheal export`: for each, how a file is written, loaded for the check, and how exact it must be.

The libraries of a format are imported when it is written or loaded, so `--help` does not wait for TensorFlow.
"""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hazeheal.errors import HazeHealError
from hazeheal.export.check import Difference
from hazeheal.inference.locate_model import METADATA
from hazeheal.utils.hashing import sha256_of_file

if TYPE_CHECKING:
    from hazeheal.inference.gan import DehazeGAN

FORMATS = ("saved_model", "keras", "tflite", "onnx", "weights")
PRECISIONS = ("float32", "float16")
ONNX_OPSET = 18
# Float32 throughout: only a value halfway between two levels may round to the other one.
ROUNDING = Difference(1, 0.01)
# Weights rounded to float16, arithmetic in float32.
HALF = Difference(4, 0.1)

Restore = Callable[[np.ndarray], np.ndarray]  # uint8 [B, H, W, 3] to the same


@dataclasses.dataclass(frozen=True)
class Target:
    """One file (or directory) to export.

    Attributes:
        format: One of FORMATS.
        file: Its name. `inference.load_model` opens a SavedModel and a weights file by these names.
        tolerance: The largest allowed difference from the checkpoint.
        write: Writes the file, given the `DehazeGAN`, the path and the metadata.
        load: Loads the file at a path as a function from uint8 `[B, H, W, 3]` to the same.
        facts: More entries for the summary.
    """

    format: str
    file: str
    tolerance: Difference
    write: "Callable[[DehazeGAN, pathlib.Path, dict[str, Any]], None]"
    load: Callable[[pathlib.Path], Restore]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def targets(formats: Sequence[str], *, tflite_precision: Sequence[str] = ("float32",)) -> list[Target]:
    """Returns the files to export in these FORMATS: one TensorFlow Lite file for each of `tflite_precision`.

    Raises:
        HazeHealError: A package that a format needs is not installed.
    """
    packages = ("onnx", "tf2onnx", "onnxruntime") if "onnx" in formats else ()
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise HazeHealError(
            f"--format=onnx needs {', '.join(missing)}, not installed here; pip install 'hazeheal[onnx]'"
        )
    available = {
        "saved_model": [Target("saved_model", "saved_model", ROUNDING, write_saved_model, _load_saved_model)],
        "keras": [Target("keras", "generator.keras", ROUNDING, _write_keras, _load_keras)],
        "tflite": [_tflite_target(precision) for precision in tflite_precision],
        "onnx": [Target("onnx", "generator.onnx", ROUNDING, _write_onnx, _load_onnx, {"opset": ONNX_OPSET})],
        "weights": [Target("weights", "generator.npz", HALF, write_weights, _load_weights, {"precision": "float16"})],
    }
    return [target for name in formats for target in available[name]]


def _tflite_target(precision):
    tolerance = HALF if precision == "float16" else ROUNDING
    write = functools.partial(_write_tflite, precision=precision)
    file = f"generator_{precision}.tflite"
    return Target("tflite", file, tolerance, write, _load_tflite, {"precision": precision})


# --- SavedModel: for TensorFlow and TensorFlow Serving without HazeHeal, and for `hazeheal dehaze`. Its signature
# `serving_default`, under the tag `serve`, takes `hazy` and returns `restored`. It also has the functions of
# `inference.network`, with which `inference.load_model` restores 16-bit images and tiles.


def _serving_module(generator):
    """Returns a tf.Module with the generator's weights and, as `serve`, the function of `serving_default`."""
    import tensorflow as tf

    from hazeheal.models.pixels import restore_uint8

    def serve(hazy):
        return {"restored": restore_uint8(functools.partial(generator, training=False), hazy)}

    images = tf.TensorSpec([None, None, None, 3], tf.uint8, name="hazy")
    module = tf.Module()
    module.weights = [variable.value for variable in generator.variables]
    module.serve = tf.function(serve, input_signature=[images], autograph=False)
    return module


def write_saved_model(gan: "DehazeGAN", path: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Writes the directory, with the metadata and the SHA-256 of each other file in it."""
    import tensorflow as tf

    from hazeheal.inference import network

    module, functions = _serving_module(gan.generator), network.make_functions(gan.generator)
    for name, function in functions.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    metadata = metadata | {"functions": list(functions), "files": sha256_of_files(path, relative_to=path)}
    metadata_path = path / METADATA
    metadata_path.parent.mkdir()
    metadata_path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def sha256_of_files(path: pathlib.Path, *, relative_to: pathlib.Path) -> dict[str, str]:
    """Returns {relative path: SHA-256} of a file, or of all files in a directory."""
    files = [file for file in sorted([path, *path.rglob("*")]) if file.is_file()]
    return {file.relative_to(relative_to).as_posix(): sha256_of_file(file) for file in files}


def _load_saved_model(path):
    """Loads the signature that a server runs."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def restore(hazy):  # keeps a reference to `loaded`, which owns the variables
        return loaded.signatures["serving_default"](hazy=tf.constant(hazy))["restored"].numpy()

    return restore


# --- Keras: the generator as a .keras file, to inspect or to train further. Loading it needs HazeHeal's layers.


def _write_keras(gan, path, metadata):
    """Writes the file, a ZIP archive, with the metadata as another member that Keras ignores."""
    from hazeheal.models.uint8_model import uint8_model

    uint8_model(gan.generator).save(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA.name, json.dumps(metadata, indent=2))


def _load_keras(path):
    import hazeheal.models.uint8_model  # noqa: F401 (registers the layers)
    from hazeheal.utils.import_keras import keras

    model = keras.saving.load_model(str(path), compile=False)
    return lambda hazy: model(hazy, training=False).numpy()


# --- TensorFlow Lite (LiteRT): one file for phones and small boards. For images of another size, call
# `resize_tensor_input` and `allocate_tensors` of the interpreter first.


def _write_tflite(gan, path, metadata, *, precision):
    """Writes the file with weights of `precision`. The arithmetic is float32 for both."""
    import tensorflow as tf

    module = _serving_module(gan.generator)
    function = module.serve.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    try:
        path.write_bytes(converter.convert())
    except (ValueError, RuntimeError) as error:
        raise HazeHealError(f"{path.name}: TensorFlow's converter fails on this network: {error}") from error


def _load_tflite(path):
    import tensorflow as tf

    with warnings.catch_warnings():  # the interpreter is deprecated in favor of the package ai_edge_litert
        warnings.simplefilter("ignore", UserWarning)
        interpreter = tf.lite.Interpreter(str(path))
    (hazy,), (restored,) = interpreter.get_input_details(), interpreter.get_output_details()

    def restore(batch):
        interpreter.resize_tensor_input(hazy["index"], batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(hazy["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(restored["index"])

    return restore


# --- ONNX, converted by tf2onnx: input `hazy`, output `restored`, both uint8 [B, H, W, 3].


def _write_onnx(gan, path, metadata):
    """Writes the file, with the metadata as JSON in its `metadata_props` under `hazeheal`."""
    import onnx
    import tf2onnx

    serve = _serving_module(gan.generator).serve
    model, _ = tf2onnx.convert.from_function(serve, input_signature=serve.input_signature, opset=ONNX_OPSET)
    onnx.helper.set_model_props(model, {"hazeheal": json.dumps(metadata)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _load_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda hazy: session.run(["restored"], {"hazy": hazy})[0]


# --- A weights file: what `DehazeGAN.from_pretrained` and `--model=FILE.npz` read.


def write_weights(gan: "DehazeGAN", path: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Writes the generator's variables, rounded to float16, and the metadata as a weights file."""
    from hazeheal.models import weights

    weights.write(path, {variable.path: variable.numpy() for variable in gan.generator.variables}, metadata)


def _load_weights(path):
    from hazeheal.inference.gan import DehazeGAN

    network = DehazeGAN.from_pretrained(path).network()
    return lambda hazy: np.rint(network.restore(hazy)).astype(np.uint8)
