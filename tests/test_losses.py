"""The losses against numpy, their gradients, their scale, and one entry an image."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.training.step import losses


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


A, B = images(3, 9, 20, 3), images(3, 9, 20, 3, seed=1)


def test_charbonnier_is_the_designs_formula():
    mask = np.random.default_rng(2).uniform(0, 1, (3, 9, 20, 1))
    c = np.sqrt((A.astype("float64") - B) ** 2 + 1e-6)
    wide = np.broadcast_to(mask, c.shape)
    wanted = [0.7 * c[i].mean() + 0.3 * (wide[i] * c[i]).sum() / wide[i].sum() for i in range(3)]
    out = losses.charbonnier(A, B, mask=mask)
    assert out.dtype == tf.float32
    np.testing.assert_allclose(out, wanted, rtol=1e-5)
    np.testing.assert_allclose(losses.charbonnier(A, B, mask=mask, haze_share=0.0), c.mean((1, 2, 3)), rtol=1e-5)
    half = losses.charbonnier(A, B, mask=mask, eps=0.1, haze_share=0.5)
    c = np.sqrt((A.astype("float64") - B) ** 2 + 0.01)
    wanted = [0.5 * c[i].mean() + 0.5 * (wide[i] * c[i]).sum() / wide[i].sum() for i in range(3)]
    np.testing.assert_allclose(half, wanted, rtol=1e-5)


def test_charbonnier_of_a_uniform_error_does_not_depend_on_the_mask():
    """Both terms are means of the same c: the mask moves attention, not scale."""
    mask = np.random.default_rng(2).uniform(0.1, 1, (3, 9, 20, 1))
    np.testing.assert_allclose(losses.charbonnier(A, A + 0.5, mask=mask), 0.5, rtol=1e-4)


def test_charbonnier_without_any_haze_is_finite():
    np.testing.assert_allclose(losses.charbonnier(A, A, mask=np.zeros((3, 9, 20, 1))), 0.7e-3, rtol=1e-4)


def test_charbonnier_gradient_against_central_differences():
    """Also where the two are equal: there the plain square root would give NaN at eps = 0."""
    clear = B.copy()
    clear[0, 0, 0, 0] = A[0, 0, 0, 0]
    mask = np.random.default_rng(2).uniform(0, 1, (3, 9, 20, 1))
    x = tf.constant(A)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(losses.charbonnier(x, clear, mask=mask, eps=0.1))
    gradient = tape.gradient(loss, x).numpy()
    assert gradient[0, 0, 0, 0] == 0

    def value(a):
        c = np.sqrt((a - clear.astype("float64")) ** 2 + 0.01)
        weighted = (mask * c).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)) + 3e-6)
        return (0.7 * c.mean((1, 2, 3)) + 0.3 * weighted).sum()

    for index in [(0, 0, 0, 0), (1, 2, 3, 2), (2, 8, 19, 1)]:
        step = np.zeros(A.shape)
        step[index] = 1e-6
        numeric = (value(A + step) - value(A - step)) / 2e-6
        assert gradient[index] == pytest.approx(numeric, rel=1e-3, abs=1e-9)


def test_squared_error_is_haze_aware_and_its_logarithm_is_the_psnr():
    mask = np.random.default_rng(2).uniform(0, 1, (3, 9, 20, 1))
    squares = (A.astype("float64") - B) ** 2
    wide = np.broadcast_to(mask, squares.shape)
    wanted = [0.7 * squares[i].mean() + 0.3 * (wide[i] * squares[i]).sum() / wide[i].sum() for i in range(3)]
    np.testing.assert_allclose(losses.squared_error(A, B, mask=mask), wanted, rtol=1e-5)
    scale = 1e-6
    uniform = losses.squared_error(A, B, mask=mask, haze_share=0.0)
    psnr = 10 * np.log10(4 / squares.mean((1, 2, 3)))  # images in [-1, 1]
    logarithm = losses.logarithmic(uniform, scale=scale) / scale
    np.testing.assert_allclose(psnr, 10 / np.log(10) * (np.log(4 / scale) - logarithm), rtol=1e-4)


def test_the_logarithm_of_a_loss_weighs_large_losses_less():
    loss = tf.constant([0.0, 1e-6, 0.03, 0.3])
    with tf.GradientTape() as tape:
        tape.watch(loss)
        out = losses.logarithmic(loss, scale=0.03)
    np.testing.assert_allclose(out, [0, 1e-6, 0.03 * np.log(2), 0.03 * np.log(11)], rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(out, loss), [1, 1, 1 / 2, 1 / 11], rtol=1e-4)


def test_difference_mask_is_largest_where_the_haze_is():
    clear = images(2, 6, 6, 3) * 0.3
    hazy = clear.copy()
    hazy[0, 2, 3] += 0.5
    hazy[0, 4, 4] += 0.25
    mask = losses.haze_mask(hazy, clear).numpy()
    assert mask.shape == (2, 6, 6, 1) and mask.dtype == np.float32
    assert mask[0, 2, 3, 0] == pytest.approx(1, abs=1e-4)
    assert mask[0, 4, 4, 0] == pytest.approx(0.5, abs=1e-4)
    assert np.count_nonzero(mask[0] > 1e-3) == 2
    assert mask[1].max() == 0, "equal images have no haze"


@pytest.mark.parametrize("shape", [(2, 33, 40, 3), (1, 5, 7, 3)])
def test_dark_channel_mask_equals_scipys_minimum_filter(shape):
    from scipy.ndimage import minimum_filter

    hazy = images(*shape)
    mask = losses.haze_mask(hazy, hazy, kind="dark_channel").numpy()
    for i, image in enumerate(hazy):
        dark = minimum_filter(((image + 1) / 2).min(axis=-1), size=15, mode="constant", cval=9)
        np.testing.assert_allclose(mask[i, ..., 0], dark / (dark.max() + 1e-6), atol=1e-6)
    assert mask.min() >= 0 and mask.max() <= 1


def test_no_gradient_passes_through_the_mask():
    x = tf.constant(A)
    for kind in losses.MASKS:
        with tf.GradientTape() as tape:
            tape.watch(x)
            mask = losses.haze_mask(x, B, kind=kind)
        assert tape.gradient(mask, x) is None
    with pytest.raises(ValueError, match="'fog'"):
        losses.haze_mask(A, B, kind="fog")


def test_perceptual_is_the_mean_absolute_difference():
    wanted = np.abs(A.astype("float64") - B).mean((1, 2, 3))
    out = losses.perceptual(tf.cast(A, tf.float32), B)
    np.testing.assert_allclose(out, wanted, rtol=1e-5)
    # float16 features of 60000 and more sum to what float16 cannot hold
    big = tf.fill([1, 8, 8, 4], tf.cast(60000.0, tf.float16))
    np.testing.assert_allclose(losses.perceptual(big, -big), 2 * 59999, rtol=1e-3)


def test_adversarial_losses_are_cross_entropy_from_logits():
    real, fake = (
        4 * images(2, 3, 3, 1).astype("float64"),
        4 * images(2, 3, 3, 1, seed=1).astype("float64"),
    )

    def bce(logits, target):
        p = 1 / (1 + np.exp(-logits))
        return -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean((1, 2, 3))

    np.testing.assert_allclose(losses.generator_adversarial(fake), bce(fake, 1), rtol=1e-5)
    np.testing.assert_allclose(losses.discriminator(real, fake), bce(real, 1) + bce(fake, 0), rtol=1e-5)
    zero = np.zeros((2, 3, 3, 1))
    np.testing.assert_allclose(losses.discriminator(zero, zero), 2 * np.log(2), rtol=1e-6)


def test_adversarial_losses_are_stable_at_large_logits():
    x = tf.constant([[[[1e4]]], [[[-1e4]]]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = losses.generator_adversarial(x)
    np.testing.assert_allclose(loss, [0, 1e4])
    np.testing.assert_allclose(tf.reshape(tape.gradient(loss, x), [-1]), [0, -1])
    np.testing.assert_allclose(losses.discriminator(x, x), [1e4, 1e4])


def test_a_nan_is_seen_in_its_own_image_and_nowhere_else():
    bad = A.copy()
    bad[1, 4, 5, 2] = np.nan
    good_mask = losses.haze_mask(A, B)
    own = [False, True, False]
    for name, value in {
        "restored": losses.charbonnier(bad, B, mask=good_mask),
        "clear": losses.charbonnier(A, bad, mask=losses.haze_mask(A, bad)),
        "hazy": losses.charbonnier(A, B, mask=losses.haze_mask(bad, B)),
        "perceptual": losses.perceptual(bad, B),
        "gan": losses.generator_adversarial(bad),
        "real": losses.discriminator(bad, B),
        "fake": losses.discriminator(A, bad),
    }.items():
        assert np.isnan(value).tolist() == own, name


def test_halves_add_up_to_the_whole_and_xla_agrees():
    """What makes replicas agree: each entry is a function of its own image alone."""

    def total(a, b):
        return losses.charbonnier(a, b, mask=losses.haze_mask(a, b, kind="dark_channel")) + losses.perceptual(a, b)

    whole = total(A, B)
    parts = tf.concat([total(A[:1], B[:1]), total(A[1:], B[1:])], axis=0)
    np.testing.assert_allclose(whole, parts, rtol=1e-6)
    np.testing.assert_allclose(tf.function(total, jit_compile=True)(A, B), whole, rtol=1e-5)


def test_any_float_type_is_reduced_in_float32():
    for dtype in (tf.bfloat16, tf.float16, tf.float64):
        a, b = tf.cast(A, dtype), tf.cast(B, dtype)
        out = losses.charbonnier(a, b, mask=losses.haze_mask(a, b))
        exact = losses.charbonnier(
            tf.cast(a, tf.float32), tf.cast(b, tf.float32), mask=losses.haze_mask(tf.cast(a, tf.float32), b)
        )
        assert out.dtype == tf.float32
        np.testing.assert_allclose(out, exact, rtol=1e-6)
