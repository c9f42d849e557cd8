"""Validation: figures of any number of replicas, against scikit-image, with the averaged weights."""

import types

import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from trainings import graphs_as_they_are, make_config

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.inference.gan import DehazeGAN
from hazeheal.metrics import psnr_ssim
from hazeheal.models.pixels import normalize, to_uint8
from hazeheal.training.sampler import make_restore
from hazeheal.training.step import losses
from hazeheal.training.step.step import LOSSES
from hazeheal.training.validator import QUALITY, Validator

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


class Images:
    """Stands in for the processor of a validation split."""

    def __init__(self, pairs):
        self.num_images = len(pairs)
        self._pairs = pairs
        self.read = 0

    def evaluation_dataset(self):
        def generate():
            for number, (hazy, clear) in enumerate(self._pairs):
                self.read += 1
                yield {"hazy": hazy, "clear": clear, "number": number}

        image = tf.TensorSpec([None, None, 3], tf.uint8)
        signature = {"hazy": image, "clear": image, "number": tf.TensorSpec([], tf.int64)}
        return tf.data.Dataset.from_generator(generate, output_signature=signature)


@pytest.fixture(scope="module")
def awake(training):
    """Gives awake(replicas=..): a training whose weights and averages are moved, each in its own way."""

    def get(**kwargs):
        trial = training(**kwargs)
        generator = np.random.default_rng(0)
        values = trial.state.snapshot()
        for name in values:
            if name.startswith(("generator/", "discriminator/", "ema/")) and not name.endswith("/u"):
                values[name] = (values[name] + generator.normal(0, 0.05, values[name].shape)).astype("float32")
        trial.state.load(values, source="noise")
        return trial

    return get


def validator(trial, pairs, **fields):
    config = make_config(**fields)
    return Validator(trial.state, config=config, runtime=trial.runtime, processor=Images(pairs))


def run(tested):
    with graphs_as_they_are():
        return tested.run()


@pytest.fixture(scope="module")
def validators(awake, pairs):
    """One on 1, 2 and 4 replicas, of the same awakened state."""
    return {n: validator(awake(replicas=n), pairs) for n in (1, 2, 4)}


@pytest.fixture(scope="module")
def figures(validators):
    return {n: run(tested) for n, tested in validators.items()}


def test_names(figures):
    names = {*(f"val_{name}" for name in LOSSES), "psnr", "ssim", "psnr_input", "ssim_input"}
    assert set(figures[1]) == names
    assert all(type(value) is float for value in figures[1].values())


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_have_the_figures_of_one(figures, replicas):
    for name, value in figures[1].items():
        assert figures[replicas][name] == pytest.approx(value, rel=1e-6), name


def test_psnr_and_ssim_are_scikit_images_on_the_restored_images(awake, figures, pairs):
    restore = make_restore(awake(replicas=2).state)
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
    restore = make_restore(trial.state)
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
    restore = make_restore(trial.state)
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
    """New iterators and sizes must not build the graph again: for big networks that takes half a minute."""
    trial = awake(replicas=2)
    before = [trial.copies(r) for r in range(2)]
    assert run(validators[2]) == figures[2]
    for replica in range(2):
        after = trial.copies(replica)
        assert all(before[replica][name].tobytes() == after[name].tobytes() for name in after)
    assert validators[2]._evaluate.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("count", [1, 3])
def test_max_val_pictures_takes_the_first_images(awake, validators, pairs, count):
    """Neither number is a multiple of the two replicas: the images that are added must not count."""
    few = validator(awake(replicas=2), pairs, data__max_val_pictures=count)
    few._evaluate = validators[2]._evaluate  # traced already
    assert few.num_images == count
    wanted = np.mean([peak_signal_noise_ratio(clear, hazy, data_range=255) for hazy, clear in pairs[:count]])
    assert run(few)["psnr_input"] == pytest.approx(wanted, abs=1e-6)


def test_an_image_without_error_has_100_db(awake, validators, pairs):
    clear = pairs[0][1]
    tested = validator(awake(replicas=1), [(clear, clear), pairs[1]])
    tested._evaluate = validators[1]._evaluate  # traced already
    figures = run(tested)
    wanted = peak_signal_noise_ratio(pairs[1][1], pairs[1][0], data_range=255)
    assert figures["psnr_input"] == pytest.approx((psnr_ssim.PSNR_LIMIT + wanted) / 2, abs=1e-6)
    assert figures["ssim_input"] <= 1.0


def test_groups_share_the_images(awake, pairs):
    """Two groups of two replicas: each group's images, in the order of its replicas."""
    trial = awake(replicas=2)
    seen = []
    for group in (0, 1):
        runtime = types.SimpleNamespace(
            strategy=trial.runtime.strategy, devices=("CPU:0", "CPU:1"), replicas=4, group=group
        )
        tested = Validator(trial.state, config=make_config(), runtime=runtime, processor=Images(pairs))
        for batch in tested._dataset():
            seen.append((group, tuple(batch["hazy"].shape[1:3]), float(batch["weight"])))
    sizes = [*SIZES, *SIZES[:3]]  # filled up to 8 with images that count nothing
    wanted = [(group, sizes[i], float(i < 5)) for group in (0, 1) for i in range(8) if (i % 4) // 2 == group]
    assert seen == wanted
