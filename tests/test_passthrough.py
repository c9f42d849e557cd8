"""Which files may be copied unchanged: `reusable` is true where TensorFlow decodes the same image."""

import struct

import numpy as np
import pytest
from image_files import GRAY, IMAGE, PALETTE, REUSABLE, RGB, RGBA, chunk, exif, raw_png, saved
from places import SHARED

from hazeheal.data.images.image_io import IMAGE_SUFFIXES, encode, load_rgb
from hazeheal.data.images.passthrough import inspect_file
from hazeheal.errors import DataError

NOT_REUSABLE = {
    "png 16-bit gray": (saved(GRAY.astype(np.uint16) * 257, "PNG"), "16 bits"),
    "png 16-bit color": (raw_png(RGB.astype(np.uint16) * 257, depth=16), "16 bits"),
    "png 1-bit": (saved(IMAGE.convert("1"), "PNG"), "1 bits"),
    "png 4-bit gray": (raw_png(GRAY[..., None] // 16, depth=4, color=0), "4 bits"),
    "png alpha": (saved(RGBA, "PNG"), "alpha"),
    "png gray alpha": (saved(RGBA.convert("LA"), "PNG"), "alpha"),
    "png palette": (saved(PALETTE, "PNG"), "palette"),
    "png palette, transparent": (saved(PALETTE, "PNG", transparency=0), "palette"),
    "png transparent color": (saved(RGB, "PNG", transparency=(1, 2, 3)), "transparent color"),
    "png animation of one frame": (
        raw_png(
            RGB,
            extra=chunk(b"acTL", struct.pack(">II", 1, 0))
            + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 64, 48, 0, 0, 1, 1, 0, 0)),
        ),
        "animation",
    ),
    "png orientation 6": (saved(RGB, "PNG", exif=exif(6)), "orientation"),
    "jpeg orientation 3": (saved(RGB, "JPEG", exif=exif(3)), "orientation"),
    "jpeg CMYK": (saved(IMAGE.convert("CMYK"), "JPEG"), "CMYK"),
    "bmp": (saved(RGB, "BMP"), "bmp"),
    "gif": (saved(IMAGE, "GIF"), "gif"),
    "webp": (saved(RGB, "WEBP", lossless=True), "webp"),
    "tiff": (saved(RGB, "TIFF"), "tiff"),
}


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.mark.parametrize("name", REUSABLE)
def test_tensorflow_reads_what_is_reusable_as_the_same_image(tf, name):
    data = REUSABLE[name]
    image, passthrough = load_rgb(data)
    assert (passthrough.reusable, passthrough.reason) == (True, "")
    assert passthrough.format == ("png" if data[:4] == b"\x89PNG" else "jpeg")
    decoded = tf.image.decode_image(data, channels=3).numpy().astype(int)
    assert decoded.shape == image.shape
    if passthrough.format == "png":
        np.testing.assert_array_equal(decoded, image)
    else:
        # The same transform and upsampling: versions of libjpeg-turbo agree bit for bit; 1 is for other libraries.
        exact = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy().astype(int)
        assert np.abs(exact - image).max() <= 1
        # decode_image does not support that transform; its fast one differs by a few levels.
        assert np.abs(decoded - image).max() <= 10
        assert np.abs(decoded - image).mean() <= 1.5


@pytest.mark.parametrize("name", NOT_REUSABLE)
def test_what_is_not_reusable_says_why(name):
    data, reason = NOT_REUSABLE[name]
    passthrough = load_rgb(data)[1]
    assert not passthrough.reusable
    assert reason in passthrough.reason


def test_turned_and_cmyk_jpegs_are_rightly_not_reusable(tf):
    for name, least in (("jpeg orientation 3", 20), ("png orientation 6", None)):
        data = NOT_REUSABLE[name][0]
        image, decoded = load_rgb(data)[0], tf.image.decode_image(data, channels=3).numpy()
        assert decoded.shape != image.shape if least is None else np.abs(decoded.astype(int) - image).mean() > least


def test_an_arithmetic_jpeg_is_not_reusable():
    data = encode(RGB, format="jpeg").replace(b"\xff\xc0", b"\xff\xc9", 1)
    assert inspect_file(data, format="JPEG").reason == "JPEG of coding process 9"


def test_tensorflow_reads_damaged_jpegs_as_we_do(tf):
    """A JPEG has no checksums, so a flipped bit gives another image. Both decoders must return the same one."""
    data = encode(RGB[:24, :24], format="jpeg")
    rng, accepted = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            image, passthrough = load_rgb(bytes(damaged))
        except DataError:
            continue
        if passthrough.reusable:
            accepted += 1
            decoded = tf.io.decode_jpeg(bytes(damaged), channels=3, dct_method="INTEGER_ACCURATE").numpy()
            assert np.abs(decoded.astype(int) - image).max() <= 1
    assert accepted > 50


def test_real_images_pass_through(tf):
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside the repository")
    paths = sorted(path for path in folder.glob("*/*/*") if path.suffix in IMAGE_SUFFIXES)[::80]
    assert paths
    for path in paths:
        data = path.read_bytes()
        image, passthrough = load_rgb(path)
        assert passthrough.reusable
        if passthrough.format == "jpeg":
            decoded = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        else:
            decoded = tf.io.decode_png(data, channels=3).numpy()
        assert np.abs(decoded.astype(int) - image).max() <= (passthrough.format == "jpeg")
