"""Images of every kind become upright 8-bit RGB, and are written without changes.

Expected values come from numpy (scaling, orientation, a PNG writer of our own) and scikit-image (LAB, PSNR).
"""

import itertools
import os
import struct

import numpy as np
import PIL
import pytest
from image_files import GAMMA, GRAY, IMAGE, PALETTE, RGB, RGBA, exif, raw_png, saved, scene
from PIL import Image
from refusals import refusal
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from hazeheal.data.images.image_io import encode, load_rgb, save
from hazeheal.data.images.image_ops import psnr
from hazeheal.errors import DataError, OutputError, UsageError

EXACT = {  # file, expected image
    "rgb": (encode(RGB), RGB),
    "gray": (saved(GRAY, "PNG"), GRAY),
    "alpha is dropped": (saved(RGBA, "PNG"), RGB),
    "gray with alpha": (saved(Image.merge("LA", [Image.fromarray(GRAY)] * 2), "PNG"), GRAY),
    "alpha in TIFF": (saved(RGBA, "TIFF"), RGB),
    "palette": (saved(PALETTE, "PNG"), np.array(PALETTE.convert("RGB"))),
    "palette, one color transparent": (
        saved(PALETTE, "PNG", transparency=3),
        np.array(PALETTE.convert("RGB")),
    ),
    "palette, many transparent": (
        saved(PALETTE, "PNG", transparency=bytes(range(32))),
        np.array(PALETTE.convert("RGB")),
    ),
    "gif with transparency": (saved(PALETTE, "GIF", transparency=3), np.array(PALETTE.convert("RGB"))),
    "1-bit": (saved(Image.fromarray(GRAY > 99), "PNG"), (GRAY > 99) * np.uint8(255)),
    "4-bit": (raw_png(GRAY[..., None] // 16, depth=4, color=0), GRAY // 16 * 17),
    "interlaced": (raw_png(RGB, interlaced=True), RGB),
    "gamma is not applied": (raw_png(RGB, extra=GAMMA), RGB),
    "16-bit color": (raw_png(RGB.astype(np.uint16) * 257, depth=16), RGB),
    "CMYK": (saved(IMAGE.convert("CMYK"), "TIFF"), RGB),
    "webp": (saved(RGB, "WEBP", lossless=True), RGB),
    "bmp": (saved(RGB, "BMP"), RGB),
    "ppm": (saved(RGB, "PPM"), RGB),
    "tga": (saved(RGB, "TGA"), RGB),
    "jpeg 2000": (saved(RGB, "JPEG2000"), RGB),
}


@pytest.mark.parametrize("name", EXACT)
def test_conversion_is_exact(name):
    data, expected = EXACT[name]
    image, _ = load_rgb(data)
    assert (image.dtype, image.shape[2], image.flags.c_contiguous) == (np.uint8, 3, True)
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    np.testing.assert_array_equal(image, expected)
    image[0, 0] = 0  # the array is the caller's own


WIDE = np.array([[0, 1, 128, 129, 257, 4095], [4096, 32767, 32768, 65278, 65407, 65535]], np.uint16)


@pytest.mark.parametrize(
    "data",
    [
        saved(WIDE, "PNG"),
        saved(WIDE, "TIFF"),
        saved(Image.frombytes("I;16B", (6, 2), WIDE.astype(">u2").tobytes()), "TIFF"),
        b"P5 6 2 65535\n" + WIDE.astype(">u2").tobytes(),
    ],
    ids=["png", "tiff", "big-endian tiff", "pgm"],
)
def test_16_bit_gray_is_scaled_not_clipped(data):
    expected = np.rint(WIDE / 257).astype(np.uint8)
    assert expected.min() == 0 and expected.max() == 255
    np.testing.assert_array_equal(load_rgb(data)[0], np.repeat(expected[..., None], 3, axis=2))


def test_12_bit_tiff_is_scaled_by_its_own_white():
    values = np.array([[0, 4095], [2048, 16]])
    flat = values.reshape(-1, 2)
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in flat.tolist())
    tags = [
        (256, 2),
        (257, 2),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 2),
        (279, len(packed)),
    ]
    body = packed + b"\0" * (-len(packed) % 2)
    data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body
    data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags) + bytes(4)
    np.testing.assert_array_equal(load_rgb(data)[0][..., 1], np.rint(values * 255 / 4095))


def test_ycbcr_is_close_to_the_original_or_refused():
    data = saved(IMAGE.convert("YCbCr"), "TIFF")
    if int(PIL.__version__.partition(".")[0]) < 13:
        assert "uncompressed YCbCr, which Pillow reads from version 13 on" in refusal(DataError, load_rgb, data)
        return
    assert np.abs(load_rgb(data)[0].astype(int) - RGB).max() <= 3


def test_lab_is_close_to_the_original():
    calm = (RGB // 4 + 96).astype(np.uint8)  # few colors leave LAB's 8 bits or sRGB on the way
    lab = rgb2lab(calm)
    channels = np.rint(lab * [2.55, 1, 1]).astype(np.int16).astype(np.uint8)  # a and b as signed bytes, as in files
    encoded = Image.frombytes("LAB", IMAGE.size, channels.tobytes())
    image = load_rgb(saved(encoded, "TIFF"))[0]
    assert np.abs(image.astype(int) - calm).mean() < 4  # D50 against D65, and rounding
    assert np.abs(image.astype(int) - calm).max() < 16


def upright(image, orientation):
    """What the EXIF standard says of each value, in numpy."""
    turned = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: np.rot90(image, -1),
        7: np.rot90(image, 2).transpose(1, 0, 2),
        8: np.rot90(image, 1),
    }
    return turned.get(orientation, image)


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied_once(orientation):
    for format, options in (
        ("PNG", {}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {}),
        ("MPO", {}),
    ):
        plain = load_rgb(saved(RGB, format, **options))[0]
        image, passthrough = load_rgb(saved(RGB, format, exif=exif(orientation), **options))
        np.testing.assert_array_equal(image, upright(plain, orientation), err_msg=format)
        if format in ("PNG", "JPEG"):
            assert passthrough.reusable == (not 2 <= orientation <= 8)


def test_encode_and_save_round_trip(tmp_path):
    odd = np.asfortranarray(RGB[::-1, 1::2])
    assert encode(odd) == encode(np.ascontiguousarray(odd))
    assert encode(RGB, format="jpeg") == encode(RGB, format="jpeg")
    np.testing.assert_array_equal(load_rgb(encode(odd))[0], odd)
    sizes = []
    for quality, suffix in itertools.product((60, 95), (".jpg", ".JPEG")):
        save(RGB, tmp_path / f"a{suffix}", quality=quality)
        image, passthrough = load_rgb(tmp_path / f"a{suffix}")
        assert passthrough.reusable and passthrough.format == "jpeg"
        assert psnr(image, RGB) > (28 if quality == 60 else 35)
        sizes.append((tmp_path / f"a{suffix}").stat().st_size)
    assert sizes[0] < sizes[2]
    save(RGB, str(tmp_path / "b.png"))
    save(odd, tmp_path / "b.png")  # replaces
    np.testing.assert_array_equal(load_rgb(tmp_path / "b.png")[0], odd)
    assert sorted(os.listdir(tmp_path)) == ["a.JPEG", "a.jpg", "b.png"]


def test_a_failed_save_leaves_nothing_behind(tmp_path, monkeypatch):
    save(RGB, tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"a\.png.b\.png cannot be written: "):
        save(RGB, tmp_path / "a.png" / "b.png")  # no folder, and none can be made

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        save(GRAY[..., None].repeat(3, axis=2), tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]
    np.testing.assert_array_equal(load_rgb(tmp_path / "a.png")[0], RGB)


def test_bad_arguments_are_refused(tmp_path):
    for image in (RGB / 255, GRAY, RGB[:0], np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(UsageError, match=r"uint8 \[H, W, 3\]"):
            encode(image)
    with pytest.raises(UsageError, match="format='webp'"):
        encode(RGB, format="webp")
    with pytest.raises(UsageError, match="quality=0"):
        encode(RGB, format="jpeg", quality=0)
    with pytest.raises(UsageError, match=r"1x70000: a JPEG has at most"):
        encode(np.zeros((70000, 1, 3), np.uint8), format="jpeg")
    with pytest.raises(UsageError, match=r"a\.gif.*use \.png"):
        save(RGB, tmp_path / "a.gif")
    with pytest.raises(UsageError, match="of the same size"):
        psnr(RGB, RGB[1:])


def test_psnr_agrees_with_scikit_image():
    other = scene(seed=1)
    assert psnr(RGB, RGB.copy()) == float("inf")
    assert psnr(RGB, other) == pytest.approx(peak_signal_noise_ratio(RGB, other, data_range=255), abs=1e-9)
    assert psnr(np.zeros((5, 5, 3), np.uint8), np.full((5, 5, 3), 255, np.uint8)) == 0.0
    large = np.zeros((700, 1000, 3), np.uint8)  # more than one block, and squares that overflow small integers
    assert psnr(large, large + np.uint8(200)) == pytest.approx(20 * np.log10(255 / 200), abs=1e-9)
