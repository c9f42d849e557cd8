"""ONNX Runtime, if the extra `onnx` is installed."""

import importlib.util
import json

import checkpoints_made
import numpy as np
import pytest

from hazeheal import __main__ as program
from hazeheal.export import check
from hazeheal.inference.gan import DehazeGAN

MISSING = [name for name in ("onnx", "tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install 'hazeheal[onnx]'")


@pytest.mark.slow
def test_onnx_runtime_restores_as_the_checkpoint(tmp_path):
    import onnx
    import onnxruntime

    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0), model__se_ratio=0.25)
    flags = ["--format=onnx", f"--output={tmp_path / 'out'}"]
    assert program.main(["export", f"--model={run}", *flags]) == 0
    path = tmp_path / "out/generator.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[3]) == ("hazy", "tensor(uint8)", 3)
    assert (returned.name, returned.type) == ("restored", "tensor(uint8)")
    assert all(isinstance(side, str) or side is None for side in given.shape[:3]), "sides and batch are open"
    batches = check.make_batches(0)
    wanted = check.reference(DehazeGAN.from_run(run).network(), batches)
    for batch, expected in zip(batches, wanted, strict=True):
        (found,) = session.run(None, {"hazy": batch})
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() <= 1
    model = onnx.load(str(path))
    (opset,) = [entry.version for entry in model.opset_import if entry.domain == ""]
    told = json.loads((tmp_path / "out/export.json").read_text())
    assert told["exports"]["generator.onnx"]["opset"] == opset
    inside = {entry.key: json.loads(entry.value) for entry in model.metadata_props}["hazeheal"]
    assert inside["config"] == told["config"]
    assert (inside["step"], inside["psnr"]) == (5, 20.0)
