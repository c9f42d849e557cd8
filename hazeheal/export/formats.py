"""The formats of `hazeheal export`: what each is called, how near it must come, how it is written and run.

The modules that do it are imported when they are needed: this one is of those that do not wait for TensorFlow.
"""

import collections.abc
import dataclasses
import importlib.util

from hazeheal.errors import HazeHealError
from hazeheal.export.check import Tolerance

FORMATS = ("saved_model", "keras", "tflite", "onnx", "weights")
PRECISIONS = ("float32", "float16")
# Float32 throughout: only values that lie between two levels may round the other way.
ROUNDING = Tolerance(1, 0.01)
# Weights of 11 bits, and the arithmetic of float32.
HALF = Tolerance(4, 0.1)


@dataclasses.dataclass(frozen=True)
class Target:
    """One file (or directory) to be made.

    Attributes:
        format: One of FORMATS.
        file: Its name.
        tolerance: How far it may be from the checkpoint.
        write: function(gan, path, metadata).
        load: function(path), to a function from uint8 [B, H, W, 3] to the same.
        facts: What else the summary tells of it.
    """

    format: str
    file: str
    tolerance: Tolerance
    write: collections.abc.Callable
    load: collections.abc.Callable
    facts: dict = dataclasses.field(default_factory=dict)


def targets(formats, *, tflite_precision=("float32",)) -> list[Target]:
    """What is to be made for `formats`, of FORMATS, and `tflite_precision`, of PRECISIONS.

    Raises:
        HazeHealError: A package that one of them needs is not installed.
    """
    found = []
    for name in formats:
        if name == "saved_model":
            from hazeheal.export import saved_model
            from hazeheal.inference.load_model import FOLDER

            found.append(Target(name, FOLDER, ROUNDING, saved_model.write, saved_model.load))
        elif name == "keras":
            from hazeheal.export import keras_file

            found.append(Target(name, "generator.keras", ROUNDING, keras_file.write, keras_file.load))
        elif name == "tflite":
            from hazeheal.export import tflite

            for precision in tflite_precision:
                write = tflite.writer(precision=precision)
                tolerance = HALF if precision == "float16" else ROUNDING
                file, facts = f"generator_{precision}.tflite", {"precision": precision}
                found.append(Target(name, file, tolerance, write, tflite.load, facts))
        elif name == "weights":
            from hazeheal.export import weights_file
            from hazeheal.inference.load_model import WEIGHTS

            found.append(
                Target(name, WEIGHTS, HALF, weights_file.write, weights_file.load, {"precision": "float16"})
            )
        else:
            missing = [p for p in ("onnx", "tf2onnx", "onnxruntime") if importlib.util.find_spec(p) is None]
            if missing:
                raise HazeHealError(
                    f"--format=onnx needs {', '.join(missing)}, not installed here; pip install 'hazeheal[onnx]'"
                )
            from hazeheal.export import onnx_file

            facts = {"opset": onnx_file.OPSET}
            found.append(Target(name, "generator.onnx", ROUNDING, onnx_file.write, onnx_file.load, facts))
    return found
