"""The perceptual network: architecture, preprocessing, weights from all file types, invalid weights."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.models import perceptual
from hazeheal.models.perceptual import build_perceptual, check_perceptual_weights
from hazeheal.training.step import losses

# Keras 3 reads variables through an `__array__` without numpy 2's `copy` argument.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHARED = pathlib.Path(__file__).resolve().parents[1].parent / "shared"
REAL = SHARED / "weights" / "vgg19_block1to3_float32.npz"
LAYER = "block2_conv1"


@pytest.fixture(scope="module")
def arrays():
    """Random weights up to block2_conv1: {block1_conv1/kernel: ...}."""
    generator = np.random.default_rng(0)
    found = {}
    for name, shape in perceptual._kernel_shapes(LAYER).items():
        found[f"{name}/kernel"] = generator.normal(0, 0.05, shape).astype("float32")
        found[f"{name}/bias"] = generator.normal(0, 1, shape[-1]).astype("float32")
    return found


@pytest.fixture(scope="module")
def npz(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg.npz"
    np.savez(path, **arrays)
    return path


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def test_layers_are_those_of_keras_vgg19():
    network = keras.applications.VGG19(include_top=False, weights=None)
    wanted = {x.name: x.kernel.shape for x in network.layers if isinstance(x, keras.layers.Conv2D)}
    assert perceptual._kernel_shapes("block5_conv4") == {k: tuple(v) for k, v in wanted.items()}


def test_features_equal_keras_applications(npz, arrays):
    """The same weights in Keras's own VGG19, fed through Keras's own preprocessing."""
    network = keras.applications.VGG19(include_top=False, weights=None)
    for name in perceptual._kernel_shapes(LAYER):
        network.get_layer(name).set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
    cut = keras.Model(network.input, network.get_layer(LAYER).output)
    x = images(2, 21, 30, 3)
    wanted = cut(keras.applications.vgg19.preprocess_input((x + 1) * 127.5))
    out = build_perceptual(weights=npz, layer=LAYER)(x)
    assert out.shape == (2, 10, 15, 128)
    np.testing.assert_allclose(out, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_the_network_is_frozen_and_named(npz):
    model = build_perceptual(weights=npz, layer="block1_conv2")
    assert model.trainable_variables == []
    assert [v.path for v in model.variables] == [
        f"block1_conv{i}/{part}" for i in (1, 2) for part in ("kernel", "bias")
    ]
    x = tf.constant(images(1, 8, 8, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        features, state = model.stateless_call([], model.non_trainable_variables, x)
    assert np.abs(tape.gradient(features, x)).max() > 0, "the gradient must reach the image"
    for variable, same in zip(model.non_trainable_variables, state, strict=True):
        np.testing.assert_array_equal(variable, same)


def test_features_have_the_compute_dtype(npz):
    x = images(1, 4, 4, 3)
    plain = build_perceptual(weights=npz, layer=LAYER)(x)
    model = build_perceptual(weights=npz, layer=LAYER, dtype="mixed_bfloat16")
    assert {v.dtype for v in model.variables} == {"float32"}
    assert model(x).dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(model(x), tf.float32), plain, atol=0.05 * np.abs(plain).max())


def save_legacy(path, arrays, spelling, root=""):
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            name, part = key.split("/")
            file[f"{root}{name}/{spelling(name, part)}"] = value


LAYOUTS = {
    # keras.applications' own download: block1_conv1/block1_conv1_W_1:0
    "notop.h5": ("", lambda name, part: f"{name}_{'W' if part == 'kernel' else 'b'}_1:0"),
    "tf2.h5": ("", lambda name, part: f"{name}/{part}:0"),
    "whole_model.h5": ("model_weights/", lambda name, part: f"vgg19/{name}/{part}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_legacy_h5_layouts(layout, arrays, npz, tmp_path):
    root, spelling = LAYOUTS[layout]
    save_legacy(tmp_path / layout, arrays, spelling, root)
    check_perceptual_weights(tmp_path / layout, LAYER)
    model = build_perceptual(weights=str(tmp_path / layout), layer=LAYER)
    for a, b in zip(model.variables, build_perceptual(weights=npz, layer=LAYER).variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_of_the_current_keras(npz, tmp_path):
    model = build_perceptual(weights=npz, layer=LAYER)
    model.save_weights(tmp_path / "vgg.weights.h5")
    model.save(tmp_path / "vgg.h5")
    for name in ("vgg.weights.h5", "vgg.h5"):
        loaded = build_perceptual(weights=tmp_path / name, layer=LAYER)
        for a, b in zip(model.variables, loaded.variables, strict=True):
            np.testing.assert_array_equal(a, b)


def test_unusable_weights_are_refused_with_advice(arrays, npz, tmp_path):
    def saved(name, **changes):
        np.savez(tmp_path / name, **{k: v for k, v in (arrays | changes).items() if v is not None})
        return tmp_path / name

    (tmp_path / "broken.npz").write_bytes(npz.read_bytes()[:1000])
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    (tmp_path / "weights.bin").write_bytes(b"")
    save_legacy(tmp_path / "part.h5", {"block1_conv1/kernel": arrays["block1_conv1/kernel"]}, lambda n, p: p)
    cases = {
        tmp_path / "nowhere.npz": "nowhere.npz not found",
        tmp_path: "not found",
        tmp_path / "broken.npz": "cannot be read",
        tmp_path / "broken.h5": "cannot be read",
        tmp_path / "weights.bin": "cannot be read",
        tmp_path / "part.h5": "have no block1_conv1/bias",
        saved("lacks.npz", **{"block1_conv2/bias": None}): "have no block1_conv2/bias",
        saved("shape.npz", **{"block1_conv2/kernel": np.zeros((3, 3, 64, 32))}): r"\(3, 3, 64, 32\)",
        saved("nan.npz", **{"block1_conv1/bias": np.full(64, np.nan)}): "not finite",
    }
    for path, message in cases.items():
        for function in (check_perceptual_weights, lambda w, x: build_perceptual(weights=w, layer=x)):
            with pytest.raises(UsageError, match=message) as caught:
                function(path, LAYER)
            assert "perceptual_weight=0" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="block9_conv1"):
        check_perceptual_weights(npz, "block9_conv1")
    with pytest.raises(UsageError, match="have no block2_conv2/kernel"):
        check_perceptual_weights(npz, "block3_conv3")


def test_a_failed_download_is_reported_with_advice(monkeypatch):
    def offline(**kwargs):
        raise Exception("URL fetch failure: name or service not known")

    monkeypatch.setattr(keras.applications, "VGG19", offline)
    with pytest.raises(HazeHealError, match=r"URL fetch failure.*perceptual_weights=PATH") as caught:
        build_perceptual(weights="imagenet")
    assert caught.value.exit_code == 1
    check_perceptual_weights("imagenet")


def test_downloaded_weights_are_selected_by_name(monkeypatch):
    network = keras.applications.VGG19(include_top=False, weights=None)
    monkeypatch.setattr(keras.applications, "VGG19", lambda **kwargs: network)
    model = build_perceptual(weights="imagenet", layer=LAYER)
    np.testing.assert_array_equal(model.variables[-2], network.get_layer(LAYER).kernel)


def test_the_check_does_not_import_tensorflow(npz):
    program = (
        "import sys; from hazeheal.models.perceptual import check_perceptual_weights as check;"
        f"check({str(npz)!r}, {LAYER!r}); assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(not REAL.is_file(), reason="../shared/weights has no VGG19 weights")
def test_real_weights_give_a_loss_of_the_expected_scale():
    """About 130 between hazy and clear on real pairs; a wrong channel order or range gives another figure."""
    from PIL import Image

    check_perceptual_weights(REAL)
    model = build_perceptual(weights=REAL)
    folder = SHARED / "data" / "rice1"
    names = sorted((folder / "hazy").glob("*_hazy.png"))[::6]
    assert len(names) == 10

    def features(paths):
        batch = np.stack([np.asarray(Image.open(path).convert("RGB").crop((0, 0, 96, 96))) for path in paths])
        return model(batch.astype("float32") / 127.5 - 1)

    clear = [folder / "GT" / path.name.replace("_hazy", "_GT") for path in names]
    loss = losses.perceptual(features(names), features(clear)).numpy()
    assert 100 < loss.mean() < 180
