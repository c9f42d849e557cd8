"""The peers of the benchmarks: they compute the same, and ratios are computed correctly."""

import importlib.util
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from converting import all_records, convert, write_pairs

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import compare_restore, reference_step, rounds  # noqa: E402
from benchmarks.peers import plain_tfrecords  # noqa: E402
from hazeheal.data import records  # noqa: E402

VGG19 = ROOT.parent / "shared/weights/vgg19_block1to3_float32.npz"


def reference(tmp_path, *, perceptual_weights=None, **model):
    """Writes a small step of HazeHeal to a file; returns its arrays."""
    config = reference_step.settings(width=4, crop_size=32, perceptual_weights=perceptual_weights, depth=2, **model)
    arrays = reference_step.record(config)
    np.savez(tmp_path / "step.npz", **arrays)
    return arrays


def equality(tmp_path, *flags):
    """Runs the check as a process, because PyTorch and TensorFlow cannot share one."""
    command = [sys.executable, ROOT / "benchmarks/peers/pytorch_equality.py", "--depth=2"]
    command += [f"--reference={tmp_path / 'step.npz'}", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed (pip install '.[benchmarks]')"
)


@needs_torch
def test_pytorch_computes_the_same_output_losses_and_gradients(tmp_path):
    """Includes the perceptual loss if its weights are available."""
    weights = VGG19 if VGG19.is_file() else None
    arrays = reference(tmp_path, perceptual_weights=weights)
    assert (arrays["losses"] > 1e-2).tolist() == [True, True, True, weights is not None, True]
    done = equality(tmp_path, *([f"--perceptual_weights={weights}"] if weights else []))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_torch
@pytest.mark.slow
def test_pytorch_has_the_other_norm_and_output_too(tmp_path):
    reference(tmp_path, norm="none", output="scattering")
    done = equality(tmp_path, "--norm=none", "--output=scattering")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_torch
@pytest.mark.parametrize(
    "name, said",
    [
        ("weights/generator/head/kernel", "restored, losses, gradients"),
        ("gradients/discriminator/conv_2/kernel", "gradients"),
    ],
)
def test_a_difference_is_reported(tmp_path, name, said):
    arrays = reference(tmp_path)
    arrays[name] = arrays[name] * np.float32(1.5)
    np.savez(tmp_path / "step.npz", **arrays)
    done = equality(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.strip().endswith(said)


def contestant(*figures):
    left = list(figures)
    return lambda: {"speed": left.pop(0)}


def test_ratios_are_taken_within_a_round():
    # The machine is ten times slower in the second round; `ours` has one outlier in the third.
    found, left_out = rounds.alternate(
        {"peer": contestant(10.0, 1.0, 10.0), "ours": contestant(20.0, 2.0, 90.0)}, rounds=3, unit="speed"
    )
    row = rounds.ratios(found, unit="speed", base="peer")["ours"]
    assert row == {"median": 20.0, "ratio": 2.0, "lowest": 2.0, "highest": 9.0}
    assert not left_out
    assert rounds.best(found | {"ours slow": [{"speed": 1.0}]}, unit="speed", prefix="ours") == "ours"


def test_an_unsupported_contestant_is_left_out_and_listed():
    def script(text):
        return rounds.process([sys.executable, "-c", text])

    unsupported = script("import sys; print('no such unit', file=sys.stderr); sys.exit(2)")
    works = script(f"print('noise'); print({json.dumps(json.dumps({'speed': 3.0}))})")
    found, left_out = rounds.alternate({"a": unsupported, "b": works}, rounds=2, unit="speed")
    assert found == {"b": [{"speed": 3.0}] * 2}
    assert left_out == {"a": "no such unit"}
    with pytest.raises(SystemExit, match="exit code 1"):
        rounds.alternate({"a": script("raise ValueError('broken')")}, rounds=1, unit="speed")


def test_the_width_of_equal_speed():
    # Speed falls with the square of the width, from 400 at width 4.
    speeds = {4: 400.0, 8: 100.0, 16: 25.0}
    assert compare_restore.equal_width(speeds, 100.0) == pytest.approx(8.0)
    assert compare_restore.equal_width(speeds, 50.0) == pytest.approx(8 * math.sqrt(2))
    assert compare_restore.equal_width(speeds, 500.0) == 0.0
    assert compare_restore.equal_width(speeds, 1.0) == math.inf


@pytest.mark.parametrize("flags", [(), ("--encoding=jpeg", "--image_size=32")])
def test_the_loop_with_the_same_work_does_what_the_conversion_does(tmp_path, flags):
    source, output = write_pairs(tmp_path / "in", scenes=4, versions=1, kind="jpg"), tmp_path / "peer"
    for side in ("hazy", "GT"):  # the loop pairs files with the same name
        for number, path in enumerate(sorted((source / side).iterdir())):
            path.rename(path.with_name(f"{number}.jpg"))
    arguments = [f"--folder={source}", f"--output={output}", "--same_work"]
    assert plain_tfrecords.main([*arguments, *flags[1:]]) == 0
    assert convert(source, tmp_path / "ours", "--val_fraction=0", *flags) == 0
    index = json.loads(output.with_name("peer.index.json").read_text())
    assert index["sha256"] == records.sha256(output.read_bytes())
    converted = all_records(tmp_path / "ours", "train")
    assert len(converted) == 4
    for (pair, row), other in zip(converted, index["records"], strict=True):
        assert (pair.key, pair.height, pair.width) == (other["key"], other["height"], other["width"])
        # The images of `convert` are resized by another library.
        assert row["psnr"] == pytest.approx(other["psnr"], abs=1.0 if flags else 1e-3)
        if not flags:
            assert other["sha256"][2:] == [records.sha256(pair.hazy), records.sha256(pair.clear)]
