"""Uniform borders are found, the network does not see them, and they stay as they are; skies and silhouettes are none."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_restorer import LOCAL, make_gan, noise
from test_view import FIELDS

from hazeheal.inference.borders import find_border
from hazeheal.inference.restorer import Restorer

HEIGHT, WIDTH = 240, 330
BLACK, WHITE, GRAY, BLUE = (0, 0, 0), (255, 255, 255), (128, 128, 128), (40, 60, 90)


def scene(height=HEIGHT, width=WIDTH, *, low=70, high=200, seed=1):
    """An image of smooth and rough parts, apart from black and white."""
    return np.rint(low + (high - low) * (noise(height, width, seed=seed) / 255)).astype(np.uint8)


def jpeg(image, quality):
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data).convert("RGB"))


def with_bars(image, color, *, top=0, bottom=0, left=0, right=0):
    whole = np.empty((image.shape[0] + top + bottom, image.shape[1] + left + right, 3), image.dtype)
    whole[:] = np.asarray(color, image.dtype) * (np.iinfo(image.dtype).max // 255)
    whole[top : top + image.shape[0], left : left + image.shape[1]] = image
    return whole


def on(background, image, mask):
    """An image on a color, through a mask with soft edges, and where it covers half of a pixel or more."""
    share = np.asarray(mask, np.float32)[..., np.newaxis] / 255
    return np.rint(share * image + (1 - share) * np.asarray(background)).astype(np.uint8), share[..., 0] >= 0.5


def rotated(image, color, angle):
    """A rotated image in the frame of the unrotated one."""
    turned = Image.fromarray(image).convert("RGBA").rotate(angle, Image.Resampling.BICUBIC)
    return on(color, np.asarray(turned)[..., :3], turned.getchannel("A"))


def in_circle(image, color):
    height, width = image.shape[:2]
    mask, radius = Image.new("L", (4 * width, 4 * height)), 2 * height - 8
    middle = 2 * width, 2 * height
    ImageDraw.Draw(mask).ellipse([c - radius for c in middle] + [c + radius for c in middle], fill=255)
    return on(color, image, mask.resize((width, height), Image.Resampling.BOX))


def outside(image):
    border = find_border(image)
    return None if border is None else border.outside(image.shape)


@pytest.mark.parametrize("quality", [None, 90, 75])
@pytest.mark.parametrize("color", [BLACK, WHITE, GRAY, BLUE])
@pytest.mark.parametrize(
    "bars",
    [
        *({"top": 36, "bottom": 36}, {"left": 41}, {"right": 50}, {"bottom": 13}),
        {"top": 30, "bottom": 45, "left": 20, "right": 20},
    ],
    ids=str,
)
def test_bars_are_found_to_the_line(bars, color, quality):
    # Smooth content: its level differs from gray along the whole edge.
    image = with_bars(scene(low=150, high=230) if color != WHITE else scene(), color, **bars)
    image = image if quality is None else jpeg(image, quality)
    border = find_border(image)
    assert border.valid is None
    top, left = bars.get("top", 0), bars.get("left", 0)
    assert (border.rows, border.columns) == (slice(top, top + HEIGHT), slice(left, left + WIDTH))


def test_bars_of_two_colors_and_bits():
    image = np.asarray(scene(), np.uint16) * 257
    image = with_bars(with_bars(image, WHITE, left=20, right=20), BLACK, top=30, bottom=30)
    border = find_border(image)
    assert (border.rows, border.columns, border.valid) == (slice(30, 30 + HEIGHT), slice(20, 20 + WIDTH), None)


def test_a_bar_beside_dark_content_is_found_by_the_one_opposite():
    content = scene()
    content[-40:, : WIDTH * 2 // 3] = 3
    border = find_border(with_bars(content, BLACK, top=30, bottom=30))
    assert border.rows == slice(30, 30 + HEIGHT)


@pytest.mark.parametrize("color", [BLACK, WHITE])
@pytest.mark.parametrize("angle", [4, 20, -33])
def test_the_collar_of_a_rotated_scene_is_found_to_the_pixel(angle, color):
    image, content = rotated(scene(), color, angle)
    found = ~outside(image)
    assert (~content).mean() > 0.03
    is_color = (image == color).all(-1)
    assert not (found & is_color).any(), "no stripe of the collar is restored"
    assert (found | is_color).all(), "and all of the content is"


@pytest.mark.parametrize("color", [BLACK, WHITE])
@pytest.mark.parametrize("make", [lambda image, color: rotated(image, color, 15), in_circle], ids=["collar", "fisheye"])
@pytest.mark.parametrize("quality", [90, 75])
def test_collars_in_jpeg_files(make, color, quality):
    image, content = make(scene(480, 660), color)
    found = ~outside(jpeg(image, quality))
    assert (content & ~found).sum() < 0.01 * content.sum()
    assert (found & ~content).sum() < 0.02 * (~content).sum()


def test_a_surround_is_found_with_what_is_written_on_it():
    image, content = in_circle(scene(), BLACK)
    image[5:12, 5:40] = 200
    np.testing.assert_array_equal(outside(image), (image == 0).all(-1) | (~content & (image == 200).all(-1)))


def test_one_black_corner_is_a_collar():
    image = scene()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    cut = 2 * rows + columns < 160
    image[cut] = 0
    np.testing.assert_array_equal(outside(image), cut)


@pytest.mark.parametrize("value", [(0, 0, 0), (255, 255, 255), (90, 120, 140)])
def test_an_image_of_one_color_is_all_border(value):
    image = np.full((60, 80, 3), value, np.uint8)
    assert outside(image).all()
    image[::2, ::3] -= np.uint8(image[0, 0] > 0)
    assert outside(image).all(), "within the noise"


def skyline(sky, *, ragged=True, soft=0):
    """A scene below a sky `[H, 1, 3]` or of one color."""
    random, image = np.random.default_rng(5), scene(low=30, high=140)
    top = 90 + np.repeat(random.integers(-25, 25, WIDTH // 10 + 1), 10)[:WIDTH] * ragged
    share = np.clip((np.arange(HEIGHT)[:, np.newaxis] - top) / max(soft, 0.5), 0, 1)[..., np.newaxis]
    return np.rint(share * image + (1 - share) * sky).astype(np.uint8)


FALSE = {
    "even gray sky above a skyline": lambda: skyline(np.array(GRAY) + 50),
    "blown-out sky above a skyline": lambda: skyline(np.array(WHITE)),
    "sky that fades into fog": lambda: skyline(np.array(WHITE), ragged=False, soft=60),
    "sky with a gradient": lambda: skyline(np.linspace(200, 150, HEIGHT).reshape(-1, 1, 1), ragged=False),
    "dark silhouette": lambda: 255 - skyline(np.array(WHITE))[::-1],
    "night sky": lambda: skyline(np.array(BLACK)),
    "a dark corner that is no triangle": lambda: np.where(
        (np.hypot(*np.mgrid[:HEIGHT, :WIDTH]) < 120)[..., np.newaxis], 0, scene()
    ).astype(np.uint8),
    "blown-out corner": lambda: np.where(
        (np.add(*np.mgrid[:HEIGHT, :WIDTH]) < 120)[..., np.newaxis], 255, scene()
    ).astype(np.uint8),
    "no sky": scene,
    "even fog": lambda: np.rint(np.random.default_rng(0).normal(180, 1.5, (HEIGHT, WIDTH, 3))).astype(np.uint8),
    "two halves": lambda: with_bars(np.full((60, 120, 3), 255, np.uint8), BLACK, top=60),
}


@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize("name", FALSE)
def test_a_sky_and_a_silhouette_are_no_border(name, quality):
    image = FALSE[name]()
    assert find_border(image if quality is None else jpeg(image, quality)) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (15, 400), (16, 16), (17, 3000), (5000, 16)])
@pytest.mark.parametrize("color", [None, BLACK, WHITE])
def test_small_and_long_images(size, color):
    image = scene(*size)
    if color is not None:
        image[size[0] // 2 :] = color
    border = find_border(image)
    assert border is None or border.content(image).size


@pytest.mark.parametrize("seed", range(300))
def test_any_image_has_a_border_with_content_or_none(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 90, 2)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = random.integers(0, 256, 3) if seed % 2 else random.choice([0, 20, 255])
    for _ in range(random.integers(0, 4)):
        top, left = random.integers(0, height), random.integers(0, width)
        part = image[top : random.integers(top, height) + 1, left : random.integers(left, width) + 1]
        # Noise around one level, often one that hardly differs.
        part[:] = np.clip(
            random.normal(random.choice([6, 16, 130, 250]), random.choice([0, 2, 30]), part.shape), 0, 255
        )
    image = image if seed % 3 else image.astype(np.uint16) * 257
    border = find_border(image)
    if border is not None:
        content = border.content(image)
        assert content.size and border.outside(image.shape).any()
        assert border.valid is None or border.valid.shape == content.shape[:2]
        np.testing.assert_array_equal(border.around(image[border.rows, border.columns].copy(), image), image)


@pytest.fixture(scope="module")
def gans():
    return {"view": make_gan(**FIELDS), "tiles": make_gan(**LOCAL)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("settings", [{}, {"mirror": True}, {"strength": 0.5}, {"tile_size": 128}], ids=str)
@pytest.mark.parametrize("kind", ["view", "tiles"])
def test_within_bars_is_the_result_of_the_picture_alone(gans, kind, settings, dtype):
    restorer = Restorer(gans[kind], **{"tile_size": 448} | settings)
    picture = scene(96, 130).astype(dtype) * (np.iinfo(dtype).max // 255)
    bars = {"top": 12, "bottom": 12, "left": 20}
    restored = next(restorer.restore_all([picture] * 4))
    assert (restored != picture).any()
    # Among others in a batch, in any order.
    images = [picture, with_bars(picture, BLACK, **bars), with_bars(picture, GRAY, **bars), picture]
    results = list(restorer.restore_all(images))
    for result, color in zip(results[1:3], (BLACK, GRAY), strict=True):
        np.testing.assert_array_equal(result, with_bars(restored, color, **bars))
    for result in (results[0], results[3]):
        np.testing.assert_array_equal(result, restored)
    # One image is summed in another order than a batch on some CPUs: 16 bits show that in the last.
    assert np.abs(restorer.restore(picture).astype(int) - restored).max() <= (0 if dtype is np.uint8 else 1)


@pytest.mark.parametrize("kind", ["view", "tiles"])
@pytest.mark.parametrize("make", [lambda image: rotated(image, BLACK, 15), lambda image: in_circle(image, WHITE)])
def test_within_a_collar_is_the_result_of_the_filled_picture(gans, kind, make):
    restorer = Restorer(gans[kind], tile_size=448)
    image, _ = make(scene(120, 160))
    border = find_border(image)
    outside, within = border.outside(image.shape), (border.rows, border.columns)
    content, result = border.content(image), restorer.restore(image)
    np.testing.assert_array_equal(result[outside], image[outside])
    np.testing.assert_array_equal(result[within][border.valid], restorer.restore(content)[border.valid])
    assert (result[within] != image[within])[border.valid].any()
    # The content itself, and around it colors like those at its edge.
    np.testing.assert_array_equal(content[border.valid], image[within][border.valid])
    assert content[~border.valid].min() > 60
    assert content[~border.valid].max() < 210


def test_an_image_of_one_color_stays(gans):
    for value in (0, 90, 255):
        image = np.full((40, 60, 3), value, np.uint8)
        np.testing.assert_array_equal(Restorer(gans["view"]).restore(image), image)


def test_an_image_without_a_border_does_not_change(gans, monkeypatch):
    images = [scene(50, 70), scene(1, 1), skyline(np.array(WHITE))]
    restorer = Restorer(gans["view"])
    results = list(restorer.restore_all(images))
    monkeypatch.setattr("hazeheal.inference.restorer.find_border", lambda image: None)
    for result, wanted in zip(results, restorer.restore_all(images), strict=True):
        np.testing.assert_array_equal(result, wanted)
