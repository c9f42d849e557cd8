"""Keras runs on TensorFlow and has images with the channels last, whatever the environment says."""

import json
import re

import numpy as np
import processes
import pytest
from places import ROOT

from hazeheal.training.step.forward_backward import LOSSES

# One step of a small training; its losses on stdout.
STEP = """
import json, sys
import hazeheal  # as every program does first
from trainings import Training
from hazeheal.training.step.forward_backward import LOSSES
images = [batch.astype("uint8") for batch in __import__("numpy").load(sys.argv[1]).values()]
metrics = Training().run(*images)
print(json.dumps([float(metrics[name][0]) for name in LOSSES]))
"""
IMPORTED_BEFORE = """
import sys, keras
try:
    from hazeheal import DehazeGAN
finally:
    print(sorted({"tensorflow"} & set(sys.modules)))
"""


def test_a_training_where_the_environment_has_another_backend_and_image_format(training, batches, tmp_path):
    settings = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    hazy, clear = (x.astype(np.uint8) for x in batches(1))
    np.savez(tmp_path / "images.npz", hazy=hazy, clear=clear)
    variables = {"KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    code, out, err = processes.run_python(STEP, tmp_path / "images.npz", variables=variables)
    assert code == 0, err
    expected = training().run(hazy, clear)
    assert json.loads(out) == pytest.approx([expected[name][0] for name in LOSSES], rel=1e-5)


def test_keras_that_was_imported_with_another_backend_is_refused_before_tensorflow_is_imported(tmp_path):
    (tmp_path / "keras.py").write_text("class config:\n    backend = lambda: 'torch'\n")
    variables = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    code, out, err = processes.run_python(IMPORTED_BEFORE, variables=variables)
    assert (code, out) == (1, "[]\n")
    assert err.splitlines()[-1] == (
        "hazeheal.errors.UsageError: Keras has been imported with the backend 'torch', but HazeHeal needs 'tensorflow'; "
        "import hazeheal before keras, or set KERAS_BACKEND=tensorflow"
    )


def test_every_module_takes_keras_from_one_place():
    found = {}
    for path in (ROOT / "hazeheal").rglob("*.py"):
        found[path.stem] = re.findall(r"^ *(?:import|from) keras\b.*", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, lines in found.items() if lines} == {"import_keras"}
