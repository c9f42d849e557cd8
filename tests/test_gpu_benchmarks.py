"""benchmarks/gpu: the kit for a GPU machine, and the count of kernels and bytes of a compiled program.

JAX and PyTorch run in processes of their own: they and TensorFlow do not share one.
"""

import importlib.util
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from places import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks.gpu import (
    export_step,
    first_minutes,
    hlo_text,
    kernels,
    prepare,
    program,
    report,
    start_values,
    workers,
)

PROGRAM = """HloModule jit_forward, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused_slice (p: f32[1000], q: f32[10]) -> f32[10] {
  %p = f32[1000]{0} parameter(0)
  %part = f32[10]{0} slice(%p), slice={[40:50]}
  %q = f32[10]{0} parameter(1)
  ROOT %product = f32[10]{0} multiply(%part, %q)
}

%fused_reduce (p.1: bf16[64,100]) -> f32[64] {
  %p.1 = bf16[64,100]{1,0} parameter(0)
  %wide = f32[64,100]{1,0} convert(%p.1)
  %zero = f32[] constant(0)
  ROOT %rows = f32[64]{0} reduce(%wide, %zero), dimensions={1}, to_apply=%add
}

%fused_update (p.2: f32[1000], q.1: f32[10]) -> f32[1000] {
  %p.2 = f32[1000]{0} parameter(0)
  %q.1 = f32[10]{0} parameter(1)
  %start = s32[] constant(0)
  ROOT %written = f32[1000]{0} dynamic-update-slice(%p.2, %q.1, %start)
}

%yes (t: (f32[10])) -> f32[10] {
  %t = (f32[10]{0}) parameter(0)
  %x = f32[10]{0} get-tuple-element(%t), index=0
  ROOT %negated = f32[10]{0} negate(%x)
}

%no (t.1: (f32[10])) -> f32[10] {
  %t.1 = (f32[10]{0}) parameter(0)
  ROOT %x.1 = f32[10]{0} get-tuple-element(%t.1), index=0
}

ENTRY %main (vector: f32[1000], image: bf16[64,100], kernel: bf16[9,100], choose: pred[]) -> (f32[10], f32[64]) {
  %vector = f32[1000]{0} parameter(0)
  %image = bf16[64,100]{1,0} parameter(1)
  %kernel = bf16[9,100]{1,0} parameter(2)
  %choose = pred[] parameter(3)
  %ten = f32[10]{0} bitcast(%vector)
  %fusion = f32[10]{0} fusion(%vector, /*index=1*/%ten), kind=kLoop, calls=%fused_slice
  %conv = (bf16[64,100]{1,0}, u8[5000]{0}) custom-call(%image, %kernel), window={size=3x3}, custom_call_target="__cudnn$convForward"
  %result = bf16[64,100]{1,0} get-tuple-element(%conv), index=0
  %grouped = (bf16[64,100]{1,0}, u8[0]{0}) custom-call(%result, %kernel), feature_group_count=100, custom_call_target="__cudnn$convForward"
  %sums = f32[64]{0} fusion(%grouped#0), kind=kInput, calls=%fused_reduce
  %updated = f32[1000]{0} fusion(%vector, %fusion), kind=kLoop, calls=%fused_update
  %pair = (f32[10]{0}) tuple(%fusion)
  %branch = f32[10]{0} conditional(%choose, %pair, %pair), true_computation=%yes, false_computation=%no
  ROOT %out = (f32[10]{0}, f32[64]{0}) tuple(%branch, %sums)
}
"""


def test_kernels_and_bytes_of_a_program():
    found = kernels.count(*hlo_text.parse(PROGRAM))
    image = 2 * 64 * 100
    assert [(k.kind, k.bytes, k.whole_bytes) for k in found] == [
        ("elementwise fusion", 3 * 40, 4000 + 2 * 40),  # the slice alone is read
        ("convolution", 2 * image + 1800, 2 * image + 1800),  # without the scratch memory
        ("convolution, grouped", 2 * image + 1800, 2 * image + 1800),
        ("reduction fusion", image + 4 * 64, image + 4 * 64),
        ("elementwise fusion", 2 * 40, 2 * 4000 + 40),  # written in place
        ("conditional", 0, 0),
        ("in a branch: negate", 80, 80),
    ]
    assert program.kinds(found)["elementwise fusion"] == [2, 200]


def test_temporary_memory_of_a_program():
    computations, entry = hlo_text.parse(PROGRAM)
    # The largest sum: the slice's product, and input and output of the second convolution.
    assert hlo_text.live_bytes(computations, entry) == 40 + 2 * 2 * 64 * 100
    text = (
        "allocation 0: size 4000, parameter 0\nallocation 7: size 123456, page 0, preallocated-temp:\n value: <1 x>\n"
    )
    assert hlo_text.temporary_bytes(text) == 123456


def test_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no entry computation"):
        hlo_text.parse("nothing")
    with pytest.raises(ValueError, match="unknown dtype q7"):
        hlo_text.parse_shapes("q7[3]")


def test_the_table_compares_with_the_peer():
    figures = {"kernels": 500, "bytes": 12e9, "whole_bytes": 13e9, "temporary_bytes": 2e9}
    peer = {"operations": 1000, "bytes": 24e9}
    table = program.markdown(
        [{"name": "norm=none", "forward": figures, "update": figures, "peer": peer}], bandwidth=4.8e12
    )
    assert "| norm=none: forward and backward | 500 | 12.00 | 13.00 | 2.50 | 2.00 |" in table
    assert "| norm=none: ours / PyTorch | 0.50 | 0.50 |  | 0.50 |  |" in table


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A kit of the smallest networks; the check has one step."""
    folder = tmp_path_factory.mktemp("gpu") / "kit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_step, "CHECK_SETTINGS", export_step.CHECK_SETTINGS | {"width": 4})
        patch.setattr(export_step, "CHECK_STEPS", 1)
        arguments = ["--width=4", "--crop_size=64", "--batch_sizes", "2", "--norm=none"]
        assert prepare.main([f"--output={folder}", *arguments]) == 0
    return folder


def description(kit, name):
    return json.loads((kit / "steps" / name / "step.json").read_text())


def test_the_kit_is_small_and_complete(kit):
    """No weights travel, and every script finds what it imports."""
    assert sum(path.stat().st_size for path in kit.rglob("*") if path.is_file()) < 8 * 2**20
    assert not list(kit.rglob("*.npz"))
    for script in (kit / "benchmarks").rglob("*.py"):
        imported = re.findall(
            r"^from (benchmarks[\w.]*) import (.+?)(?:  #.*)?$", script.read_text(), flags=re.MULTILINE
        )
        for package, names in imported:
            for name in names.split(", "):
                place = kit / package.replace(".", "/")
                assert (place / f"{name}.py").is_file() or place.with_suffix(".py").is_file(), f"{script}: {name}"
    with pytest.raises(SystemExit):
        prepare.main([f"--output={kit}"])  # exists already


def test_step_json_describes_parameters_and_outputs(kit):
    step = description(kit, "batch_2")
    assert step["settings"] == {
        **{"width": 4, "crop_size": 64, "batch_size": 2, "precision": "mixed_bfloat16", "norm": "none"},
        **{"perceptual": False, "tensorflow": step["settings"]["tensorflow"]},
    }
    parameters = {entry["name"]: entry for entry in step["forward"]["parameters"]}
    for name, rows in step["parts"].items():
        for i, count in enumerate(rows):
            assert count == 0 or parameters[f"{name}/{i}"]["shape"] == [count, 64]
    for name in ("generator", "discriminator"):
        assert sum(step["parts"][name]) == step["gradient_rows"][name] == step["state"][name]["shape"][0]
    assert parameters["hazy"] == {"name": "hazy", "shape": [2, 64, 64, 3], "dtype": "uint8"}
    summand = next(entry for entry in step["forward"]["outputs"] if entry["name"] == "summand")
    assert summand["shape"] == [sum(step["gradient_rows"].values()) + 1, 64]
    # Each variable that the update writes is one of its parameters, of the same shape.
    parameters = {entry["name"]: entry for entry in step["update"]["parameters"]}
    metrics, *written = step["update"]["outputs"]
    assert metrics == {"name": "metrics", "shape": [10], "dtype": "float32"}
    assert all(entry == parameters[entry["name"]] for entry in written)
    assert {entry["name"] for entry in written} >= {
        "generator",
        "m/generator",
        "v/discriminator",
        "ema",
        "spectral",
        "step",
    }


def test_start_values_are_those_of_the_layout(kit):
    """The positions in step.json are those of the layout, and every machine makes the same values."""
    step = description(kit, "check")
    values, entries = start_values.make(step), step["state"]
    start_values.verify(step, values)
    with pytest.raises(ValueError, match="makes other values of generator"):
        start_values.verify(step, values | {"generator": values["generator"] + 1})
    settings = {"width": 4, "crop_size": 64, "batch_size": 2, "norm": "none", "perceptual_weights": None}
    state = export_step.Step(settings | {"precision": "float32"}).state
    for name in ("generator", "discriminator", "spectral"):
        arrays = state.layouts[name].to_arrays(values[name])
        named = start_values.named(entries[name], values[name])
        assert arrays.keys() == named.keys()
        assert all(np.array_equal(arrays[key], named[key]) for key in arrays)
    kernel = start_values.named(entries["discriminator"], values["discriminator"])["conv_1/kernel"]
    u = start_values.named(entries["spectral"], values["spectral"])["conv_1/u"]
    matrix = kernel.reshape(-1, kernel.shape[-1])
    assert np.linalg.norm(matrix @ u) == pytest.approx(np.linalg.svd(matrix)[1][0], rel=1e-5)
    assert all(np.isfinite(value).all() for value in step["metrics"].values())
    assert step["metrics"]["skipped"] == [0.0]


@pytest.mark.parametrize("package, script", [("jax", "run_jax"), ("torch", "run_peer")])
def test_both_compute_the_losses_that_tensorflow_computes(kit, package, script):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed (pip install '.[benchmarks]')")
    code = f"import pathlib; from benchmarks.gpu import {script} as s; print(s.check(pathlib.Path('steps/check')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=kit, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


WORKER = """
import sys, time
sys.path.insert(0, {root!r})
from benchmarks.gpu import workers
def fail(): raise ValueError("no such device")
print("noise")
handlers = {{"add": lambda a, b: int(a) + int(b), "fail": fail, "sleep": lambda: time.sleep(60), "print": lambda: print("more noise")}}
workers.serve(handlers)
"""


def test_a_worker_answers_reports_errors_and_is_stopped_in_time(tmp_path):
    def start(text):
        return workers.Worker([sys.executable, "-c", text], log=tmp_path / "log")

    def soon():
        return time.monotonic() + 30

    worker = start(WORKER.format(root=str(ROOT)))
    assert worker.call("add", 2, 3, until=soon()) == 5
    with pytest.raises(workers.WorkerFailed, match="no such device"):
        worker.call("fail", until=soon())
    assert worker.call("print", until=soon()) is None
    with pytest.raises(workers.WorkerFailed, match="time budget was used up"):
        worker.call("sleep", until=time.monotonic() + 0.2)
    assert "no such device" in (tmp_path / "log").read_text()
    with pytest.raises(workers.WorkerFailed, match="exit code 3"):
        start("import sys; sys.exit(3)").call("add", 1, 2, until=soon())


def test_parts_that_fail_are_listed_and_do_not_stop_the_others(kit, tmp_path, capsys):
    """Every part fails here, because `false` runs nothing."""
    output = tmp_path / "result.json"
    arguments = [f"--steps={kit / 'steps'}", f"--output={output}", "--jax_python=false", "--torch_python=false"]
    assert first_minutes.main([*arguments, f"--logs={tmp_path}"]) == 1
    result = json.loads(output.read_text())
    parts = ["check of hazeheal", "check of pytorch", "peaks", "depthwise"]
    steps = [f"batch 2, {name}" for name in first_minutes.CONTESTANTS]
    assert list(result["left_out"]) == parts + steps
    printed = capsys.readouterr().out
    assert "- check of pytorch: **failed**: the process ended with exit code 1" in printed
    assert "- left out: batch 2, hazeheal (the process ended" in printed
    with pytest.raises(SystemExit):
        first_minutes.main([*arguments, "--batch_sizes", "3"])


def test_the_report_compares_within_rounds():
    def entry(*speeds, **figures):
        rounds = [{"images_per_second": s, "step_seconds": 8 / s} | figures for s in speeds]
        return {"start": 20.0, "rounds": rounds}

    result = {
        "settings": {"width": 64, "crop_size": 256, "precision": "mixed_bfloat16", "norm": "none", "perceptual": True},
        "device": {"device": "a GPU"},
        "peaks": {"flops": 8e14, "bandwidth": 4e12},
        "checks": {"check of hazeheal": {"relative_difference": 1e-6}},
        # The device is slower in the second round.
        "batches": {
            "8": {
                "hazeheal": entry(800.0, 400.0, 800.0, flops=4e12, bytes=2e10, peak_memory_bytes=5e9),
                "pytorch eager": entry(400.0, 200.0, 400.0),
            }
        },
        "depthwise": [{"input": [8, 4, 4, 2], "strides": 1, "library_ms": 2.0, "shifted_ms": 1.0, "least_bytes": 4e9}],
        "left_out": {"batch 64": "10 s were left"},
        "budget": 280.0,
        "seconds": 200.0,
    }
    text = report.markdown(result)
    assert "| 8 | hazeheal | 800 | 2.00 | 10 | 0.50 | 0.50 | 5.00 | 20 |" in text
    assert "| 8 | pytorch eager | 400 | 1.00 | 20 | 0.25 |  |  | 20 |" in text
    assert "| 8x4x4x2, stride 1 | 2 | 1 | 1 |" in text
    assert "- left out: batch 64 (10 s were left)" in text
