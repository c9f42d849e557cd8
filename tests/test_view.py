"""A generator with a view of the image: resampling, the network, large images, training crops."""

import checkpoints_made
import numpy as np
import pytest
import tensorflow as tf
import tiny
from configuring import load
from record_sets import assert_equal, joined, take
from refusals import refusal
from test_restorer import apart, make_gan, noise, whole

from hazeheal import __main__ as program
from hazeheal.data.pipeline import augment, decode
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.data.pipeline.random_bits import random_bits
from hazeheal.errors import UsageError
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.load_model import open_model
from hazeheal.inference.restorer import Restorer
from hazeheal.models import view, weights, windows
from hazeheal.models.generator import build_generator
from hazeheal.training.restore import find_networks

SIZE = 32
FIELDS = {"model__view_size": SIZE, "model__output": "scattering", "model__depth": 2, "model__norm": "none"}
SIZES = [(1, 1), (1, 40), (31, 50), (32, 32), (97, 41), (200, 260)]


# ------------------------------------------------------------------------------------------- resampling
@pytest.mark.parametrize(("outputs", "inputs"), [(32, 32), (32, 97), (97, 32), (32, 33), (5, 1), (1, 9)])
def test_resampling_equals_tensorflows_linear_resize(outputs, inputs):
    row = np.random.default_rng(0).random((1, inputs, 1, 1)).astype(np.float32)
    wanted = tf.image.resize(row, (outputs, 1), antialias=True).numpy().reshape(-1)
    for resampling in (view.resampling, windows.resampling):
        matrix = np.asarray(resampling(outputs, inputs))
        assert matrix.dtype == np.float32
        np.testing.assert_allclose(matrix @ row.reshape(-1), wanted, atol=2e-6)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


def test_a_view_equals_a_resized_training_image():
    image = noise(200, 131)
    reduced = view.View(SIZE)(tf.constant(image[None], tf.float32)).numpy()[0]
    assert apart(decode.resize(tf.constant(image), SIZE).numpy(), np.rint(reduced)).max() <= 1


# ---------------------------------------------------------------------------------------------- network
@pytest.mark.parametrize("output", ["residual", "scattering"])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_an_image_of_the_view_size_is_restored_as_without_a_view(output, patch_size):
    fields = {"model__output": output, "model__patch_size": patch_size, "model__depth": 2}
    plain, viewing = make_gan(**fields), make_gan(**fields, model__view_size=SIZE)
    assert [v.path for v in plain.generator.variables] == [v.path for v in viewing.generator.variables]
    x = tf.random.stateless_uniform([2, SIZE, SIZE, 3], (0, 1), -1, 1)
    np.testing.assert_allclose(viewing.generator(x), plain.generator(x), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_enlarged_maps_are_applied_to_images_of_any_size(size):
    gan, image = make_gan(**FIELDS), noise(*size)
    x = image[None].astype(np.float32) / 127.5 - 1
    seen = tf.image.resize(x, (SIZE, SIZE), antialias=True)
    maps = tf.image.resize(gan.network().maps(seen.numpy())[None], size)
    k, b = np.split(maps.numpy(), 2, axis=-1)
    wanted = np.rint(np.clip((x + k * x - b + 1) * 127.5, 0, 255))[0]
    assert apart(whole(gan, image), wanted).max() <= 1
    assert apart(wanted, image).mean() > 3


def test_a_view_sees_the_whole_image():
    """Without a view and without squeeze-excite, a pixel depends only on its neighborhood."""
    gan = make_gan(**FIELDS, model__se_ratio=0.0)
    image = noise(200, 260)
    other = image.copy()
    other[150:] = 255 - other[150:]
    assert apart(whole(gan, image)[:40], whole(gan, other)[:40]).max() > 0


def test_training_starts_from_the_hazy_image():
    model = build_generator(width=4, depth=2, output="residual", view_size=SIZE)
    x = tf.random.stateless_uniform([1, 50, 70, 3], (0, 1), -1, 1)
    np.testing.assert_array_equal(model(x), x)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.view_size=16",), "model.view_size=16 is too small"),
        (("model.view_size=-1",), "too small"),
        (("data.window_min=1.5",), "too large"),
    ],
)
def test_invalid_values_are_refused(overrides, said):
    assert said in refusal(UsageError, lambda: load(*overrides))


# ------------------------------------------------------------------------------------------- restoring
@pytest.mark.parametrize("output", ["residual", "scattering"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_large_image_in_windows_equals_the_whole_image(output, dtype, monkeypatch):
    monkeypatch.setattr("hazeheal.models.windows.BLOCK", 2000)
    gan = make_gan(**FIELDS | {"model__output": output})
    large = Restorer(gan, tile_size=64)
    for size in ((230, 211), (40, 700), (4, 4000), (5000, 3)):
        image = noise(*size, dtype=dtype)
        assert len(large.plan(*size).tiles) == 1
        restored, wanted = large.restore(image), whole(gan, image)
        assert restored.dtype == dtype
        assert apart(restored, wanted).max() <= max(1, np.iinfo(dtype).max // 2000)
        assert apart(restored, image).mean() > 3


def test_several_devices_give_the_same():
    gan = make_gan(**FIELDS)
    images = [noise(40 + i, 60, seed=i) for i in range(4)] + [noise(130, 140)]
    one, two = (Restorer(gan, tile_size=64, devices=d) for d in ((None,), ("CPU:0", "CPU:1")))
    for a, b in zip(one.restore_all(images), two.restore_all(images), strict=True):
        assert apart(a, b).max() <= 1


def test_a_new_run_may_start_from_weights_of_another_view(tmp_path):
    config = tiny.config(train__steps=1, **FIELDS)
    path = tmp_path / "plain.npz"
    plain = make_gan(**FIELDS | {"model__view_size": 0})
    noted = {"config": plain.config.to_dict(), "made_by": "a test"}
    weights.write(path, {v.path: v.numpy() for v in plain.generator.variables}, noted)
    assert find_networks(str(path), config=config) == path
    with pytest.raises(UsageError, match="norm"):
        find_networks(str(path), config=tiny.config(train__steps=1, **FIELDS | {"model__norm": "layer"}))


def test_images_of_all_sizes_come_in_order():
    gan = make_gan(**FIELDS)
    images = [noise(*size, seed=i) for i, size in enumerate([(20, 30), (300, 300), (300, 300), (64, 64), (20, 30)])]
    for image, restored in zip(images, Restorer(gan, tile_size=64).restore_all(iter(images)), strict=True):
        assert apart(restored, whole(gan, image)).max() <= 1


def test_export_and_weights_restore_as_the_run(tmp_path):
    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0), (9, 10.0), **FIELDS)
    exports = tmp_path / "export"
    command = [
        "export",
        f"--model={run}",
        "--which=newest",
        f"--output={exports}",
        "--format=saved_model,weights,keras",
    ]
    assert program.main(command) == 0
    gan = DehazeGAN.from_run(run, which="newest")
    for model in (open_model(exports), open_model(next(exports.glob("*.npz")))):
        for size in ((31, 50), (230, 210)):
            image = noise(*size)
            restored = Restorer(model, tile_size=120).restore(image)
            assert apart(restored, Restorer(gan, tile_size=4096).restore(image)).max() <= 4


# ------------------------------------------------------------------------------------------------ crops
def test_crops_are_windows_of_both_images_resized(ten_pairs):
    options = {"batch_size": 4, "crop_size": 48, "seed": 3, "window_min": 0.5, "flip": False, "rot90": False}
    first = take(DehazeDataProcessor(ten_pairs, **options).dataset(), 5)
    assert first[0]["hazy"].shape == (4, 48, 48, 3), "larger than its smallest image, of 32"
    assert_equal(first[2:], take(DehazeDataProcessor(ten_pairs, **options).dataset(2), 3))
    two = take(DehazeDataProcessor(ten_pairs, **options, num_replicas=2).dataset(), 10)
    assert_equal(first, [joined(two[i : i + 2]) for i in range(0, 10, 2)])
    processor = DehazeDataProcessor(ten_pairs, batch_size=1)
    images = {int(p["number"]): p for p in processor.evaluation_dataset().as_numpy_iterator()}
    for step, batch in enumerate(first):
        for i, number in enumerate(batch["number"]):
            bits = random_bits(np.array([[3, 2 * (4 * step + i)]]), augment.WINDOW_BITS)
            size = np.int32([images[int(number)]["hazy"].shape[:2]])
            y, x, rows, columns = augment.random_windows(bits, size, least=0.5).numpy()[0]
            for side in ("hazy", "clear"):
                window = images[int(number)][side][y : y + rows, x : x + columns]
                np.testing.assert_array_equal(batch[side][i], decode.resize(tf.constant(window), 48))
