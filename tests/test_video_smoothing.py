"""Videos do not flicker: estimates follow slowly, start anew at a cut, and leave details and moving objects alone."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import flicker
from hazeheal.data.synthesis.synthetic_pairs import make_pair
from hazeheal.inference.video import smoothing
from hazeheal.inference.video.cuts import CutDetector
from hazeheal.inference.video.smoothing import MapSmoother, block_means, enlarged, restore_smoothly

SIZE = (72, 128)
VIEW = 64


def scene(index, *, hazy=True, side=256):
    return Image.fromarray(make_pair(index, size=side, seed=5)[0 if hazy else 1])


class Views:
    """A generator with a view, whose K and B jump from frame to frame, and differ from place to place."""

    view_size = VIEW

    def __init__(self, jumps=0.04, channels=6):
        self.random, self.jumps, self.channels = np.random.default_rng(0), jumps, channels

    def estimate(self, image):
        rows, columns = np.mgrid[:VIEW, :VIEW] / VIEW
        k = 0.4 + 0.1 * np.sin(40 * rows) + self.jumps * self.random.uniform(-1, 1)
        b = 0.1 + 0.1 * columns + self.jumps * self.random.uniform(-1, 1)
        parts = [k, k, k, b, b, b] if self.channels == 6 else [b, b, b]
        return [np.stack(np.broadcast_arrays(*parts), -1).astype(np.float32)]

    def apply(self, maps, image):
        x, white = image.astype(np.float32), np.iinfo(image.dtype).max
        x, total = 2 * x / white - 1, 0
        for part in maps:
            part = enlarged(part, *image.shape[:2])
            y = x + part if part.shape[2] == 3 else x + part[..., :3] * x - part[..., 3:]
            total = total + np.clip((y + 1) / 2, 0, 1)
        return np.rint(white * total / len(maps)).astype(image.dtype)

    def restore_all(self, images):
        for image in images:
            yield self.apply(self.estimate(image), image)


class Images(Views):
    """The same without a view: it only returns images."""

    view_size = 0


def smooth(restorer, clip):
    return list(flicker.smooth(restorer, clip))


CLIPS = {
    "pan": lambda size: flicker.pan(scene(0), size=size, frames=40),
    "zoom": lambda size: flicker.zoom(scene(1), size=size, frames=40),
    "fade": lambda size: flicker.fade(scene(2, hazy=False), size=size, frames=40),
}


@pytest.mark.parametrize("size", [SIZE, (96, 160)])
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("make", [Views, Images, lambda: Views(channels=3)], ids=["K and B", "images", "residual"])
def test_brightness_moves_at_most_twice_as_much(make, clip, size):
    before = flicker.movement(CLIPS[clip](size))
    alone = flicker.movement(make().restore_all(CLIPS[clip](size)))
    video = flicker.movement(smooth(make(), CLIPS[clip](size)))
    assert alone[0] > 2.5 * before[0], "the frames alone must flicker"
    assert video[0] < 2 * before[0]
    assert video[1] < 2.5 * before[1]


@pytest.mark.parametrize("name", ["best", "fast", "gan"])
def test_the_shipped_networks_do_not_flicker(name):
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.restorer import Restorer

    restorer = Restorer(open_model(name))
    before = flicker.movement(flicker.pan(scene(0), size=SIZE, frames=15))
    video = flicker.movement(flicker.smooth(restorer, flicker.pan(scene(0), size=SIZE, frames=15)))
    assert video[0] < 2 * before[0]
    # The first frame is what the network alone makes of it.
    first = next(flicker.pan(scene(0), size=SIZE))
    alone = next(restorer.restore_all([first])).astype(int)
    assert np.abs(next(iter(flicker.smooth(restorer, [first]))) - alone).max() <= 1


class Repeats(Views):
    """A generator whose estimate depends on the frame alone."""

    def estimate(self, image):
        self.random = np.random.default_rng(int(image.sum()))
        return super().estimate(image)


class RepeatsImages(Repeats):
    view_size = 0


@pytest.mark.parametrize("make", [Repeats, RepeatsImages])
def test_a_cut_starts_anew(make):
    before = list(flicker.pan(scene(0), size=SIZE, frames=20))
    after = list(flicker.pan(scene(3), size=SIZE, frames=10))
    restored, fresh = smooth(make(), before + after)[20:], smooth(make(), after)
    for one, other in zip(restored, fresh, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(fresh[0], next(make().restore_all(after)))
    assert any((a != b).any() for a, b in zip(fresh[1:], make().restore_all(after[1:]), strict=True))


def samples(frame):
    return 2 * block_means(frame, 64) / 255 - 1


def cuts(clip):
    detector = CutDetector()
    return [i for i, frame in enumerate(clip) if detector.is_cut(samples(frame))]


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)])
def test_cuts_are_found(pair):
    first, second = (list(flicker.pan(scene(i), size=SIZE, frames=12)) for i in pair)
    assert cuts(first + second) == [12]
    assert cuts(first + second[:4] + first) == [12, 16]
    assert cuts(first + [np.zeros_like(first[0])] * 5 + second) == [17], "over black"


@pytest.mark.parametrize("index", range(4))
def test_what_is_no_cut(index):
    image = scene(index)
    assert cuts(flicker.pan(image, size=SIZE)) == []
    assert cuts(flicker.pan(image, size=SIZE, frames=15)) == [], "a pan across the scene in half a second"
    assert cuts(flicker.zoom(image, size=SIZE)) == []
    assert cuts(flicker.fade(image, size=SIZE)) == []
    assert cuts(frame for frame, _ in flicker.crossing(image, size=SIZE)) == []
    assert cuts([np.full((72, 128, 3), 9, np.uint8)] * 5) == []
    clip = [frame.astype(float) for frame in flicker.pan(image, size=SIZE, frames=20)]
    for i, gain in ((5, 1.5), (9, 2.5), (10, 1.8), (15, 0.4)):
        clip[i] = clip[i] * gain + 30 * (gain > 1)
    flashes = [np.clip(frame, 0, 255).astype(np.uint8) for frame in clip]
    assert cuts(flashes) == [], "flashes"
    noise = np.random.default_rng(0)
    assert cuts(np.clip(f + noise.normal(0, 12, f.shape), 0, 255).astype(np.uint8) for f in clip[:4]) == []


def test_details_are_those_of_the_frame():
    # Within a cell the maps stay as they are: only their coarse means are smoothed.
    generator, smoother = Views(), MapSmoother()
    frames = list(flicker.pan(scene(0), size=SIZE, frames=10))
    for i, frame in enumerate(frames):
        (maps,) = generator.estimate(frame)
        (smoothed,) = smoother([maps.copy()], frame, i / 25)
        apart = smoothed - maps
        fine = apart - enlarged(block_means(apart, smoothing.CELLS), VIEW, VIEW)
        assert np.abs(fine).max() < 0.02 * max(0.1, np.abs(apart).max())
    assert np.abs(apart).max() > 0.01, "something was smoothed"


def test_a_moving_object_leaves_no_trace():
    class Sees(Views):
        """Estimates K and B from what is at each place, as networks do around objects."""

        def estimate(self, image):
            small = block_means(image, VIEW) / 255
            small = enlarged(small, VIEW, VIEW)
            return [np.concatenate([0.2 + 0.2 * small, 0.3 * small - 0.1], -1).astype(np.float32)]

    image = scene(1)
    still = flicker.view(image, share=1, across=0.5, size=SIZE)
    alone = next(Sees().restore_all([still])).astype(float)
    clip, left = zip(*flicker.crossing(image, size=SIZE), strict=True)
    restored = smooth(Sees(), clip)
    rows = slice(SIZE[0] // 3, 2 * SIZE[0] // 3)
    behind = [
        np.abs((frame[rows, columns] - alone[rows, columns]).mean())
        for frame, columns in list(zip(restored, left, strict=True))[15:]
    ]
    assert max(behind) < 6
    edges = [np.abs(np.diff(frame[40].astype(float), axis=0)).max() for frame in restored[15:45]]
    plain = [np.abs(np.diff(frame[40].astype(float), axis=0)).max() for frame in Sees().restore_all(clip[15:45])]
    assert np.abs(np.subtract(edges, plain)).max() < 12, "its edges stay sharp"


def test_a_still_scene_hardly_moves():
    frame = np.asarray(scene(0).resize((128, 72)))
    restored = smooth(Views(jumps=0.2), [frame] * 50)
    assert flicker.movement(restored)[1] < 0.1
    assert flicker.movement(Views(jumps=0.2).restore_all([frame] * 50))[0] > 10


def test_time_counts_in_seconds_and_not_in_frames():
    class Steps(Views):
        """B jumps once, at half a second."""

        time = 0.0

        def estimate(self, image):
            maps = np.zeros((VIEW, VIEW, 6), np.float32)
            maps[..., 3:] = -0.4 if self.time > 0.5 else 0.0
            return [maps]

    frame = np.asarray(scene(0).resize((64, 48)))
    frames = [np.clip(frame, 4, 150) + np.uint8(4 * (i % 2)) for i in (0, 1)]  # whose brightness moves

    def level_after(seconds, rate):
        generator = Steps()

        def clip():
            for i in range(int(seconds * rate) + 1):
                generator.time = i / rate
                yield i / rate, frames[i % 2]

        *_, last = restore_smoothly(clip(), generator)
        return last.mean() - frames[int(seconds * rate) % 2].mean()

    levels = [level_after(2.0, rate) for rate in (10, 25, 50)]
    assert np.ptp(levels) < 2, "the same at every rate"
    assert 10 < levels[0] < 40, "on its way: a change of 51 levels, 1.5 s after it"
    assert level_after(12.0, 10) == pytest.approx(51, abs=3)


@pytest.mark.parametrize("make", [Views, Images])
def test_more_bits_and_small_sizes(make):
    clip = [(i / 25, np.full((3, 5, 3), 20000 + i, np.uint16)) for i in range(4)]
    restored = list(restore_smoothly(clip, make()))
    assert [image.dtype for image in restored] == [np.uint16] * 4
    assert [image.shape for image in restored] == [(3, 5, 3)] * 4
    assert np.ptp([image.mean() for image in restored]) < 2000


def test_an_affine_change_without_jumps_is_left_alone():
    class Fixed(Images):
        def restore_all(self, images):
            for image in images:
                yield np.rint(np.clip(1.3 * image.astype(float) - 40, 0, 255)).astype(np.uint8)

    bright = np.clip(np.asarray(scene(0), float), 60, 220).astype(np.uint8)  # without clipping
    clip = list(flicker.pan(Image.fromarray(bright), size=SIZE, frames=30))
    restored, alone = smooth(Fixed(), clip), list(Fixed().restore_all(clip))
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(restored, alone, strict=True)) <= 2


def test_block_means_and_enlargement():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    np.testing.assert_allclose(block_means(image, (6, 9)), image.reshape(6, 10, 9, 10, 3).mean((1, 3)), rtol=1e-5)
    np.testing.assert_allclose(block_means(image, 1)[0, 0], image.mean((0, 1)), rtol=1e-5)
    assert block_means(image[:3, :2], 64).shape == (3, 2, 3)
    cells = np.random.default_rng(1).normal(size=(8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(enlarged(cells, 8, 8), cells, atol=1e-6)
    flat = np.ones((4, 4, 1), np.float32)
    np.testing.assert_allclose(enlarged(flat, 50, 70), np.ones((50, 70, 1)), atol=1e-6)
    ramp = enlarged(np.arange(4, dtype=np.float32).reshape(1, 4, 1), 2, 8)[0, :, 0]
    np.testing.assert_allclose(ramp, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-6)
