"""Pictures of every kind become upright 8-bit RGB, and `reusable` is true where TensorFlow agrees.

Expected values come from numpy (scaling, orientation, a PNG writer of our own) and scikit-image (LAB).
"""

import contextlib
import gc
import io
import itertools
import os
import pathlib
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile
from places import SHARED
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from hazeheal.data import pictures
from hazeheal.data.kept import inspect
from hazeheal.data.pictures import encode, load_rgb, psnr, save
from hazeheal.errors import DataError, UsageError


def scene(height=48, width=64, seed=0):
    """Smooth colours and some noise: like a photograph to a JPEG encoder."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7 + y / 13), np.cos(x / 11), np.sin(y / 5 - x / 17)], -1)
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    return np.clip(127 + 110 * waves + noise, 0, 255).astype(np.uint8)


def saved(picture, format, **options):
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(samples, *, depth=8, colour=2, interlaced=False, extra=b""):
    """A PNG written by hand, for the kinds that Pillow cannot write: `samples` is [H, W, C] of whole samples."""
    height, width, _ = samples.shape
    # Adam7: first column, first row, and the steps of each pass.
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = b""
    for x, y, dx, dy in passes if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::dy, x::dx]
        for row in part if part.shape[1] else ():
            row = row.reshape(-1)
            if depth == 16:
                data = row.astype(">u2").tobytes()
            else:
                bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
                data = np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()
            rows += b"\0" + data
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND")


def resample(jpeg, factors):
    """Changes the sampling factors of the first component: the same blocks, laid out in another way."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 11] + bytes([factors]) + jpeg[at + 12 :]


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


RGB = scene()
GRAY = RGB[..., 0]
IMAGE = Image.fromarray(RGB)
GAMMA = (
    chunk(b"gAMA", struct.pack(">I", 100000))
    + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    + chunk(b"sBIT", b"\5\6\5")
)
RGBA = IMAGE.copy()
RGBA.putalpha(Image.fromarray(GRAY))
PALETTE = IMAGE.quantize(32)

REUSABLE = {
    "png": encode(RGB),
    "png gray": saved(GRAY, "PNG"),
    "png interlaced": raw_png(RGB, interlaced=True),
    "png gray interlaced": raw_png(GRAY[..., None], colour=0, interlaced=True),
    "png one pixel interlaced": raw_png(RGB[:1, :1], interlaced=True),
    "png gamma": raw_png(RGB, extra=GAMMA + chunk(b"bKGD", struct.pack(">3H", 9, 9, 9))),
    "png sRGB": raw_png(RGB, extra=chunk(b"sRGB", b"\0")),
    "png bytes after the end": encode(RGB) + b"trailing",
    "png orientation 1": saved(RGB, "PNG", exif=exif(1)),
    "jpeg 4:4:4": encode(RGB, format="jpeg"),
    "jpeg 4:2:2": saved(RGB, "JPEG", subsampling=1, quality=90),
    "jpeg 4:2:0": saved(RGB, "JPEG", subsampling=2, quality=60),
    "jpeg 4:4:0": resample(saved(RGB, "JPEG", subsampling=1), 0x12),
    "jpeg 4:1:1": resample(saved(RGB, "JPEG", subsampling=2), 0x41),
    "jpeg odd size": saved(RGB[:47, :61], "JPEG"),
    "jpeg one pixel": saved(RGB[:1, :1], "JPEG"),
    "jpeg gray": saved(GRAY, "JPEG"),
    "jpeg progressive": saved(RGB, "JPEG", progressive=True),
    "jpeg progressive gray": saved(GRAY, "JPEG", progressive=True),
    "jpeg restart markers": saved(RGB, "JPEG", restart_marker_blocks=2),
    "jpeg of RGB components": saved(RGB, "JPEG", keep_rgb=True, subsampling=0),
    "jpeg orientation 1": saved(RGB, "JPEG", exif=exif(1)),
    "jpeg bytes after the end": saved(RGB, "JPEG") + bytes(100),
    "jpeg damaged EXIF": saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff"),
    "mpo": saved(IMAGE, "MPO", save_all=True, append_images=[IMAGE.rotate(180)]),
}
NOT_REUSABLE = {
    "png 16-bit gray": (saved(GRAY.astype(np.uint16) * 257, "PNG"), "16 bits"),
    "png 16-bit colour": (raw_png(RGB.astype(np.uint16) * 257, depth=16), "16 bits"),
    "png 1-bit": (saved(IMAGE.convert("1"), "PNG"), "1 bits"),
    "png 4-bit gray": (raw_png(GRAY[..., None] // 16, depth=4, colour=0), "4 bits"),
    "png alpha": (saved(RGBA, "PNG"), "alpha"),
    "png gray alpha": (saved(RGBA.convert("LA"), "PNG"), "alpha"),
    "png palette": (saved(PALETTE, "PNG"), "palette"),
    "png palette, transparent": (saved(PALETTE, "PNG", transparency=0), "palette"),
    "png transparent colour": (saved(RGB, "PNG", transparency=(1, 2, 3)), "transparent colour"),
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
def test_tensorflow_reads_what_is_reusable_as_the_same_picture(tf, name):
    data = REUSABLE[name]
    picture, kept = load_rgb(data)
    assert (kept.reusable, kept.reason) == (True, "")
    assert kept.format == ("png" if data[:4] == b"\x89PNG" else "jpeg")
    decoded = tf.image.decode_image(data, channels=3).numpy().astype(int)
    assert decoded.shape == picture.shape
    if kept.format == "png":
        np.testing.assert_array_equal(decoded, picture)
    else:
        # The same transform and upsampling: libjpeg-turbo's versions agree bit for bit; 1 is for others.
        exact = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy().astype(int)
        assert np.abs(exact - picture).max() <= 1
        # decode_image cannot be asked for that transform; its fast one strays by a few levels.
        assert np.abs(decoded - picture).max() <= 10
        assert np.abs(decoded - picture).mean() <= 1.5


@pytest.mark.parametrize("name", NOT_REUSABLE)
def test_what_is_not_reusable_says_why(name):
    data, reason = NOT_REUSABLE[name]
    kept = load_rgb(data)[1]
    assert not kept.reusable
    assert reason in kept.reason


def test_turned_and_cmyk_jpegs_are_rightly_not_reusable(tf):
    for name, least in (("jpeg orientation 3", 20), ("png orientation 6", None)):
        data = NOT_REUSABLE[name][0]
        picture, decoded = load_rgb(data)[0], tf.image.decode_image(data, channels=3).numpy()
        assert (
            decoded.shape != picture.shape
            if least is None
            else np.abs(decoded.astype(int) - picture).mean() > least
        )


def test_an_arithmetic_jpeg_is_not_reusable():
    data = encode(RGB, format="jpeg").replace(b"\xff\xc0", b"\xff\xc9", 1)
    assert inspect(data, format="JPEG").reason == "JPEG of coding process 9"


EXACT = {  # file, expected picture
    "rgb": (encode(RGB), RGB),
    "gray": (saved(GRAY, "PNG"), GRAY),
    "alpha is dropped": (saved(RGBA, "PNG"), RGB),
    "gray with alpha": (saved(Image.merge("LA", [Image.fromarray(GRAY)] * 2), "PNG"), GRAY),
    "alpha in TIFF": (saved(RGBA, "TIFF"), RGB),
    "palette": (saved(PALETTE, "PNG"), np.array(PALETTE.convert("RGB"))),
    "palette, one colour transparent": (
        saved(PALETTE, "PNG", transparency=3),
        np.array(PALETTE.convert("RGB")),
    ),
    "palette, many transparent": (
        saved(PALETTE, "PNG", transparency=bytes(range(32))),
        np.array(PALETTE.convert("RGB")),
    ),
    "gif with transparency": (saved(PALETTE, "GIF", transparency=3), np.array(PALETTE.convert("RGB"))),
    "1-bit": (saved(Image.fromarray(GRAY > 99), "PNG"), (GRAY > 99) * np.uint8(255)),
    "4-bit": (raw_png(GRAY[..., None] // 16, depth=4, colour=0), GRAY // 16 * 17),
    "interlaced": (raw_png(RGB, interlaced=True), RGB),
    "gamma is not applied": (raw_png(RGB, extra=GAMMA), RGB),
    "16-bit colour": (raw_png(RGB.astype(np.uint16) * 257, depth=16), RGB),
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
    picture, _ = load_rgb(data)
    assert (picture.dtype, picture.shape[2], picture.flags.c_contiguous) == (np.uint8, 3, True)
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    np.testing.assert_array_equal(picture, expected)
    picture[0, 0] = 0  # the array is the caller's own


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
    data += (
        struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags) + bytes(4)
    )
    np.testing.assert_array_equal(load_rgb(data)[0][..., 1], np.rint(values * 255 / 4095))


def test_lab_and_ycbcr_are_close_to_the_original():
    ycbcr = load_rgb(saved(IMAGE.convert("YCbCr"), "TIFF"))[0]
    assert np.abs(ycbcr.astype(int) - RGB).max() <= 3
    calm = (RGB // 4 + 96).astype(np.uint8)  # few colours leave LAB's 8 bits or sRGB on the way
    lab = rgb2lab(calm)
    channels = (
        np.rint(lab * [2.55, 1, 1]).astype(np.int16).astype(np.uint8)
    )  # a and b as signed bytes, as in files
    image = Image.frombytes("LAB", IMAGE.size, channels.tobytes())
    picture = load_rgb(saved(image, "TIFF"))[0]
    assert np.abs(picture.astype(int) - calm).mean() < 4  # D50 against D65, and rounding
    assert np.abs(picture.astype(int) - calm).max() < 16


def upright(picture, orientation):
    """What the EXIF standard says of each value, in numpy."""
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: np.rot90(picture, 2).transpose(1, 0, 2),
        8: np.rot90(picture, 1),
    }
    return turned.get(orientation, picture)


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
        picture, kept = load_rgb(saved(RGB, format, exif=exif(orientation), **options))
        np.testing.assert_array_equal(picture, upright(plain, orientation), err_msg=format)
        if format in ("PNG", "JPEG"):
            assert kept.reusable == (not 2 <= orientation <= 8)


TWO = {"save_all": True, "append_images": [IMAGE.rotate(180)]}
PAGES = saved(IMAGE, "TIFF", **TWO)
REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"no picture at all", "not a picture"),
    "html": (b"<!doctype html><title>404</title>", "not a picture"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "truncated"),
    "gif of two": (saved(IMAGE, "GIF", **TWO), "animated.*2 frames"),
    "png of two": (saved(IMAGE, "PNG", **TWO), "animated.*2 frames"),
    "webp of two": (saved(IMAGE, "WEBP", **TWO), "animated.*2 frames"),
    "tiff of two": (PAGES, "animated.*2 frames"),
    "float": (saved(np.ones((4, 4), np.float32), "TIFF"), "float samples"),
    "32-bit": (saved(np.ones((4, 4), np.int32), "TIFF"), "32-bit integer samples"),
    "eps": (saved(RGB, "EPS"), "EPS"),
    "truncated jpeg": (encode(RGB, format="jpeg")[:-200], "truncated"),
    "truncated png": (encode(RGB)[:-200], "truncated"),
    "truncated webp": (saved(RGB, "WEBP")[:-50], "truncated"),
    "truncated tiff": (saved(RGB, "TIFF")[:-200], "truncated"),
    "truncated gif": (saved(IMAGE, "GIF")[:-200], "truncated"),
    "truncated bmp": (saved(RGB, "BMP")[:-200], "truncated"),
    "png without IEND": (encode(RGB)[:-12], "truncated.*before IEND"),
    "jpeg without its end marker": (encode(RGB, format="jpeg")[:-2], "truncated"),
    "jpeg with a tail of zeros": (encode(RGB, format="jpeg")[:-500] + bytes(500), "truncated"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_named_with_the_reason(tmp_path, name):
    data, reason = REFUSED[name]
    path = tmp_path / "some picture.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"some picture.png: .*{reason}") as raised:
        load_rgb(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=f"^who: .*{reason}"):
        load_rgb(data, name="who")


def test_reduced_copies_in_a_tiff_are_not_pages():
    small = IMAGE.resize((32, 24))
    data = saved(IMAGE, "TIFF", save_all=True, append_images=[small], tiffinfo={254: 0})
    entry = b"\xfe\0\4\0\1\0\0\0"  # NewSubfileType, a long, one of it
    with pytest.raises(DataError, match="2 frames"):
        load_rgb(data)
    at = data.rindex(entry) + len(entry)
    assert data.count(entry) == 2 and data[at] == 0
    np.testing.assert_array_equal(load_rgb(data[:at] + b"\1" + data[at + 1 :])[0], RGB)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked():
    header = struct.pack(">IIBBBBB", 60000, 50000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT") + chunk(b"IEND")
    with pytest.raises(DataError, match="3,000,000,000 pixels are more than the 300,000,000 allowed"):
        load_rgb(data)
    height, width = RGB.shape[:2]
    for allowed in (1, height * width // 3, height * width - 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(DataError, match=f"{height * width:,} pixels are more than the {allowed:,}"):
                load_rgb(encode(RGB), max_pixels=allowed)
    assert load_rgb(encode(RGB), max_pixels=height * width)[0].shape == RGB.shape


def test_sizes_are_read_from_headers_alone(tmp_path):
    header = struct.pack(">IIBBBBB", 17000, 17000, 8, 2, 0, 0, 0)
    files = {  # some pixels are missing, which no header tells
        "large.png": (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT") + chunk(b"IEND"),
            (17000, 17000),
        ),
        "turned.jpg": (saved(RGB, "JPEG", exif=exif(6))[:-200], (64, 48)),
        "upright.jpg": (saved(RGB, "JPEG")[:-200], (48, 64)),
        "bad exif.jpg": (saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff"), (48, 64)),
    }
    for name, (data, expected) in files.items():
        (tmp_path / name).write_bytes(data)
        assert pictures.read_size(tmp_path / name) == expected
    with pytest.raises(DataError, match=r"289,000,000 pixels are more than the 1,000 allowed"):
        pictures.read_size(tmp_path / "large.png", max_pixels=1000)
    for name in ("nowhere.png", ".", "turned.jpg"):
        path = tmp_path / name
        if path.is_file():
            os.truncate(path, 2**26 + 8 * 64 * 48 + 1)
        with pytest.raises(DataError, match=f"{name}: .*(exist|folder|bytes are more than)"):
            pictures.read_size(path, name=name)


def test_damaged_metadata_make_no_noise():
    data = saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\0\0zzzz")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        load_rgb(data)
        warnings.warn("mine", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["mine"]


def test_every_truncation_is_refused():
    small = RGB[:16, :16]
    files = [
        encode(small),
        encode(small, format="jpeg"),
        saved(small, "JPEG", progressive=True),
        saved(small, "JPEG", subsampling=2),
    ]
    for data in files:
        for length in range(len(data)):
            with pytest.raises(DataError):
                load_rgb(data[:length])


def test_every_flipped_bit_of_a_png_is_noticed():
    data = encode(RGB[:8, :8])
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(DataError):
            load_rgb(bytes(damaged))


def test_tensorflow_reads_damaged_jpegs_as_we_do(tf):
    """A JPEG has no checksums: a flipped bit is another picture. It must be the same one to both decoders."""
    data = encode(RGB[:24, :24], format="jpeg")
    rng, accepted = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            picture, kept = load_rgb(bytes(damaged))
        except DataError:
            continue
        if kept.reusable:
            accepted += 1
            decoded = tf.io.decode_jpeg(bytes(damaged), channels=3, dct_method="INTEGER_ACCURATE").numpy()
            assert np.abs(decoded.astype(int) - picture).max() <= 1
    assert accepted > 50


def test_missing_files_folders_and_devices_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.png: the file does not exist"):
        load_rgb(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="a folder or a device"):
        load_rgb(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        load_rgb("a\0b.png")
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(2**26 + 8 * 1000 + 1)  # sparse
    with pytest.raises(DataError, match="bytes are more than 1,000 pixels take"):
        load_rgb(tmp_path / "huge.png", max_pixels=1000)


def test_pillows_globals_do_not_matter_and_are_put_back(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_rgb(encode(RGB))[0], RGB)
        for name in ("truncated jpeg", "truncated png", "truncated tiff"):
            with pytest.raises(DataError, match="truncated"):
                load_rgb(REFUSED[name][0])
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 10)


def test_threads_decode_side_by_side(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    good, bad = list(REUSABLE.values()), [REFUSED["truncated jpeg"][0], REFUSED["truncated png"][0]]
    expected, failures = [load_rgb(data)[0] for data in good], []
    start = threading.Barrier(6)

    def work(number):
        start.wait()
        for turn in range(30):
            which = (number * 7 + turn) % len(good)
            if not np.array_equal(load_rgb(good[which], max_pixels=10_000 + turn)[0], expected[which]):
                failures.append(which)
            try:
                load_rgb(bad[turn % 2])
                failures.append("a truncated picture was accepted")
            except DataError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not pictures._decoding
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 10)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts handles in /proc")
def test_no_handle_stays_open(tmp_path):
    paths = []
    for name, (data, _) in REFUSED.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    paths.append(tmp_path / "good.png")
    save(RGB, paths[-1])
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()  # a handle that only the collector would close counts as open
    try:
        for path in paths:
            with contextlib.suppress(DataError):
                load_rgb(path)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()


def test_encode_and_save_round_trip(tmp_path):
    odd = np.asfortranarray(RGB[::-1, 1::2])
    assert encode(odd) == encode(np.ascontiguousarray(odd))
    assert encode(RGB, format="jpeg") == encode(RGB, format="jpeg")
    np.testing.assert_array_equal(load_rgb(encode(odd))[0], odd)
    sizes = []
    for quality, suffix in itertools.product((60, 95), (".jpg", ".JPEG")):
        save(RGB, tmp_path / f"a{suffix}", quality=quality)
        picture, kept = load_rgb(tmp_path / f"a{suffix}")
        assert kept.reusable and kept.format == "jpeg"
        assert psnr(picture, RGB) > (28 if quality == 60 else 35)
        sizes.append((tmp_path / f"a{suffix}").stat().st_size)
    assert sizes[0] < sizes[2]
    save(RGB, str(tmp_path / "b.png"))
    save(odd, tmp_path / "b.png")  # replaces
    np.testing.assert_array_equal(load_rgb(tmp_path / "b.png")[0], odd)
    assert sorted(os.listdir(tmp_path)) == ["a.JPEG", "a.jpg", "b.png"]


def test_a_failed_save_leaves_nothing_behind(tmp_path, monkeypatch):
    save(RGB, tmp_path / "a.png")
    with pytest.raises(DataError, match=r"none.a\.png: cannot be written"):
        save(RGB, tmp_path / "none" / "a.png")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        save(GRAY[..., None].repeat(3, axis=2), tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]
    np.testing.assert_array_equal(load_rgb(tmp_path / "a.png")[0], RGB)


def test_bad_arguments_are_refused(tmp_path):
    for picture in (RGB / 255, GRAY, RGB[:0], np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(UsageError, match=r"uint8 \[H, W, 3\]"):
            encode(picture)
    with pytest.raises(UsageError, match="format='webp'"):
        encode(RGB, format="webp")
    with pytest.raises(UsageError, match="quality=0"):
        encode(RGB, format="jpeg", quality=0)
    with pytest.raises(UsageError, match=r"1x70000: JPEG holds"):
        encode(np.zeros((70000, 1, 3), np.uint8), format="jpeg")
    with pytest.raises(UsageError, match=r"a\.gif.*use \.png"):
        save(RGB, tmp_path / "a.gif")
    with pytest.raises(UsageError, match="of one size"):
        psnr(RGB, RGB[1:])


def test_psnr_is_scikit_images(monkeypatch):
    other = scene(seed=1)
    assert psnr(RGB, RGB.copy()) == float("inf")
    assert psnr(RGB, other) == pytest.approx(peak_signal_noise_ratio(RGB, other, data_range=255), abs=1e-9)
    assert psnr(np.zeros((5, 5, 3), np.uint8), np.full((5, 5, 3), 255, np.uint8)) == 0.0
    large = np.zeros(
        (700, 1000, 3), np.uint8
    )  # more than one block, and squares that overflow small integers
    assert psnr(large, large + np.uint8(200)) == pytest.approx(20 * np.log10(255 / 200), abs=1e-9)


def test_real_pictures_are_kept_as_they_are(tf):
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside the repository")
    paths = sorted(folder.glob("*/*/*"))[::80]
    assert paths
    for path in paths:
        data = path.read_bytes()
        picture, kept = load_rgb(path)
        assert kept.reusable
        if kept.format == "jpeg":
            decoded = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        else:
            decoded = tf.io.decode_png(data, channels=3).numpy()
        assert np.abs(decoded.astype(int) - picture).max() <= (kept.format == "jpeg")
