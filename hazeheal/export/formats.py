"""The formats of `hazeheal export`: for each, how a file is written, loaded for the check, and how exact it must be.

The libraries of a format are imported when it is written or loaded, so `--help` does not wait for TensorFlow.
"""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from hazeheal.errors import HazeHealError
from hazeheal.export.check import Difference

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
        file: Its name.
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


def targets(formats: Iterable[str], *, tflite_precision: Iterable[str] = ("float32",)) -> list[Target]:
    """Returns the files to export.

    Args:
        formats: Names from FORMATS.
        tflite_precision: Names from PRECISIONS, one TensorFlow Lite file for each.

    Raises:
        HazeHealError: A package that a format needs is not installed.
    """
    selected = []
    for name in formats:
        if name == "saved_model":
            from hazeheal.export import saved_model
            from hazeheal.inference.load_model import FOLDER

            selected.append(Target(name, FOLDER, ROUNDING, saved_model.write, saved_model.load))
        elif name == "keras":
            selected.append(Target(name, "generator.keras", ROUNDING, _write_keras, _load_keras))
        elif name == "tflite":
            for precision in tflite_precision:
                selected.append(
                    Target(
                        name,
                        f"generator_{precision}.tflite",
                        HALF if precision == "float16" else ROUNDING,
                        functools.partial(_write_tflite, precision=precision),
                        _load_tflite,
                        {"precision": precision},
                    )
                )
        elif name == "onnx":
            packages = ("onnx", "tf2onnx", "onnxruntime")
            if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
                raise HazeHealError(
                    f"--format=onnx needs {', '.join(missing)}, not installed here; pip install 'hazeheal[onnx]'"
                )
            facts = {"opset": ONNX_OPSET}
            selected.append(Target(name, "generator.onnx", ROUNDING, _write_onnx, _load_onnx, facts))
        elif name == "weights":
            from hazeheal.inference.load_model import WEIGHTS

            facts = {"precision": "float16"}
            selected.append(Target(name, WEIGHTS, HALF, write_weights, _load_weights, facts))
        else:
            raise ValueError(f"{name!r} is not an export format: must be one of {', '.join(FORMATS)}")
    return selected


# --- Keras: the generator as a .keras file, to inspect or to train further. Loading it needs HazeHeal's layers.


def _write_keras(gan, path, metadata):
    """Writes the file. It has no place for metadata, which are in the summary."""
    from hazeheal.export.keras_layers import uint8_model

    uint8_model(gan.generator).save(str(path))


def _load_keras(path):
    import keras

    import hazeheal.export.keras_layers  # noqa: F401 (registers the layers)

    model = keras.saving.load_model(str(path), compile=False)
    return lambda hazy: model(hazy, training=False).numpy()


# --- TensorFlow Lite (LiteRT): one file for phones and small boards. For images of another size, call
# `resize_tensor_input` and `allocate_tensors` of the interpreter first.


def _write_tflite(gan, path, metadata, *, precision):
    """Writes the file with weights of `precision`. The arithmetic is float32 for both."""
    import tensorflow as tf

    from hazeheal.export.saved_model import serving_module

    module = serving_module(gan.generator)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()], module
    )
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

    from hazeheal.export.saved_model import serving_module

    serve = serving_module(gan.generator).serve
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
