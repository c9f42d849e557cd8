"""The generator: sizes, names, initial values, architecture, locality, precision, XLA."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import subprocess
import sys
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from hazeheal.models.generator import build_generator

# Keras 3 reads variables through an `__array__` without numpy 2's `copy` argument.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def small(**kwargs):
    return build_generator(**{"width": 4, "depth": 2, "seed": 1} | kwargs)


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def awaken(model, seed=0):
    """Adds noise to every variable: a zero head would hide all other parts."""
    generator = np.random.default_rng(seed)
    for v in model.trainable_variables:
        v.assign(v.numpy() + generator.normal(0, 0.1, v.shape))
    return model


# --- sizes, names, initial values ---------------------------------------------------------------------


@pytest.mark.parametrize(("width", "wanted"), [(64, 27_600_859), (16, 1_745_923)])
def test_parameter_count(width, wanted):
    assert build_generator(width=width, depth=5, norm="none").count_params() == wanted


def test_architecture_equals_a_plain_implementation():
    """Implements the network with plain functions that read the variables by name, for norm none."""
    model = awaken(build_generator(width=4, depth=2, norm="none"))
    weights = {v.path: tf.constant(v.numpy()) for v in model.variables}

    def conv(x, name, stride=1):
        return tf.nn.conv2d(x, weights[f"{name}/kernel"], stride, "SAME") + weights[f"{name}/bias"]

    def mbconv(x, name, stride):
        y = tf.nn.silu(conv(x, f"{name}/expand"))
        kernel, bias = weights[f"{name}/depthwise/kernel"], weights[f"{name}/depthwise/bias"]
        y = tf.nn.silu(tf.nn.depthwise_conv2d(y, kernel, [1, stride, stride, 1], "SAME") + bias)
        gate = tf.nn.silu(conv(tf.reduce_mean(y, axis=[1, 2], keepdims=True), f"{name}/gate/reduce"))
        return conv(y * tf.sigmoid(conv(gate, f"{name}/gate/expand")), f"{name}/project")

    def decode(x, skip, name):
        kernel = weights[f"{name}/up/kernel"]
        x = tf.nn.relu(tf.nn.conv2d_transpose(x, kernel, skip.shape, 2) + weights[f"{name}/up/bias"])
        return tf.nn.relu(conv(tf.concat([x, skip], -1), f"{name}/merge"))

    x = images(2, 12, 8, 3)
    skips = [tf.nn.silu(conv(x, "stem"))]
    for i in range(2):
        a = tf.nn.silu(conv(skips[-1], f"encoder_{i}/strided", 2))
        b = mbconv(skips[-1], f"encoder_{i}/mbconv", 2)
        skips.append(tf.nn.silu(conv(tf.concat([a, b], -1), f"encoder_{i}/fuse")))
    y = skips[-1]
    for i in range(2):
        y = y + mbconv(y, f"bottom_{i}", 1)
    y = decode(decode(y, skips[1], "decoder_1"), skips[0], "decoder_0")
    np.testing.assert_allclose(model(x), x + conv(y, "head"), atol=1e-5)


def test_layer_norm_adds_a_scale_and_an_offset_per_channel():
    without, normed = small(norm="none"), small(norm="layer")
    added = 0
    for channels, out in ((2, 4), (4, 8)):  # encoder: strided, expand, depthwise, project; decoder: up, merge
        added += 2 * (out + 4 * channels + 4 * channels + out) + 2 * (channels + channels)
    added += 2 * 2 * (32 + 32 + 8)  # two bottoms
    assert normed.count_params() - without.count_params() == added
    norms = 2 * 4 + 2 * 2 + 2 * 3  # two each of encoder, decoder and bottom
    assert len(normed.variables) - len(without.variables) == 2 * norms
    assert not normed.non_trainable_variables


def test_names_are_readable_unique_and_the_same_for_every_model():
    first = [v.path for v in small(norm="layer").variables]
    second = [v.path for v in small(norm="layer").variables]
    assert first == second
    assert len(set(first)) == len(first)
    expected = {
        "stem/kernel",
        "encoder_0/mbconv/depthwise_norm/scale",
        "encoder_1/mbconv/gate/reduce/bias",
        "encoder_1/fuse/kernel",
        "bottom_1/project/kernel",
        "decoder_0/up/kernel",
        "head/bias",
    }
    assert expected <= set(first)


def test_initial_values_are_a_function_of_seed_and_name():
    program = (
        "import sys, zlib; from hazeheal.models.generator import build_generator as build;"
        "model = build(width=4, depth=1, seed=5);"
        "sys.stderr.write(f'sum={zlib.crc32(b\"\".join(v.numpy().tobytes() for v in model.variables))}=')"
    )
    here = build_generator(width=4, depth=1, seed=5)  # after other models, other seeds
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    values = b"".join(v.numpy().tobytes() for v in here.variables)
    assert f"sum={zlib.crc32(values)}=" in there
    kernels = [
        v.numpy()
        for seed in (5, 6)
        for v in build_generator(width=4, depth=1, seed=seed).trainable_variables
        if v.path.endswith("kernel") and v.path != "head/kernel"
    ]
    hashes = {k.tobytes() for k in kernels}
    assert len(hashes) == len(kernels), "two kernels have the same initial values"


@pytest.mark.parametrize("depth", [1, 5])
def test_signal_keeps_its_scale_without_norms(depth):
    """The initial gains keep the variance. A wrong fan-in would shrink it at each stage."""
    model = build_generator(width=16, depth=depth, norm="none", se_ratio=0)
    head = keras.Model(model.input, model.get_layer("decoder_0").output)
    out = head(images(1, 64, 64, 3)).numpy()
    assert 0.1 < out.std() < 10


def test_residual_and_scattering_start_as_identity():
    x = images(1, 9, 12, 3)
    for output in ("residual", "scattering"):
        for patch_size in (1, 2):
            np.testing.assert_array_equal(small(output=output, patch_size=patch_size)(x), x)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"width": 5}, "width is 5"),
        ({"depth": 0}, "depth is 0"),
        ({"norm": "batch"}, "norm is 'batch': must be one of none, layer"),
        ({"output": "direct"}, "output is 'direct': must be one of residual, scattering"),
        ({"se_ratio": -1}, "se_ratio is -1"),
        ({"patch_size": 0}, "patch_size is 0"),
    ],
)
def test_invalid_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        small(**kwargs)


def test_scattering_removes_synthetic_haze_given_its_maps():
    """With K = 1 / t - 1 and B = A K (set as the bias of the head), x + K x - B is the clear image."""
    model = small(output="scattering", patch_size=2)
    t, airlight = np.float32([0.5, 0.4, 0.8]), np.float32([0.6, 0.8, 1.0])
    k = 1 / t - 1
    model.get_layer("head").bias.assign(np.tile([*k, *(airlight * k)], 4))
    clear = images(1, 7, 10, 3)
    np.testing.assert_allclose(model(clear * t + airlight * (1 - t)), clear, atol=1e-5)


def test_patch_size_equals_pixel_unshuffle_and_shuffle():
    """Compares with the inner network between a pixel unshuffle and shuffle in NumPy."""
    model = awaken(small(patch_size=2))
    inside = keras.Model(model.get_layer("stem").input, model.get_layer("head").output)
    x = images(2, 16, 8, 3)
    blocks = x.reshape(2, 8, 2, 4, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 8, 4, 12)
    maps = inside(blocks).numpy()
    wanted = x + maps.reshape(2, 8, 4, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 16, 8, 3)
    np.testing.assert_allclose(model(x), wanted, atol=1e-5)


# --- any height and width -----------------------------------------------------------------------------


@pytest.mark.parametrize("patch_size", [1, 2])
def test_sides_1_to_16_keep_their_size(patch_size):
    model = awaken(build_generator(width=2, depth=4 - patch_size, patch_size=patch_size))
    forward = tf.function(model, input_signature=[tf.TensorSpec([1, None, None, 3])])  # open sizes
    for side in range(1, 17):
        for shape in {(side, side), (side, 17 - side)}:
            x = images(1, *shape, 3)
            out = forward(x).numpy()
            assert out.shape == x.shape
            assert np.isfinite(out).all()
            # known sizes take another way through the padding; the result is the same
            if side in (1, 3, 8):
                np.testing.assert_allclose(model(x), out, atol=1e-5)


def test_an_odd_size_equals_a_crop_of_the_mirrored_image():
    """NumPy's padding before the network gives the same result."""
    model = awaken(small())
    x = images(1, 9, 14, 3)
    wanted = model(np.pad(x, ((0, 0), (0, 3), (0, 2), (0, 0)), mode="reflect"))[:, :9, :14]
    np.testing.assert_allclose(model(x), wanted, atol=1e-5)


def test_without_squeeze_excite_a_pixel_depends_only_on_its_neighborhood():
    x = images(1, 8, 160, 3)
    far = x.copy()
    far[:, :, 152:] = 0.9
    for norm, se_ratio, local in (
        ("none", 0, True),
        ("layer", 0, True),
        ("layer", 0.25, False),
    ):
        model = awaken(small(norm=norm, se_ratio=se_ratio))
        change = np.abs(model(x).numpy() - model(far).numpy()).max(axis=(0, 1, 3))
        assert change[152:].max() > 1e-3
        assert (change[:8].max() == 0) == local, (norm, se_ratio, change[:8].max())


# --- precision, compilation, failure ------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_variables_and_output_float32(policy):
    x = images(1, 16, 16, 3)
    for norm, width in (("none", 4), ("layer", 16)):  # a norm over 2 channels would amplify the rounding
        fields = {"norm": norm, "width": width}
        model, reference = awaken(small(**fields, dtype=policy)), awaken(small(**fields))
        assert {v.dtype for v in model.variables} == {"float32"}
        assert model.get_layer("encoder_0").compute_dtype == policy.split("_")[1]
        assert model.get_layer("head").compute_dtype == "float32"
        out, state = model.stateless_call(model.trainable_variables, [], x, training=True)
        assert out.dtype == tf.float32
        assert not state
        wanted = reference(x, training=True)
        error = np.sqrt(np.mean((out - wanted) ** 2) / np.mean((wanted - x) ** 2))
        assert 0 < error < (0.06 if policy == "mixed_bfloat16" else 0.01), norm


def test_residual_output_is_not_rounded_to_bfloat16():
    x = images(1, 5, 6, 3)
    np.testing.assert_array_equal(small(dtype="mixed_bfloat16")(x), x)


def test_xla_gives_the_same():
    model = awaken(build_generator(width=4, depth=1, norm="layer"))
    x = tf.constant(images(2, 7, 6, 3))  # odd: the gather and the crop are compiled too
    variables = [v.value for v in model.trainable_variables]

    def step(x):
        with tf.GradientTape() as tape:
            out, _ = model.stateless_call(model.trainable_variables, [], x, training=True)
            loss = tf.reduce_mean(tf.square(out))
        return out, tape.gradient(loss, variables)

    plain, compiled = tf.function(step)(x), tf.function(step, jit_compile=True)(x)
    for a, b in zip(tf.nest.flatten(plain), tf.nest.flatten(compiled), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)
    assert all(g is not None for g in plain[1])


def test_every_variable_gets_a_gradient():
    for norm in ("none", "layer"):
        model = awaken(small(norm=norm))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(images(2, 16, 16, 3), training=True)))
        for variable, gradient in zip(
            model.trainable_variables,
            tape.gradient(loss, [v.value for v in model.trainable_variables]),
            strict=True,
        ):
            assert np.abs(gradient).max() > 0, variable.path


def test_a_nan_does_not_spread_to_other_images():
    x = images(3, 8, 8, 3)
    x[1, 0, 0, 0] = np.nan
    for norm in ("none", "layer"):
        for output in ("residual", "scattering"):
            bad = np.isnan(awaken(small(norm=norm, output=output))(x)).any(axis=(1, 2, 3))
            assert bad.tolist() == [False, True, False], (norm, output)


def test_a_saved_generator_loads(tmp_path):
    model = awaken(small())
    x = images(1, 6, 5, 3)
    model.save(tmp_path / "generator.keras")
    loaded = keras.saving.load_model(tmp_path / "generator.keras")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
