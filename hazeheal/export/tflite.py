"""TensorFlow Lite (LiteRT): one file for phones and small boards, with sides and batches open.

Before an image of another size the interpreter is told so: `resize_tensor_input`, `allocate_tensors`.
"""

import functools
import warnings

import tensorflow as tf

from hazeheal.errors import HazeHealError
from hazeheal.export.saved_model import serving_module


def writer(*, precision):
    """A function that writes a file whose weights are of `precision`, float32 or float16; both compute in float32."""
    return functools.partial(_write, precision=precision)


def _write(gan, path, metadata, *, precision):
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


def load(path):
    with warnings.catch_warnings():  # that it goes by another name in time, ai_edge_litert
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
