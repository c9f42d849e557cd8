"""Sizes from the first bytes of plain files are those of the image library; all other files are left to it."""

import os

import numpy as np
import pytest
from image_files import GRAY, IMAGE, REFUSED, REUSABLE, RGB, chunk, exif, png_header, raw_png, saved

from hazeheal.data.images import image_io
from hazeheal.data.images.plain_size import read_plain_size
from hazeheal.errors import DataError


def write(tmp_path, data):
    path = tmp_path / "image"
    path.write_bytes(data)
    return path


PLAIN = {
    "png": saved(RGB, "PNG"),
    "png gray": saved(GRAY, "PNG"),
    "png with metadata": saved(IMAGE, "PNG", dpi=(72, 72), icc_profile=b"x" * 3000),
    "png palette": saved(IMAGE.quantize(32), "PNG"),
    "png 16 bits": raw_png(np.full((40, 30, 3), 5), depth=16),
    "jpeg": saved(RGB, "JPEG"),
    "jpeg gray": saved(GRAY, "JPEG"),
    "jpeg progressive": saved(RGB, "JPEG", progressive=True, optimize=True),
    "jpeg cmyk": saved(IMAGE.convert("CMYK"), "JPEG"),
    "jpeg with a comment": saved(IMAGE, "JPEG", comment=b"hazy", restart_marker_rows=1),
    "wide": saved(RGB[:7, :50], "PNG"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files(tmp_path, name):
    path = write(tmp_path, PLAIN[name])
    assert read_plain_size(path) == image_io.read_size(path)


@pytest.mark.parametrize("name", [*REUSABLE, *REFUSED])
def test_it_never_differs_from_the_image_library(tmp_path, name):
    data = REUSABLE[name] if name in REUSABLE else REFUSED[name][0]
    path = write(tmp_path, data)
    size = read_plain_size(path)
    if size is not None:
        try:
            assert size == image_io.read_size(path)
        except DataError:  # its pixels are damaged, which its conversion reports
            assert name in REFUSED


@pytest.mark.parametrize(
    "data",
    [
        saved(RGB, "JPEG", exif=exif(6)),
        saved(RGB, "JPEG", icc_profile=b"x" * 9000),
        saved(IMAGE, "PNG", exif=exif(6)),
        saved(IMAGE, "TIFF"),
        saved(IMAGE, "WEBP"),
        png_header(60000, 50000) + chunk(b"IDAT"),
        png_header(0, 5) + chunk(b"IDAT"),
        png_header(8, 5).replace(b"\0\0\0\x08\0\0\0\x05", b"\0\0\0\x09\0\0\0\x05") + chunk(b"IDAT"),  # wrong CRC
        png_header(8, 5) + chunk(b"tEXt", b"Raw profile type exif\0...") + chunk(b"IDAT"),
        png_header(8, 5) + chunk(b"acTL") + chunk(b"IDAT"),
        png_header(8, 5),
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xc0\0\x03",
        b"",
    ],
)
def test_other_files_are_left_to_the_image_library(tmp_path, data):
    assert read_plain_size(write(tmp_path, data)) is None


def test_exif_after_the_frame_of_a_jpeg_is_not_missed(tmp_path):
    data = saved(RGB, "JPEG")
    scan, segment = data.index(b"\xff\xda"), exif(6).tobytes()
    turned = data[:scan] + b"\xff\xe1" + (2 + len(segment)).to_bytes(2, "big") + segment + data[scan:]
    assert image_io.read_size(write(tmp_path, turned)) == RGB.shape[1::-1]
    assert read_plain_size(tmp_path / "image") is None


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "device", "dangling"])
def test_what_is_no_file_is_left_to_the_image_library(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "dangling":
        path.symlink_to("nowhere")
    assert read_plain_size(path) is None
    assert read_plain_size("a\0b") is None


def test_every_prefix_of_a_header_is_read_or_left(tmp_path):
    for data in (saved(RGB, "PNG"), saved(RGB, "JPEG")):
        sizes = {read_plain_size(write(tmp_path, data[:length])) for length in range(0, 700)}
        assert sizes == {None, RGB.shape[:2]}
