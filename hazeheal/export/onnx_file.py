"""ONNX, by tf2onnx, and checked in ONNX Runtime. Input `hazy`, output `restored`, both uint8 [B, H, W, 3]."""

import json

import onnx
import onnxruntime
import tf2onnx

from hazeheal.export.saved_model import serving_module

OPSET = 18


def write(gan, path, metadata) -> None:
    """Writes the file; the metadata are in its `metadata_props`, as JSON under `hazeheal`."""
    module = serving_module(gan.generator)
    model, _ = tf2onnx.convert.from_function(
        module.serve, input_signature=module.serve.input_signature, opset=OPSET
    )
    onnx.helper.set_model_props(model, {"hazeheal": json.dumps(metadata)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def load(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda hazy: session.run(["restored"], {"hazy": hazy})[0]
