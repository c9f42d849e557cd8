"""Every kind of network in every format. The command checks each export against the checkpoint."""

import json

import checkpoints_made
import pytest
from test_export_onnx import MISSING

from hazeheal import __main__ as program

KINDS = (
    *({"norm": norm, "depth": 2} for norm in ("none", "layer")),
    {"output": "scattering", "se_ratio": 0.25, "depth": 1},
    {"norm": "layer", "output": "scattering", "patch_size": 2, "view_size": 32, "depth": 2},
    {"output": "scattering", "view_size": 64, "bins": 3, "edges": "repeat", "upsampling": "nearest", "depth": 2},
    {"norm": "layer", "output": "scattering", "se_ratio": 0.5, "depth": 5, "width": 8},
)


@pytest.mark.slow
@pytest.mark.parametrize("fields", KINDS, ids=lambda fields: "-".join(map(str, fields.values())))
@pytest.mark.parametrize("format", ["saved_model,keras", "tflite", "onnx"])
def test_all_networks_in_all_formats(tmp_path, format, fields):
    if format == "onnx" and MISSING:
        pytest.skip(f"needs {', '.join(MISSING)}: pip install 'hazeheal[onnx]'")
    fields = {f"model__{name}": value for name, value in fields.items()}
    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0), data__crop_size=64, **fields)
    flags = ["--tflite_precision=float32,float16"] if format == "tflite" else []
    assert program.main(["export", f"--model={run}", f"--format={format}", *flags, f"--output={tmp_path / 'out'}"]) == 0
    told = json.loads((tmp_path / "out/export.json").read_text())
    assert len(told["exports"]) == (1 if format == "onnx" else 2)
