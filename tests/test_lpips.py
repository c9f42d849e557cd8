"""LPIPS: equal to the package `lpips`, on both backbones; what a file of weights must hold; its column in an evaluation."""

import importlib.util
import types

import numpy as np
import pytest
import tensorflow as tf
from places import ROOT
from refusals import refusal
from test_metrics import noise, noisy, scene

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.evaluation import evaluate, results
from hazeheal.metrics import lpips

NAMES = tuple(lpips.NETWORKS)


def arrays(name, seed=0):
    """Weights by rule, of the right shapes: convolutions that keep the scale, heads of 0 or more."""
    rng = np.random.default_rng(seed)
    network, found = lpips.NETWORKS[name], {}
    for i, (side, before, after, _, _) in enumerate(network.convolutions):
        kernel = rng.normal(0, np.sqrt(2 / (side * side * before)), (side, side, before, after))
        found |= {f"conv{i}/kernel": kernel.astype(np.float32), f"conv{i}/bias": np.zeros(after, np.float32)}
    for i, tap in enumerate(network.taps):
        found[f"lin{i}"] = rng.uniform(0, 1, network.convolutions[tap][2]).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "alex.npz"
    np.savez(path, **arrays("alex"))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_distance_of_the_package_with_its_heads(name, tmp_path):
    package, torch = pytest.importorskip("lpips"), pytest.importorskip("torch")
    torch.manual_seed(0)
    net = package.LPIPS(net=name, pnet_rand=True, verbose=False).eval()
    weights = lpips.load(save(tmp_path / "weights.npz", exporter().arrays_of(net)))
    assert weights.name == name
    assert all(head.min() >= 0 and head.max() > 0 for head in weights.heads)
    a = np.stack([scene(70, 83), noise(70, 83)])
    b = np.stack([noisy(scene(70, 83)), scene(70, 83)])
    with torch.no_grad():
        wanted = net(*(torch.tensor(x / 127.5 - 1).permute(0, 3, 1, 2).float() for x in (a, b)))
    found = lpips.distance(weights, a, b).numpy()
    assert found == pytest.approx(wanted.numpy().ravel(), rel=1e-4)
    assert found[1] != pytest.approx(found[0], rel=0.1)


def exporter():
    spec = importlib.util.spec_from_file_location("export_lpips", ROOT / "benchmarks/export_lpips.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save(path, content):
    np.savez(path, **content)
    return path


def test_a_backbone_of_torchvisions_is_read_layer_by_layer(tmp_path):
    package, torch = pytest.importorskip("lpips"), pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(1)
    whole = torchvision.models.alexnet(weights=None)
    torch.save(whole.state_dict(), tmp_path / "alexnet.pth")
    argv = [f"--backbone={tmp_path / 'alexnet.pth'}", f"--output={tmp_path / 'a.npz'}"]
    assert exporter().main(argv) == 0
    weights = lpips.load(tmp_path / "a.npz")
    assert np.array_equal(
        weights.kernels[4].transpose(3, 2, 0, 1), whole.features[10].weight.detach().numpy()
    )
    assert package.__name__ == "lpips"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_0_for_equal_images_symmetric_and_grows_with_the_noise(name, tmp_path):
    weights = lpips.load(save(tmp_path / "weights.npz", arrays(name)))
    a = scene(40, 53)
    little, much = (np.clip(a + s * np.random.default_rng(3).normal(size=a.shape), 0, 255) for s in (4, 40))
    found = lpips.distance(
        weights, np.stack([a, a, a]).astype(np.float32), np.stack([a, little, much])
    ).numpy()
    assert found[0] == 0
    assert 0 < found[1] < found[2]
    turned = lpips.distance(weights, much[None], a[None].astype(np.float64)).numpy()
    assert turned[0] == pytest.approx(found[2], rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_least_size_is_the_least(name, tmp_path):
    weights = lpips.load(save(tmp_path / "weights.npz", arrays(name)))
    a = noise(weights.least, weights.least)[None]
    assert np.isfinite(lpips.distance(weights, a, a[:, ::-1])).all()
    # One pixel less, and a layer would have nothing left to look at: no place, or a mean over none.
    smaller = a[:, 1:]
    try:
        found = lpips.distance(weights, smaller, smaller[:, ::-1]).numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.AbortedError, ValueError):  # Aborted: of oneDNN
        return
    assert not np.isfinite(found).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("conv2/bias"), "holds no conv2/bias"),
        (lambda a: a.update(lin1=a["lin1"][1:]), "lin1 has shape (191,) and not (192,)"),
        (lambda a: a["conv0/kernel"].fill(np.nan), "conv0/kernel holds numbers that are not finite"),
        (lambda a: a.clear(), "holds no conv0/kernel"),
    ],
)
def test_a_file_that_is_no_good_is_refused(tmp_path, change, said):
    content = arrays("alex")
    change(content)
    message = refusal(UsageError, lpips.load, save(tmp_path / "weights.npz", content))
    assert said in message
    assert message.endswith("make the file with `python benchmarks/export_lpips.py`")


def test_a_file_that_is_none_is_refused(tmp_path):
    assert "not found" in refusal(UsageError, lpips.load, tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("no numbers")
    assert "cannot be read as .npz" in refusal(UsageError, lpips.load, tmp_path / "text.npz")


def pair(key, hazy, clear):
    return types.SimpleNamespace(key=key, hazy="h", clear="c", load=lambda: (hazy, clear))


def test_an_evaluation_gets_a_column_and_the_protocol_a_line(file):
    more, told = evaluate.more_metrics(lpips_weights=file)
    assert "alex" in told["lpips"]
    clear = scene(40, 53)
    methods = {"input": evaluate.unchanged, "mine": lambda hazy: hazy // 2 + clear // 2}
    rows = [s.row for s in evaluate.evaluate([pair("a", noisy(clear), clear)], methods, more=more)]
    scores = rows[0]["scores"]
    wanted = lpips.distance(lpips.load(file), noisy(clear)[None], clear[None]).numpy()[0]
    assert scores["input"]["lpips"] == pytest.approx(wanted, rel=1e-4)
    assert scores["mine"]["lpips"] < scores["input"]["lpips"]
    summary = results.summarize(rows)
    assert summary["mine"]["lpips"]["better_than_input"] == 1  # lower is better
    assert "mine_lpips" in results.to_csv(rows).splitlines()[0]
    assert "LPIPS" in results.table(summary, count=1)


def test_without_weights_nothing_changes():
    assert evaluate.more_metrics() == ({}, {})


def test_an_image_that_is_too_small_is_named(file):
    more, _ = evaluate.more_metrics(lpips_weights=file)
    small = scene(30, 53)
    with pytest.raises(HazeHealError, match=r"^b: an image of 53x30 is too small for LPIPS"):
        list(evaluate.evaluate([pair("b", small, small)], {"input": evaluate.unchanged}, more=more))
