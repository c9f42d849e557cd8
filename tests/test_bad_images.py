"""Damaged files are refused with the reason; no file stays open and no global setting changes."""

import contextlib
import gc
import os
import threading
import warnings

import numpy as np
import pytest
from image_files import IMAGE, REFUSED, REUSABLE, RGB, chunk, exif, png_header, saved
from PIL import Image, ImageFile

from hazeheal.data.images import image_io
from hazeheal.data.images.image_io import encode, load_rgb, save
from hazeheal.errors import DataError


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_named_with_the_reason(tmp_path, name):
    data, reason = REFUSED[name]
    path = tmp_path / "some image.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"some image.png: .*{reason}") as raised:
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


@pytest.mark.parametrize("tags", [{254: 1}, {254: 1, 330: 8}, {50706: b"\1\4\0\0"}], ids=["reduced", "NEF", "DNG"])
def test_the_preview_in_a_camera_raw_file_is_not_taken_for_the_image(tags):
    data = saved(IMAGE, "TIFF", tiffinfo=tags)
    with pytest.raises(DataError, match="camera raw file"):
        load_rgb(data)
    canon = bytearray(saved(IMAGE, "TIFF", tiffinfo={254: 0}))
    assert load_rgb(bytes(canon))[0].shape == RGB.shape
    canon[4:8] = len(canon).to_bytes(4, "little")  # the first directory moves to the end, and `CR` takes its place
    directory = int.from_bytes(saved(IMAGE, "TIFF", tiffinfo={254: 0})[4:8], "little")
    entries = int.from_bytes(canon[directory : directory + 2], "little")
    canon += canon[directory : directory + 2 + 12 * entries + 4]
    canon[8:10] = b"CR"
    with pytest.raises(DataError, match="camera raw file"):
        load_rgb(bytes(canon))


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    data = png_header(60000, 50000) + chunk(b"IDAT") + chunk(b"IEND")
    with pytest.raises(DataError, match=r"too large to decode .*3000000000 pixels"):
        load_rgb(data)
    height, width = RGB.shape[:2]
    for allowed in (1, height * width // 3, height * width - 1):
        monkeypatch.setattr(image_io, "MAX_PIXELS", allowed)
        # Pillow refuses an image of twice as many pixels as allowed.
        message = f"{height * width:,} pixels are more than the {allowed:,} allowed|too large to decode"
        with pytest.raises(DataError, match=message):
            load_rgb(encode(RGB))
    monkeypatch.setattr(image_io, "MAX_PIXELS", height * width)
    assert load_rgb(encode(RGB))[0].shape == RGB.shape


def test_sizes_are_read_from_headers_alone(tmp_path, monkeypatch):
    files = {  # some pixels are missing, which no header tells
        "large.png": (
            png_header(17000, 17000) + chunk(b"IDAT") + chunk(b"IEND"),
            (17000, 17000),
        ),
        "turned.jpg": (saved(RGB, "JPEG", exif=exif(6))[:-200], (64, 48)),
        "upright.jpg": (saved(RGB, "JPEG")[:-200], (48, 64)),
        "bad exif.jpg": (saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff"), (48, 64)),
    }
    for name, (data, expected) in files.items():
        (tmp_path / name).write_bytes(data)
        assert image_io.read_size(tmp_path / name) == expected
    os.truncate(tmp_path / "turned.jpg", 2**26 + 8 * 64 * 48 + 1)
    for name in ("nowhere.png", ".", "turned.jpg"):
        with pytest.raises(DataError, match=f"{name}: .*(exist|regular|bytes are too many)"):
            image_io.read_size(tmp_path / name, name=name)
    monkeypatch.setattr(image_io, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match=r"too large to decode .*289000000 pixels"):
        image_io.read_size(tmp_path / "large.png")


def test_damaged_metadata_causes_no_warnings():
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


def test_missing_files_and_folders_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"nowhere\.png: the file does not exist"):
        load_rgb(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="not a regular file"):
        load_rgb(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        load_rgb("a\0b.png")
    monkeypatch.setattr(image_io, "MAX_PIXELS", 1000)
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(2**26 + 8 * 1000 + 1)  # sparse
    with pytest.raises(DataError, match="bytes are too many for 1,000 pixels"):
        load_rgb(tmp_path / "huge.png")


def test_pillows_global_settings_are_overridden_and_restored(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_rgb(encode(RGB))[0], RGB)
        for name in ("truncated jpeg", "truncated png", "truncated tiff"):
            with pytest.raises(DataError, match="truncated"):
                load_rgb(REFUSED[name][0])
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 10)


def test_threads_decode_concurrently(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    good, bad = list(REUSABLE.values()), [REFUSED["truncated jpeg"][0], REFUSED["truncated png"][0]]
    expected, failures = [load_rgb(data)[0] for data in good], []
    start = threading.Barrier(6)

    def work(number):
        start.wait()
        for turn in range(30):
            which = (number * 7 + turn) % len(good)
            if not np.array_equal(load_rgb(good[which])[0], expected[which]):
                failures.append(which)
            try:
                load_rgb(bad[turn % 2])
                failures.append("a truncated image was accepted")
            except DataError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not image_io._active
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
