"""Haze augmentation: the drawn sources, the statistics of synthetic haze, and reproducibility."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from configuring import load
from PIL import Image
from places import SHARED
from record_sets import assert_equal, joined, take
from refusals import refusal

from hazeheal.data.images import image_io, image_ops
from hazeheal.data.pipeline import haze_augmentation
from hazeheal.data.pipeline.haze_augmentation import CLEAR, OWN_HAZE, REHAZED, SYNTHETIC
from hazeheal.data.pipeline.haze_settings import KINDS, HazeSettings
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.data.synthesis.synthetic_pairs import make_pair
from hazeheal.errors import UsageError

# Haze with fixed parameters except its shape, and no camera effects.
BARE = HazeSettings(airlight_min=1.0, airlight_max=1.0, tint=0.0, noise=0.0, jpeg_share=0.0)


def draw_many(clear, count, settings=None, *, seed=5):
    """uint8 [count, S, S, 3]: the haze of seeds (seed, -2), (seed, -5), ... on one image, through tf.data."""
    clear, settings = tf.constant(clear), settings or HazeSettings()
    grain = haze_augmentation.make_grain(clear.shape[0])

    def draw(number):
        return haze_augmentation.apply_synthetic_haze(
            clear, settings=settings, seed=[seed, -3 * number - 2], grain=grain
        )

    return np.stack(list(tf.data.Dataset.range(count).map(draw).as_numpy_iterator()))


def flat(value, size=32):
    return np.full((size, size, 3), value, np.uint8)


# ------------------------------------------------------------------------------------------------- draws
def test_sources_are_drawn_with_their_shares():
    settings = HazeSettings(share=0.4, share_clear=0.1, share_relaid=0.2)
    drawn = tf.data.Dataset.range(400).map(
        lambda position: haze_augmentation.draw_source(settings=settings, seed=3, position=position)
    )
    counts = np.bincount(list(drawn.as_numpy_iterator()), minlength=4)
    for number, share in ((OWN_HAZE, 0.3), (SYNTHETIC, 0.4), (CLEAR, 0.1), (REHAZED, 0.2)):
        assert abs(counts[number] - 400 * share) < 4 * np.sqrt(400 * share * (1 - share)), counts


@pytest.mark.parametrize(
    ("settings", "only"),
    [
        (HazeSettings(), OWN_HAZE),
        (HazeSettings(share=1.0), SYNTHETIC),
        (HazeSettings(share_clear=1.0), CLEAR),
        (HazeSettings(share_relaid=1.0), REHAZED),
    ],
)
def test_a_share_of_one_is_the_only_source(settings, only):
    drawn = tf.data.Dataset.range(200).map(
        lambda position: haze_augmentation.draw_source(settings=settings, seed=0, position=position)
    )
    assert set(drawn.as_numpy_iterator()) == {only}


def test_equal_seeds_give_equal_haze_and_others_do_not():
    clear = make_pair(0, size=32)[1]
    first, again = draw_many(clear, 12), draw_many(clear, 12)
    np.testing.assert_array_equal(first, again)
    everything = np.concatenate([first, draw_many(clear, 12, seed=6)])
    assert len({image.tobytes() for image in everything}) == 24


# -------------------------------------------------------------------------------------------------- haze
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_thickness_is_the_density(kind):
    settings = dataclasses.replace(BARE, kind=kind, density_min=0.3, density_max=0.3)
    hazy = draw_many(flat(0), 40, settings) / 255
    thickness = -np.log(1 - hazy).mean(axis=(1, 2, 3))
    # The airlight varies over an image, and 8 bits round.
    assert 0.28 < thickness.mean() < 0.32
    assert thickness.std() < 0.03


def test_ground_haze_is_denser_towards_the_top_and_aerial_haze_is_not():
    top_heavy = {}
    for kind in ("ground", "aerial"):
        settings = dataclasses.replace(BARE, kind=kind, density_min=0.5, density_max=0.5)
        hazy = draw_many(flat(0), 120, settings).astype(float)
        top_heavy[kind] = np.mean(hazy[:, :8].mean(axis=(1, 2, 3)) > hazy[:, -8:].mean(axis=(1, 2, 3)))
    assert top_heavy["ground"] > 0.75
    assert 0.3 < top_heavy["aerial"] < 0.7


def test_clouds_are_smooth_and_keep_the_airlight_in_its_range():
    settings = dataclasses.replace(BARE, kind="aerial", density_min=0.5, density_max=0.5)
    hazy = draw_many(flat(0, size=64), 20, settings).astype(float)
    spread = hazy.std(axis=(1, 2, 3)).mean()
    step = np.abs(np.diff(hazy, axis=1)).mean()
    assert spread > 10
    assert step < spread / 4
    assert (draw_many(flat(255), 20, BARE) >= 255 - 21).all()  # the sun's 8 %


def test_haze_ranges_from_thin_to_dense():
    clear = make_pair(1, size=64)[1]
    found = [image_ops.psnr(hazy, clear) for hazy in draw_many(clear, 80)]
    assert min(found) < 13
    assert max(found) > 26
    assert 17 < np.mean(found) < 26


@pytest.mark.parametrize("size", [4, 12, 33])
def test_any_side_and_the_darkest_and_brightest_images(size):
    settings = HazeSettings(density_min=1e-6, density_max=100.0, airlight_min=0.0, tint=1.0, noise=1.0)
    for value in (0, 255):
        hazy = draw_many(flat(value, size), 12, settings)
        assert hazy.shape == (12, size, size, 3)
        assert hazy.dtype == np.uint8


def test_vanishing_haze_does_not_change_an_image():
    settings = dataclasses.replace(BARE, density_min=1e-6, density_max=1e-6)
    clear = make_pair(2, size=32)[1]
    for hazy in draw_many(clear, 5, settings):
        np.testing.assert_array_equal(hazy, clear)


def test_tint_moves_red_against_blue():
    settings = dataclasses.replace(BARE, airlight_min=0.8, airlight_max=0.8, tint=0.1, density_min=1.0)
    for chosen, most in ((settings, 30), (dataclasses.replace(settings, tint=0.0), 0)):
        hazy = draw_many(flat(0), 40, chosen).astype(int)
        difference = (hazy[..., 0] - hazy[..., 2]).mean(axis=(1, 2))
        assert np.abs(difference).max() <= most
        if most:
            assert difference.min() < -5
            assert difference.max() > 5


# ------------------------------------------------------------------------------------------------ camera
def test_noise_has_its_strength_and_grows_with_brightness():
    thin = dataclasses.replace(BARE, density_min=1e-6, density_max=1e-6, noise=0.05)
    dark, bright = (draw_many(flat(value), 60, thin).astype(float) - value for value in (60, 200))
    assert dark.std() < bright.std()
    strongest = bright.std(axis=(1, 2, 3)).max()
    assert 0.6 * 0.05 * 255 < strongest < 1.05 * 0.05 * 255
    assert abs(bright.mean()) < 0.3


def test_jpeg_artifacts_are_those_of_a_file_with_the_drawn_grid_offset():
    clear = make_pair(3, size=48)[1]
    compressed = haze_augmentation._compress_jpeg(tf.constant(clear), 30, [0, 0]).numpy()
    buffer = io.BytesIO()
    Image.fromarray(clear).save(buffer, "JPEG", quality=30)
    expected = np.asarray(Image.open(buffer))
    assert np.abs(compressed.astype(int) - expected).mean() < 1
    moved = haze_augmentation._compress_jpeg(tf.constant(clear), 5, [0, 3]).numpy().astype(int)
    steps = np.abs(np.diff(moved, axis=1)).mean(axis=(0, 2))  # between columns x and x + 1
    by_place = [steps[place::8].mean() for place in range(8)]
    assert int(np.argmax(by_place)) == 4  # blocks begin at column 5, 8 less 3


def test_jpeg_share():
    settings = dataclasses.replace(BARE, density_min=0.2, density_max=0.2, jpeg_quality_min=5, jpeg_quality_max=5)
    clear = make_pair(4, size=32)[1]
    none, half, every = (
        draw_many(clear, 40, dataclasses.replace(settings, jpeg_share=share)) for share in (0.0, 0.5, 1.0)
    )
    assert (none != every).any(axis=(1, 2, 3)).all()
    changed = (none != half).any(axis=(1, 2, 3))
    assert 8 <= changed.sum() <= 32
    np.testing.assert_array_equal(half[changed], every[changed])


# ---------------------------------------------------------------------------------------------- settings
def test_the_defaults_are_those_of_the_configuration():
    assert HazeSettings(**load().data.fresh_haze) == HazeSettings()
    assert not HazeSettings().is_on


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(share=1.5), "fresh_haze.share=1.5 must be in [0.0, 1.0]"),
        (dict(share=float("nan")), "fresh_haze.share=nan must be in"),
        (dict(share=0.6, share_clear=0.5), "share=0.6 and fresh_haze.share_clear=0.5 add up to more than 1"),
        (dict(kind="fog"), "fresh_haze.kind=fog is not known; use one of ground, aerial, mixed"),
        (dict(density_min=2.0), "fresh_haze.density_min=2.0 is larger than fresh_haze.density_max=1.2"),
        (dict(airlight_max=0.4), "fresh_haze.airlight_min=0.5 is larger than fresh_haze.airlight_max=0.4"),
        (dict(relaid_min=0.0), "fresh_haze.relaid_min=0.0 must be in [0.01, 100.0]"),
        (dict(jpeg_quality_max=101), "fresh_haze.jpeg_quality_max=101 must be in [1, 100]"),
    ],
)
def test_invalid_values_are_refused(fields, message):
    assert message in refusal(UsageError, lambda: HazeSettings(**fields))


# ---------------------------------------------------------------------------------------------- pipeline
MIXED = HazeSettings(share=0.5, share_clear=0.2)
OPTIONS = dict(batch_size=4, crop_size=16, seed=11)


def batches(data, count, *, start=0, **changes):
    options = {**OPTIONS, "haze": MIXED, **changes}
    return take(DehazeDataProcessor(data, **options).dataset(start), count)


def test_shares_of_zero_change_nothing(ten_pairs):
    assert_equal(batches(ten_pairs, 6, haze=None), batches(ten_pairs, 6, haze=HazeSettings()))


def test_each_input_has_the_source_drawn_for_its_position(ten_pairs):
    plain, mixed = (joined(batches(ten_pairs, 10, haze=haze)) for haze in (None, MIXED))
    for name in ("clear", "number"):
        np.testing.assert_array_equal(mixed[name], plain[name])
    seen = set()
    for position in range(40):
        drawn = int(
            haze_augmentation.draw_source(
                settings=MIXED, seed=OPTIONS["seed"], position=tf.constant(position, tf.int64)
            )
        )
        seen.add(drawn)
        hazy, real, clear = mixed["hazy"][position], plain["hazy"][position], plain["clear"][position]
        assert np.array_equal(hazy, real) == (drawn == OWN_HAZE)
        assert np.array_equal(hazy, clear) == (drawn == CLEAR)
    assert seen == {OWN_HAZE, SYNTHETIC, CLEAR}


def test_replicas_workers_and_batch_sizes_do_not_change_the_images(ten_pairs):
    whole = batches(ten_pairs, 6)
    parts = batches(ten_pairs, 12, num_replicas=2, workers=3)
    assert_equal(whole, [joined(parts[i : i + 2]) for i in range(0, 12, 2)])
    assert_equal([joined(whole)], [joined(batches(ten_pairs, 3, batch_size=8))])


def test_resume_is_a_skip_and_far_positions_do(ten_pairs):
    assert_equal(batches(ten_pairs, 4, start=5), batches(ten_pairs, 9)[5:])
    far = joined(batches(ten_pairs, 4, start=10**15, seed=2**63 - 1, haze=HazeSettings(share=1.0)))
    assert len({image.tobytes() for image in far["hazy"]}) == 16


def test_a_pair_gets_new_haze_each_time(tmp_path, ten_pairs):
    found = joined(batches(ten_pairs, 10, haze=HazeSettings(share=1.0, noise=0.0, jpeg_share=0.0)))
    of_one = found["hazy"][found["number"] == 1]  # 32x32 by a crop of 16: few crops, many hazes
    assert len({image.tobytes() for image in of_one}) == len(of_one) == 4


def test_validation_and_whole_images_keep_their_own_haze(data):
    def whole(split, *overrides):
        config = load("data.crop_size=16", "model.depth=1", *overrides)
        processor = DehazeDataProcessor.from_config(config, data, split=split)
        return list(processor.evaluation_dataset().take(3).as_numpy_iterator())

    for split in ("val", "train"):
        assert_equal(whole(split, "data.fresh_haze.share=1"), whole(split))


# ------------------------------------------------------------------------------------------ real images
@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "kind", "airlight_min", "real"),
    [("rice1", "aerial", 0.4, 19.7), ("sots_outdoor_288", "ground", 0.75, 16.4)],
)
def test_haze_on_real_scenes_spans_their_own_haze(folder, kind, airlight_min, real):
    if not (SHARED / "data" / folder).is_dir():
        pytest.skip("../shared is absent")
    settings, found = HazeSettings(kind=kind, airlight_min=airlight_min), []
    for number, path in enumerate(sorted((SHARED / "data" / folder / "GT").iterdir())[:50]):
        clear = image_io.load_rgb(path)[0][:128, :128]
        found += [image_ops.psnr(h, clear) for h in draw_many(clear, 2, settings, seed=number)]
    assert min(found) < 11
    assert max(found) > 28
    assert np.percentile(found, 20) < real < np.percentile(found, 80)
