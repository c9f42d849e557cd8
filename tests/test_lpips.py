"""LPIPS through the package `lpips`: what the network receives, errors, and the column in an evaluation."""

import importlib.util
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image
from refusals import refusal
from test_metrics import noisy, scene

from hazeheal.__main__ import main
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.evaluation import evaluate, results
from hazeheal.metrics import lpips


class FakeNetwork:
    """Stands for `lpips.LPIPS`: records its inputs and returns their mean absolute difference."""

    def __init__(self, net, verbose):
        assert verbose is False
        self.name, self.calls = net, []

    def requires_grad_(self, requires_grad):
        assert requires_grad is False
        return self

    def __call__(self, first, second):
        self.calls.append((first, second))
        return np.abs(first - second).mean(keepdims=True)


def stub(monkeypatch, network=FakeNetwork):
    """Replaces the packages `lpips` and `torch` for one test."""
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=network))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=lambda array: array))


def test_the_network_receives_channels_first_float32_in_minus_1_to_1(monkeypatch):
    stub(monkeypatch)
    metric = lpips.Lpips("vgg")
    assert metric._network.name == "vgg"
    image, clear = scene(40, 53), np.zeros((40, 53, 3), np.uint8)
    image[0, 0], image[0, 1] = (255, 0, 51), (0, 0, 255)
    assert metric(image, clear) == pytest.approx(np.abs(image / 127.5).mean(), rel=1e-5)
    ((first, second),) = metric._network.calls
    for array in (first, second):
        assert array.shape == (1, 3, 40, 53) and array.dtype == np.float32 and array.flags.c_contiguous
    np.testing.assert_allclose(first[0, :, 0, 0], [1, -1, -0.6], atol=1e-6)
    np.testing.assert_allclose(first[0, :, 0, 1], [-1, -1, 1], atol=1e-6)
    assert second.min() == second.max() == -1


@pytest.mark.parametrize("name", lpips.MIN_SIDE)
def test_the_package_itself(name, monkeypatch):
    """With random backbone weights, as the pretrained ones are a download."""
    package, torch = pytest.importorskip("lpips"), pytest.importorskip("torch")
    torch.manual_seed(0)
    net = package.LPIPS(net=name, pnet_rand=True, verbose=False)
    monkeypatch.setattr(package, "LPIPS", lambda **_: net)
    metric = lpips.Lpips(name)
    clear = scene(70, 83)
    image = noisy(clear)
    inputs = (torch.tensor(x / 127.5 - 1).permute(2, 0, 1)[None].float() for x in (image, clear))
    assert metric(image, clear) == pytest.approx(net(*inputs).item(), rel=1e-4)
    assert metric(clear, clear) == 0
    smallest = scene(lpips.MIN_SIDE[name], lpips.MIN_SIDE[name])
    assert np.isfinite(metric(smallest, smallest[::-1]))


def test_a_missing_package_is_an_error_before_anything_else(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lpips" else name)
    expected = "--lpips needs lpips, not installed here; run `pip install 'hazeheal[lpips]'`"
    assert refusal(UsageError, lpips.check_installed) == expected
    assert main(["evaluate", "--data_dir=/nowhere", "--lpips", f"--output={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err.strip() == f"hazeheal evaluate: error: {expected}"
    assert not (tmp_path / "out").exists()


def test_the_flag_of_version_0_1_names_its_replacement(capsys):
    assert main(["evaluate", "--data_dir=/nowhere", "--lpips_weights=alex.npz"]) == 2
    assert "--lpips_weights was removed; use --lpips=alex or --lpips=vgg" in capsys.readouterr().err


@pytest.mark.parametrize(("backbone", "needed"), [("alex", "3.6 GB"), ("vgg", "36.0 GB")])
def test_an_image_that_needs_more_memory_than_there_is_is_refused(monkeypatch, backbone, needed):
    monkeypatch.setattr(lpips, "available_memory", lambda: 3_000_000_000)
    message = refusal(HazeHealError, lpips.check_size, (3000, 4000), backbone, name="a/b")
    assert message == (
        f"a/b: --lpips={backbone} needs about {needed} of memory for an image of 4000x3000, and 3.0 GB are available; "
        "leave out --lpips, or the image"
    )
    lpips.check_size((900, 1000), backbone)


def test_sizes_are_checked_before_the_evaluation_starts(monkeypatch, tmp_path, capsys):
    stub(monkeypatch)
    monkeypatch.setattr(lpips, "check_installed", lambda: None)
    for folder in ("hazy", "GT"):
        (tmp_path / folder).mkdir()
        for name, size in (("1", (40, 53)), ("2", (30, 53))):
            Image.fromarray(scene(*size)).save(tmp_path / folder / f"{name}.png")
    folders = [f"--hazy_dir={tmp_path / 'hazy'}", f"--gt_dir={tmp_path / 'GT'}"]
    assert main(["evaluate", *folders, "--no_model", "--lpips", f"--output={tmp_path / 'out'}"]) == 1
    assert "error: 2: an image of 53x30 is too small for --lpips=alex" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [OSError("<urlopen error timed out>"), RuntimeError("invalid hash value")])
def test_a_failed_download_says_what_to_do(monkeypatch, error):
    def fail(**_):
        raise error

    stub(monkeypatch, network=fail)
    message = refusal(HazeHealError, lpips.Lpips, "alex")
    assert f"torchvision cannot download the weights of its backbone ({error})" in message
    assert "copy the file to ~/.cache/torch/hub/checkpoints (docs/evaluation.md)" in message


def pair(key, hazy, clear):
    return types.SimpleNamespace(key=key, hazy="h", clear="c", load=lambda: (hazy, clear))


def test_an_evaluation_gets_a_column(monkeypatch):
    stub(monkeypatch)
    extra_metrics = {"lpips": lpips.Lpips("alex")}
    clear = scene(40, 53)
    methods = {"input": evaluate.unchanged, "mine": lambda hazy: hazy // 2 + clear // 2}
    pairs = [pair("a", noisy(clear), clear)]
    rows = [row for row, _ in evaluate.evaluate(pairs, methods, extra_metrics=extra_metrics)]
    scores = rows[0]["scores"]
    assert 0 < scores["mine"]["lpips"] < scores["input"]["lpips"]
    summary = results.summarize(rows)
    assert summary["mine"]["lpips"]["better_than_input"] == 1  # lower is better
    assert "mine_lpips" in results.to_csv(rows).splitlines()[0]
    assert "LPIPS" in results.table(summary, count=1)


def test_the_command_writes_the_column_and_the_protocol(monkeypatch, tmp_path):
    stub(monkeypatch)
    monkeypatch.setattr(lpips, "check_installed", lambda: None)
    for folder in ("hazy", "GT"):
        (tmp_path / folder).mkdir()
        Image.fromarray(scene(40, 53)).save(tmp_path / folder / "1.png")
    folders = [f"--hazy_dir={tmp_path / 'hazy'}", f"--gt_dir={tmp_path / 'GT'}"]
    flags = ["--no_model", "--no_baseline", "--lpips=vgg", f"--output={tmp_path / 'out'}"]
    assert main(["evaluate", *folders, *flags]) == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["methods"]["input"]["lpips"]["mean"] == 0
    assert "vgg" in summary["protocol"]["lpips"]


def test_an_image_that_is_too_small_is_named(monkeypatch):
    stub(monkeypatch)
    extra_metrics = {"lpips": lpips.Lpips("alex")}
    small = scene(30, 53)
    methods = {"input": evaluate.unchanged}
    with pytest.raises(HazeHealError, match=r"^b: an image of 53x30 is too small for --lpips=alex, which needs .* 31"):
        list(evaluate.evaluate([pair("b", small, small)], methods, extra_metrics=extra_metrics))
