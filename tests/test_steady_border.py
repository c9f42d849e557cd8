"""The border of a film does not flicker: it outlasts dark scenes, fades and subtitles, and changes with the film."""

import numpy as np
import pytest
from test_borders import BLACK, WHITE, in_circle, scene, with_bars
from test_video_smoothing import Images, Views

from hazeheal.inference.borders import find_border
from hazeheal.inference.video.smoothing import restore_smoothly
from hazeheal.inference.video.steady_border import SteadyBorder

HEIGHT, WIDTH, BAR = 120, 200, 20


def letterboxed(image, color=BLACK, bar=BAR):
    return with_bars(image, color, top=bar, bottom=bar)


def noisy(frame, index):
    random = np.random.default_rng(index)
    return np.clip(frame.astype(int) + random.integers(-2, 3, frame.shape), 0, 255).astype(np.uint8)


def rows(frames):
    find = SteadyBorder()
    return [None if border is None else (border.rows.start, border.rows.stop) for border in map(find, frames)]


def test_bars_stay_in_the_dark():
    picture = scene(HEIGHT, WIDTH)
    frames = [
        noisy(letterboxed((picture * share).astype(np.uint8)), i) for i, share in enumerate([1, 0.5, 0.02, 0, 0.6])
    ]
    assert find_border(frames[2]) is None
    assert rows(frames) == [(BAR, BAR + HEIGHT)] * 5


def test_bars_stay_under_a_subtitle():
    frame = letterboxed(scene(HEIGHT, WIDTH), bar=44)
    subtitled = frame.copy()
    subtitled[-44:-24, 40:160:2] = 255  # touches the content
    assert find_border(subtitled).rows.stop > 44 + HEIGHT
    assert rows([frame, subtitled, frame]) == [(44, 44 + HEIGHT)] * 3


def test_a_film_without_bars_gets_none_by_a_fade():
    picture = scene(HEIGHT, WIDTH)
    frames = [(picture * share).astype(np.uint8) for share in (1, 0.5, 0.03, 0, 0, 0.03, 1)]
    assert rows(frames) == [None] * 7
    frames = [np.full_like(picture, 255), *(255 - frame for frame in frames)]
    assert rows(frames) == [None] * 8


def test_bars_change_with_the_film():
    one, other = scene(HEIGHT + 20, WIDTH), scene(HEIGHT, WIDTH)
    frames = [
        letterboxed(one, bar=BAR - 10),
        letterboxed(other),
        letterboxed(one, bar=BAR - 10),
        scene(HEIGHT + 40, WIDTH),
    ]
    narrow, wide = (BAR - 10, BAR + HEIGHT + 10), (BAR, BAR + HEIGHT)
    assert rows(frames) == [narrow, wide, narrow, None]
    # The noise of one line is no change.
    assert rows([letterboxed(other), letterboxed(other[1:-1], bar=BAR + 1)]) == [wide, wide]


def test_frames_of_other_sizes_start_anew():
    small = letterboxed(scene(HEIGHT // 2, WIDTH // 2), bar=BAR)
    assert rows([letterboxed(scene(HEIGHT, WIDTH)), small, small[::2]])[1] == (BAR, BAR + HEIGHT // 2)


@pytest.mark.parametrize("make", [Views, Images])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("border", [lambda image: letterboxed(image), lambda image: in_circle(image, WHITE)[0]])
def test_a_film_in_a_border_is_restored_as_without_it(make, dtype, border):
    unit = np.iinfo(dtype).max // 255
    pictures = [noisy(scene(HEIGHT, WIDTH), i) for i in range(12)]
    frames = [(i / 25, border(picture).astype(dtype) * unit) for i, picture in enumerate(pictures)]
    found = find_border(frames[0][1])
    contents = [(time, found.content(frame)) for time, frame in frames]
    restored = list(restore_smoothly(frames, make()))
    outside = found.outside(frames[0][1].shape)
    for (_, frame), result, wanted in zip(frames, restored, restore_smoothly(contents, make()), strict=True):
        np.testing.assert_array_equal(result[outside], frame[outside])
        result = result[found.rows, found.columns]
        assert (result != frame[found.rows, found.columns]).any()
        if found.valid is not None:
            result, wanted = result[found.valid], wanted[found.valid]
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("make", [Views, Images])
def test_a_fade_to_black_is_that_of_the_pictures_alone(make):
    picture, shares = scene(HEIGHT, WIDTH), np.clip(np.linspace(1.2, -0.2, 40), 0, 1)
    frames = [(i / 25, letterboxed((picture * share).astype(np.uint8))) for i, share in enumerate(shares)]
    alone = [(time, frame[BAR:-BAR]) for time, frame in frames]
    for result, wanted in zip(restore_smoothly(frames, make()), restore_smoothly(alone, make()), strict=True):
        np.testing.assert_array_equal(result, letterboxed(wanted))
