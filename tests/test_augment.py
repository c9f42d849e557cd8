"""Paired crops, mirroring and quarter turns: against NumPy, by their rates, in eager mode and in tf.data."""

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.data.pipeline import augment


def symmetries(image):
    """The eight symmetries in numpy: (turns, mirrored) -> image."""
    return {
        (turns, mirrored): np.rot90(image, turns)[:, ::-1] if mirrored else np.rot90(image, turns)
        for turns in range(4)
        for mirrored in (False, True)
    }


def which(image, found):
    names = [name for name, expected in symmetries(image).items() if np.array_equal(expected, found)]
    assert len(names) == 1
    return names[0]


IMAGE = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)


def orientations(count, **options):
    """[count] names of the symmetries drawn for seeds (7, 0), (7, 1), ..., through tf.data."""

    def draw(number):
        return augment.flip_rot90(IMAGE, IMAGE + 100, seed=tf.stack([7, number]), **options)

    names = []
    for hazy, clear in tf.data.Dataset.range(count).map(draw).as_numpy_iterator():
        np.testing.assert_array_equal(clear, hazy + 100)
        names.append(which(IMAGE, hazy))
    return names


def assert_rates(names, expected):
    """Each expected outcome about equally often (5 standard deviations), and no other."""
    counts = {name: names.count(name) for name in set(names)}
    assert set(counts) == set(expected)
    mean = len(names) / len(expected)
    for count in counts.values():
        assert abs(count - mean) < 5 * np.sqrt(mean), counts


def test_all_eight_symmetries_at_equal_rates():
    assert_rates(orientations(1600), [(turns, mirrored) for turns in range(4) for mirrored in (False, True)])


def test_only_rotations_and_only_mirroring():
    assert_rates(orientations(800, flip=False), [(turns, False) for turns in range(4)])
    assert_rates(orientations(400, rot90=False), [(0, False), (0, True)])
    assert_rates(orientations(5, rot90=False, flip=False), [(0, False)])


def test_eager_graph_and_repetition_agree():
    compiled = tf.function(lambda seed: augment.flip_rot90(IMAGE, IMAGE, seed=seed))
    for number in range(20):
        seed = tf.constant([3, number], tf.int64)
        eager = augment.flip_rot90(IMAGE, IMAGE, seed=[3, number])
        for found in (compiled(seed), augment.flip_rot90(IMAGE, IMAGE, seed=seed)):
            np.testing.assert_array_equal(found[0], eager[0])
            np.testing.assert_array_equal(found[1], eager[1])
    assert (np.arange(75).reshape(5, 5, 3) == IMAGE).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_dtype_and_shape_are_kept(dtype):
    hazy, clear = augment.flip_rot90(np.zeros([6, 6, 3], dtype), np.ones([6, 6, 1], dtype), seed=[0, 0])
    assert hazy.dtype == dtype and hazy.shape == (6, 6, 3) and clear.shape == (6, 6, 1)


def test_images_need_not_be_square_without_rot90():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    found = {augment.flip_rot90(image, image, seed=[0, n], rot90=False)[0].numpy().tobytes() for n in range(20)}
    assert found == {image.tobytes(), image[:, ::-1].tobytes()}


def test_crop_windows_are_uniform():
    # 3 x 5 windows of a 10 x 12 image, drawn in tf.data with tensors, 3000 times.
    def draw(number):
        return augment.random_crop_window(tf.constant(10), tf.constant(12), size=8, seed=tf.stack([1, number]))

    corners = [(int(y), int(x)) for y, x in tf.data.Dataset.range(3000).map(draw).as_numpy_iterator()]
    assert_rates(corners, [(y, x) for y in range(3) for x in range(5)])


def test_crop_window_at_its_limits():
    assert [int(v) for v in augment.random_crop_window(8, 8, size=8, seed=[0, 0])] == [0, 0]
    ys = {int(augment.random_crop_window(9, 8, size=8, seed=[0, n])[0]) for n in range(40)}
    assert ys == {0, 1}
    # A side too long for float32 to tell its pixels apart.
    y, x = augment.random_crop_window(2**26, 2**26, size=1, seed=[5, 5])
    assert 0 <= int(y) < 2**26 and 0 <= int(x) < 2**26


def test_all_bits_of_the_seed_are_used():
    """Neither word of the seed is ignored, nor its low or high bits."""
    base = [int(v) for v in augment.random_crop_window(10**6, 10**6, size=1, seed=[0, 0])]
    for seed in ([0, 1], [1, 0], [0, 2**40], [2**40, 0], [0, -1]):
        other = augment.random_crop_window(10**6, 10**6, size=1, seed=tf.constant(seed, tf.int64))
        assert [int(v) for v in other] != base
