"""Validation: figures of any number of replicas and groups, against scikit-image, with the averaged weights."""

import types

import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from trainings import graphs_as_they_are, make_config, moved
from validations import record_calls, restore_with, validator

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.inference.gan import DehazeGAN
from hazeheal.metrics import psnr_ssim
from hazeheal.models.pixels import normalize, to_uint8
from hazeheal.training.step import losses
from hazeheal.training.step.step import LOSSES
from hazeheal.training.validator import QUALITY, batches_by_size

SIZES = [(33, 47), (40, 21), (25, 25), (17, 64), (51, 30)]  # odd, all different; 5 is no multiple of 2 or 4


@pytest.fixture(scope="module")
def pairs():
    """[(hazy, clear)]: uint8 [H, W, 3]; in the last one only a corner differs."""
    made = []
    for i, (height, width) in enumerate(SIZES):
        hazy, clear = synthetic_pairs.make_pair(i, size=64)
        made.append((hazy[:height, :width], clear[:height, :width]))
    hazy = made[-1][1].copy()
    hazy[:12, :12] = 200
    made[-1] = hazy, made[-1][1]
    return made


@pytest.fixture(scope="module")
def awake(training):
    """Gives awake(replicas=..): a training whose weights and averages are moved."""
    return lambda **kwargs: moved(training(**kwargs))


def run(tested, **options):
    with graphs_as_they_are():
        return tested.run(**options)


@pytest.fixture(scope="module")
def validators(awake, pairs):
    """One on 1, 2 and 4 replicas, of the same awakened state."""
    return {n: validator(awake(replicas=n), pairs, config=make_config()) for n in (1, 2, 4)}


@pytest.fixture(scope="module")
def figures(validators):
    return {n: run(tested) for n, tested in validators.items()}


def test_a_long_validation_prints_how_far_it_is(validators, monkeypatch, capsys):
    run(validators[1])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("hazeheal.utils.progress_lines.FIRST_SECONDS", 0.0)
    run(validators[1])
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith(("validating: 1 of 5 images, ", "validating: 2 of 5 images, "))
    assert last.startswith("validating: 5 of 5 images, ")


def test_names(figures):
    names = {*(f"val_{name}" for name in LOSSES), "psnr", "ssim", "psnr_input", "ssim_input"}
    assert set(figures[1]) == names
    assert all(type(value) is float for value in figures[1].values())


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_have_the_figures_of_one(figures, replicas):
    for name, value in figures[1].items():
        assert figures[replicas][name] == pytest.approx(value, rel=1e-6), name


def test_psnr_and_ssim_are_scikit_images_on_the_restored_images(awake, figures, pairs):
    restore = restore_with(awake(replicas=2), make_config())
    rows = []
    for hazy, clear in pairs:
        restored = restore(hazy)
        assert restored.dtype == np.uint8 and restored.shape == hazy.shape
        for image in (restored, hazy):
            ssim = structural_similarity(
                image,
                clear,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=255,
                channel_axis=-1,
            )
            rows.append((peak_signal_noise_ratio(clear, image, data_range=255), ssim))
    psnr, ssim, psnr_input, ssim_input = np.reshape(rows, [len(pairs), 4]).mean(0)
    wanted = {"psnr": psnr, "ssim": ssim, "psnr_input": psnr_input, "ssim_input": ssim_input}
    for name in QUALITY:
        assert figures[2][name] == pytest.approx(wanted[name], abs=1e-3), name
    assert abs(psnr - psnr_input) > 0.05, "the generator does something"


def restored_with(trial, weights, images):
    """Restores images by plain Keras calls of another network that has `weights`."""
    gan = DehazeGAN(trial.config, for_training=False)
    values = trial.state.snapshot()
    for variable in gan.generator.trainable_variables:
        variable.assign(values[f"{weights}/{variable.path}"])
    return [to_uint8(gan.generator(normalize(x[None]), training=False))[0].numpy() for x in images]


def test_validation_and_samples_use_the_average(awake, figures, pairs):
    trial = awake(replicas=1)
    restore = restore_with(trial, make_config())
    psnr = {"ema/generator": [], "generator": []}
    for weights, values in psnr.items():
        images = restored_with(trial, weights, [hazy for hazy, _ in pairs])
        for image, (hazy, clear) in zip(images, pairs, strict=True):
            values.append(peak_signal_noise_ratio(clear, image, data_range=255))
            same = np.mean(np.abs(image.astype(int) - restore(hazy)) <= 1) == 1
            assert same == (weights == "ema/generator")
    assert figures[1]["psnr"] == pytest.approx(np.mean(psnr["ema/generator"]), abs=2e-3)
    assert abs(np.mean(psnr["generator"]) - figures[1]["psnr"]) > 0.05


def test_restore_follows_the_weights(awake, pairs):
    trial = awake(replicas=2)
    restore = restore_with(trial, make_config())
    before = restore(pairs[0][0])
    trial.state.ema.assign(tf.zeros_like(trial.state.ema))
    assert np.array_equal(restore(pairs[0][0]), pairs[0][0]), "a residual of zero is the identity"
    assert not np.array_equal(before, pairs[0][0])


def test_losses_are_means_over_the_images(awake, figures, pairs):
    trial = awake(replicas=1)
    gan, values = trial.trained_networks(), trial.state.snapshot()
    weights = [values[f"ema/generator/{v.path}"] for v in gan.generator.trainable_variables]
    rows = []
    for hazy, clear in pairs:
        x, y = normalize(hazy[None]), normalize(clear[None])
        restored, _ = gan.generator.stateless_call(weights, [], x, training=False)
        real, fake = (gan.discriminator([x, image], training=False) for image in (y, restored))
        disc = losses.discriminator(real, fake)
        adversarial = losses.generator_adversarial(fake)
        l1 = losses.charbonnier(restored, y, mask=losses.haze_mask(x, y))
        rows.append([float(v[0]) for v in (disc, adversarial, l1, 0 * l1, adversarial + 150 * l1)])
    for name, wanted in zip(LOSSES, np.mean(rows, 0), strict=True):
        assert figures[1][f"val_{name}"] == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


def test_validation_changes_nothing_repeats_itself_and_is_traced_once(awake, validators, figures):
    """New sizes and devices must not build the graph again: for big networks that takes half a minute."""
    trial = awake(replicas=2)
    before = [trial.copies(r) for r in range(2)]
    assert run(validators[2]) == figures[2]
    for replica in range(2):
        after = trial.copies(replica)
        assert all(before[replica][name].tobytes() == after[name].tobytes() for name in after)
    assert validators[2]._figures.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("count", [1, 3])
def test_max_val_pictures_takes_the_first_images(awake, pairs, count):
    few = validator(awake(replicas=2), pairs, config=make_config(data__max_val_pictures=count))
    assert few.num_images == count
    wanted = np.mean([peak_signal_noise_ratio(clear, hazy, data_range=255) for hazy, clear in pairs[:count]])
    assert run(few)["psnr_input"] == pytest.approx(wanted, abs=1e-6)
    assert few._processor.read == list(range(count)), "no other image is decoded"


def test_an_image_without_error_has_100_db(awake, pairs):
    clear = pairs[0][1]
    figures = run(validator(awake(replicas=1), [(clear, clear), pairs[1]], config=make_config()))
    wanted = peak_signal_noise_ratio(pairs[1][1], pairs[1][0], data_range=255)
    assert figures["psnr_input"] == pytest.approx((psnr_ssim.PSNR_LIMIT + wanted) / 2, abs=1e-6)
    assert figures["ssim_input"] <= 1.0


def test_the_scores_of_the_input_are_computed_once(awake, pairs, monkeypatch):
    tested = validator(awake(replicas=1), pairs, config=make_config())
    calls = record_calls(monkeypatch, tested, "_quality")
    first, second = run(tested), run(tested)
    assert len(calls) == len(pairs)
    assert first == second


def test_images_of_one_size_are_a_batch(awake, pairs, figures, monkeypatch):
    """Between them are images of other sizes. Each image of a batch has the figures that it has alone."""
    trial, mirrored = awake(replicas=1), [tuple(image[:, ::-1] for image in pair) for pair in pairs]
    tested = validator(trial, [*pairs, *mirrored], config=make_config())
    calls = record_calls(monkeypatch, tested, "_figures")
    together = run(tested)
    assert [len(hazy) for _, _, hazy, _ in calls] == [2] * len(pairs)
    alone = run(validator(trial, mirrored, config=make_config()))
    for name, value in together.items():
        # A value halfway between two levels may round to the other one in a batch.
        tolerance = 1e-4 if name in ("psnr", "ssim") else 1e-6
        assert value == pytest.approx((figures[1][name] + alone[name]) / 2, rel=tolerance), name


def test_all_devices_validate_and_a_tick_follows_each_batch(awake, pairs, monkeypatch):
    tested, ticks = validator(awake(replicas=2), pairs, config=make_config()), []
    calls = record_calls(monkeypatch, tested, "_figures")
    run(tested, tick=lambda: ticks.append(None))
    assert len(ticks) == len(calls) == len(pairs)
    devices = {generator.device[-5:] for generator, *_ in calls}
    assert devices == {"CPU:0", "CPU:1"}


def test_groups_read_their_share_and_have_the_same_figures(awake, pairs, figures):
    """Three groups take turns in one process: what each sends in the first round, all receive in the second."""
    trial, sent = awake(replicas=1), {}

    def group(number):
        def gather(values):
            sent[number] = values
            return np.stack([sent.get(i, values) for i in range(3)])

        groups = types.SimpleNamespace(number=number, count=3, gather=gather)
        return validator(trial, pairs, config=make_config(), groups=groups)

    groups = [group(number) for number in range(3)]
    for tested in groups:
        run(tested)
    assert [tested._processor.read for tested in groups] == [[0, 3], [1, 4], [2]]
    for tested in groups:
        assert run(tested) == figures[1]


def test_a_stopped_validation_gives_up_in_all_groups_and_the_next_one_is_whole(awake, pairs, figures):
    tested, asked = validator(awake(replicas=1), pairs, config=make_config()), []
    assert run(tested, is_stopped=lambda: asked.append(None) or len(asked) == 2) is None
    assert len(asked) == 2 < len(pairs)
    assert run(tested) == figures[1]
    # One that ends anyway is not given up.
    assert run(tested, is_stopped=lambda: asked.append(None) or len(asked) == 2 + len(pairs)) == figures[1]

    def other_gave_up(values):
        return np.stack([values, np.append(values[:-1], False)])

    groups = types.SimpleNamespace(number=0, count=2, gather=other_gave_up)
    assert run(validator(awake(replicas=1), pairs, config=make_config(), groups=groups)) is None


def test_large_images_have_the_scores_of_the_whole_restored_image(awake, pairs, monkeypatch):
    """Two large images, one between small ones, and one on several devices at once."""
    fields = {"model__se_ratio": 0.0}
    trial = awake(replicas=2, **fields)
    large = [tuple(np.tile(image, (8, 5, 1))[:, : 99 + i] for image in pairs[i]) for i in range(2)]
    mixed, ticks = [pairs[2], large[0], *pairs[3:], large[1]], []
    config = make_config(data__val_tile_size=112, **fields)
    tested = validator(trial, mixed, config=config)
    calls = record_calls(monkeypatch, tested, "_losses")
    found = run(tested, tick=lambda: ticks.append(None))
    assert len(calls) >= 2 * 2 and len(ticks) > len(calls)
    assert all(hazy.shape[1] * hazy.shape[2] <= 112**2 for _, hazy, _, _ in calls)

    wanted = run(validator(trial, mixed, config=make_config(**fields)))
    for name in QUALITY:  # rounding may change single pixels by 1 of 255
        assert found[name] == pytest.approx(wanted[name], rel=1e-5), name
    # A patch of the discriminator sees less at the border of a part. The other losses are nearly local.
    assert found["val_gen_l1_loss"] == pytest.approx(wanted["val_gen_l1_loss"], rel=0.05)
    assert found["val_disc_loss"] == pytest.approx(wanted["val_disc_loss"], rel=0.05)


def test_losses_of_a_large_image_are_means_over_its_parts(awake, pairs, monkeypatch):
    fields = {"model__se_ratio": 0.0}
    hazy, clear = (np.tile(image, (5, 4, 1)) for image in pairs[0])
    tested = validator(
        awake(replicas=1, **fields), [(hazy, clear)], config=make_config(data__val_tile_size=112, **fields)
    )
    calls = record_calls(monkeypatch, tested, "_losses")
    found = run(tested)
    sizes = [part.shape[1] * part.shape[2] for _, part, _, _ in calls]
    assert len(sizes) > 2 and len(set(sizes)) > 1 and sum(sizes) == hazy.size // 3
    rows = [tested._losses(*arguments).numpy()[0] for arguments in calls.copy()]
    for name, wanted in zip(LOSSES, np.average(rows, axis=0, weights=sizes), strict=True):
        assert found[f"val_{name}"] == pytest.approx(wanted, rel=1e-6), name


def test_batches_by_size_hold_few_images():
    """Every image comes once; only a few batches' worth of pixels wait for others of their size."""
    random = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in random.integers(1, 12, (300, 2))] + [(40, 40)]
    given, returned, batches = [0], 0, []

    def images():
        for number, size in enumerate(sizes):
            given[0] = number + 1
            image = np.full([*size, 3], number % 256, np.uint8)
            yield {"hazy": image, "clear": 255 - image}

    for batch in batches_by_size(images(), pixels=200):
        returned += len(batch.places)
        waiting = set(range(given[0])) - {place for b in batches for place in b.places} - set(batch.places)
        assert sum(sizes[place][0] * sizes[place][1] for place in waiting) <= 8 * 200
        assert batch.hazy.shape == batch.clear.shape == (len(batch.places), *sizes[batch.places[0]], 3)
        assert len(batch.places) == 1 or batch.hazy.size // 3 <= 200
        np.testing.assert_array_equal(batch.hazy[:, 0, 0, 0], [place % 256 for place in batch.places])
        np.testing.assert_array_equal(batch.clear, 255 - batch.hazy)
        batches.append(batch)
    assert sorted(place for batch in batches for place in batch.places) == list(range(len(sizes)))
    assert returned == len(sizes) and max(len(batch.places) for batch in batches) > 5
