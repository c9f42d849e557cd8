"""Networks that leave no pattern: edges that repeat, upsampling without parity, K and B by levels of brightness."""

import checkpoints_made
import numpy as np
import pytest
import tensorflow as tf
from configuring import load
from refusals import refusal
from test_restorer import apart, make_gan, noise, whole

from hazeheal import __main__ as program
from hazeheal.errors import UsageError
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.load_model import open_model
from hazeheal.inference.restorer import Restorer
from hazeheal.models import ops
from hazeheal.models.generator import build_generator
from hazeheal.models.layers import Up
from hazeheal.models.rearrange import doubled
from hazeheal.models.view import apply_parts

SIZE = 32
EVEN = {"model__edges": "repeat", "model__upsampling": "nearest"}
FIELDS = {"model__view_size": SIZE, "model__output": "scattering", "model__depth": 2, "model__norm": "none"}
BINS = FIELDS | EVEN | {"model__patch_size": 2, "model__bins": 3}


def repeated(x, before, after):
    return np.pad(x, [(0, 0), (before, after), (before, after), (0, 0)], "edge")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# ------------------------------------------------------------------------------------------- operations
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("strides", "padding"), [(1, (1, 1)), (2, (0, 1))])
def test_convolutions_see_the_outermost_pixels_beyond_the_edges(strides, padding, fused):
    x, kernel = drawn(2, 6, 8, 4), drawn(3, 3, 4, 5, seed=1)
    padded = repeated(x, *padding)
    with ops.fused_forms(fused):
        found = ops.conv_same(x, kernel, None, strides=strides, edges="repeat")
        np.testing.assert_allclose(found, tf.nn.conv2d(padded, kernel, strides, "VALID"), atol=1e-5)
        kernel = kernel[..., :1]
        found = ops.depthwise(tf.constant(x), tf.constant(kernel), strides=strides, edges="repeat")
        wanted = tf.nn.depthwise_conv2d(padded, kernel, [1, strides, strides, 1], "VALID")
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3), (5, 4)])
@pytest.mark.parametrize("padding", [(0, 1), (1, 0), (1, 1)])
def test_the_gradient_of_repeated_edges_is_that_of_indexing(size, padding):
    x = tf.constant(drawn(2, *size, 3))
    rows = [np.pad(np.arange(side), padding, "edge") for side in size]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        indexed = tf.gather(tf.gather(x, rows[0], axis=1), rows[1], axis=2)
        repeated_edges = ops.repeat_edges(x, *padding)
    np.testing.assert_array_equal(repeated_edges, indexed)
    upstream = drawn(*indexed.shape, seed=1)
    expected = tf.convert_to_tensor(tape.gradient(indexed, x, upstream))
    np.testing.assert_allclose(tape.gradient(repeated_edges, x, upstream), expected, rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_sees_them_too():
    layer = Up(3, 4, strides=2, padding="same", edges="repeat")
    layer.build((None, None, None, 2))
    x = drawn(1, 3, 5, 2)
    wide = layer.kernel
    wanted = tf.nn.conv2d_transpose(repeated(x, 1, 1), wide, [1, 10, 14, 3], 2, "SAME")[:, 2:-2, 2:-2]
    np.testing.assert_allclose(layer.convolve(tf.constant(x)), wanted, atol=1e-6)


def test_doubled_repeats_each_pixel():
    x = drawn(2, 3, 5, 4)
    np.testing.assert_array_equal(doubled(tf.constant(x)), x.repeat(2, axis=1).repeat(2, axis=2))


def test_k_and_b_are_interpolated_between_levels_of_the_darkest_channel():
    image = np.array([[-1.0, 0.9, 0.5], [0.5, 0.75, 1.0], [1.0, 1.0, 1.0], [1.5, 2.0, 3.0]], np.float32)
    k = [np.full((4, 3), value, np.float32) for value in (0.1, 0.2, 0.7)]
    b = [np.full((4, 3), value, np.float32) for value in (1.0, -2.0, 4.0)]
    restored = apply_parts([*map(tf.constant, k), *map(tf.constant, b)], tf.constant(image))
    factors = np.array([0.1, 0.45, 0.7, 0.7])[:, None]  # the darkest channels are -1, 0.5, 1, and 1.5, which is clipped
    offsets = np.array([1.0, 1.0, 4.0, 4.0])[:, None]
    np.testing.assert_allclose(restored, image + factors * image - offsets, atol=1e-6)


# ---------------------------------------------------------------------------------------------- network
@pytest.mark.parametrize(
    "fields",
    [
        {"patch_size": 1},
        {"view_size": SIZE, "patch_size": 1, "output": "scattering"},
        {"view_size": SIZE, "patch_size": 4, "output": "scattering", "bins": 4},
    ],
)
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_an_image_of_one_color_stays_of_one_color(fields, norm):
    model = build_generator(width=8, depth=2, norm=norm, edges="repeat", upsampling="nearest", **fields)
    head = model.get_layer("head").kernel
    head.assign(np.random.default_rng(0).normal(0, 0.3, head.shape))
    hazy = np.broadcast_to(np.float32([0.3, -0.2, 0.7]), (1, 37, 50, 3))
    restored = model(hazy).numpy()
    assert np.abs(restored - hazy).max() > 0.01, "the network does nothing"
    assert np.ptp(restored, axis=(1, 2)).max() < 1e-5
    # With zeros beyond the edges it does not.
    plain = build_generator(width=8, depth=2, norm=norm, **fields)
    plain.get_layer("head").kernel.assign(head)
    assert np.ptp(plain(hazy).numpy(), axis=(1, 2)).max() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (31, 50), (230, 211), (4, 4000)])
def test_a_large_image_in_windows_equals_the_whole_image(size, monkeypatch):
    monkeypatch.setattr("hazeheal.models.windows.BLOCK", 2000)
    gan = make_gan(**BINS)
    image = noise(*size)
    restored = Restorer(gan, tile_size=64).restore(image)
    assert apart(restored, whole(gan, image)).max() <= 1
    assert apart(restored, image).mean() > 3


def test_mirror_and_strength_apply_to_all_levels():
    gan, image = make_gan(**BINS), noise(70, 90)
    both = [Restorer(gan).restore(side) for side in (image, image[:, ::-1])]
    mean = np.rint((both[0].astype(float) + both[1][:, ::-1]) / 2)
    assert apart(Restorer(gan, mirror=True).restore(image), mean.astype(np.uint8)).max() <= 1
    half = Restorer(gan, strength=0.5).restore(image).astype(float)
    inside = (both[0] > 0) & (both[0] < 255)  # clipped pixels are not linear
    assert np.abs(half - (both[0].astype(float) + image) / 2)[inside].max() <= 1


def test_a_view_that_is_no_multiple_of_the_patches():
    gan = make_gan(**BINS | {"model__view_size": 33})
    for size in ((33, 33), (50, 41)):
        assert Restorer(gan).restore(noise(*size)).shape == (*size, 3)


def test_exports_restore_as_the_run(tmp_path):
    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0), **BINS)
    exports = tmp_path / "export"
    command = ["export", f"--model={run}", f"--output={exports}", "--format=saved_model,weights,keras"]
    assert program.main(command) == 0
    gan, image = DehazeGAN.from_run(run), noise(230, 210)
    for model in (
        open_model(exports),
        *map(open_model, exports.glob("*.npz")),
        *map(open_model, exports.glob("*.keras")),
    ):
        restored = Restorer(model, tile_size=4096).restore(image)
        assert apart(restored, Restorer(gan, tile_size=120).restore(image)).max() <= 4


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.bins=4",), "model.bins=4 needs a view_size above 0 and output=scattering"),
        (("model.bins=4", "model.view_size=256"), "model.bins=4 needs"),
        (("model.edges=mirror",), "model.edges"),
        (("model.upsampling=linear",), "model.upsampling"),
    ],
)
def test_invalid_values_are_refused(overrides, said):
    assert said in refusal(UsageError, lambda: load(*overrides))
    with pytest.raises(ValueError, match="bins is 4: must be 0 without"):
        build_generator(width=4, depth=1, bins=4)
