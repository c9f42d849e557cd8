"""The metadata of an image file are kept: format, alpha, 16 bits, EXIF, profile, resolution, TIFF tags."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin

from hazeheal.data.images import image_io
from hazeheal.errors import DataError
from hazeheal.inference import image_metadata, png_chunks

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(channels=3, *, height=20, width=31, dtype=np.uint8):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def through(path, *, format=None, change=lambda rgb: rgb):
    """Reads a file, changes its pixels, and returns the file and the result as Pillow opens it."""
    read = image_metadata.read(path)
    data = image_metadata.encode(change(read.rgb), read, format=format or Image.open(path).format)
    result = Image.open(io.BytesIO(data))
    result.load()
    return read, result


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def exif_of(orientation=6):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.5
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000"])
def test_formats_and_channels(tmp_path, mode, format):
    if (format in ("BMP", "PPM") and "A" in mode) or (format == "WEBP" and mode in ("L", "LA")):
        pytest.skip(f"{format} has no {mode}")
    image = Image.fromarray(pixels(len(mode)), mode)
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    read, result = through(saved(tmp_path, image, "a", format=format, **options))
    assert (result.format, result.mode, result.size) == (format, mode, (31, 20))
    assert np.array_equal(np.asarray(result), np.asarray(image)), "lossless formats must not change the pixels"
    assert read.gray == mode.startswith("L")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_is_applied_once(tmp_path, orientation, format):
    image = Image.fromarray(np.kron(pixels(height=3, width=5) // 255 * 255, np.ones((8, 8, 1), np.uint8)))
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    path = saved(tmp_path, image, "a", format=format, exif=exif_of(orientation), **options)
    _, result = through(path)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert result.size == upright.size
    assert np.abs(np.asarray(result).astype(int) - np.asarray(upright)).max() < 60
    exif = result.getexif()
    assert exif[ExifTags.Base.Orientation] == 1
    assert exif[ExifTags.Base.Make] == "Maker"
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.5
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    alpha = Image.fromarray(pixels(4, height=3, width=5))
    if format != "JPEG":
        path = saved(tmp_path, alpha, "b", format=format, exif=exif_of(orientation), **options)
        _, result = through(path)
        wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        assert np.array_equal(np.asarray(result)[..., 3], wanted[..., 3])


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_loses_only_its_orientation_and_thumbnail(order):
    entries = [(0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(order + "HH", 8, 0))]
    body = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(entries))
    body += b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    body += struct.pack(order + "I", 38) + b"thumbnail"
    fixed = image_metadata.upright_exif(b"Exif\0\0" + body).removeprefix(b"Exif\0\0")
    changed = [i for i, (a, b) in enumerate(zip(body, fixed, strict=True)) if a != b]
    assert set(changed) <= {*range(30, 34), *range(34, 38)}
    assert image_metadata.upright_exif(body) == image_metadata.upright_exif(fixed) == b"Exif\0\0" + fixed
    for damaged in (b"", b"Exif\0\0", b"nothing", body[:9], b"II*\0\xff\xff\xff\xff"):
        assert image_metadata.upright_exif(damaged) == b""


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profile_and_resolution(tmp_path, format):
    path = saved(tmp_path, Image.fromarray(pixels()), "a", format=format, icc_profile=SRGB, dpi=(300, 300))
    _, result = through(path)
    assert result.info["icc_profile"] == SRGB
    if format != "WEBP":
        assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_profile_of_another_color_space_is_removed(tmp_path):
    profile = bytearray(SRGB)
    profile[16:20] = b"CMYK"
    image = Image.fromarray(pixels(4), "CMYK")
    _, result = through(saved(tmp_path, image, "a", format="JPEG", icc_profile=bytes(profile)))
    assert (result.format, result.mode) == ("JPEG", "RGB")
    assert "icc_profile" not in result.info


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(tmp_path, channels):
    values = pixels(channels, dtype=np.uint16)
    values = values.reshape(*values.shape[:2], channels)
    path = tmp_path / "a.png"
    colors = Image.new("RGB", (1, 1))
    buffer = io.BytesIO()
    colors.save(buffer, "PNG", icc_profile=SRGB, dpi=(72, 72))
    path.write_bytes(
        png_chunks.with_chunks(
            tf.io.encode_png(values).numpy(),
            png_chunks.metadata_chunks(buffer.getvalue()),
            exif=exif_of(6).tobytes(),
        )
    )
    read = image_metadata.read(path)
    assert read.rgb.dtype == np.uint16
    assert read.rgb.shape == (31, 20, 3), "turned"
    data = image_metadata.encode(read.rgb, read, format="PNG")
    assert png_chunks.bit_depth(data) == 16
    again = tf.io.decode_png(data, dtype=tf.uint16).numpy()
    assert np.array_equal(again, np.rot90(values, 3))
    result = Image.open(io.BytesIO(data))
    assert result.info["icc_profile"] == SRGB
    assert result.info["dpi"] == pytest.approx((72, 72), abs=0.1)
    assert result.getexif()[ExifTags.Base.Orientation] == 1
    assert np.array_equal(image_io.load_rgb(data)[0].shape, (31, 20, 3)), "whole, all checksums right"


def test_texts_of_a_png(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Author", "someone")
    texts.add_itxt("XML:com.adobe.xmp", "<x tiff:Orientation='6'/>")
    texts.add_text("Raw profile type exif", "0")
    _, result = through(saved(tmp_path, Image.fromarray(pixels()), "a.png", pnginfo=texts))
    assert result.text == {"Author": "someone"}


def test_geotiff(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550], tags[33922], tags[270] = (1.0, 1.0, 0.0), (0.0, 0.0, 0.0, 7.5, 8.5, 0.0), "scene"
    tags[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "S"}
    tags[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.5}
    tags[37724] = b"layers of a program"
    path = saved(tmp_path, Image.fromarray(pixels()), "a.tif", tiffinfo=tags)
    read, result = through(path, change=lambda rgb: 255 - rgb)
    assert np.array_equal(np.asarray(result), 255 - pixels())
    assert (result.tag_v2[33550], result.tag_v2[270]) == ((1.0, 1.0, 0.0), "scene")
    assert result.tag_v2[33922] == (0.0, 0.0, 0.0, 7.5, 8.5, 0.0)
    assert result.getexif().get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "S"
    assert result.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.5
    assert 37724 not in result.tag_v2
    assert read.exif == b""


def test_tiff_compression(tmp_path):
    for given, kept in (("tiff_lzw", "tiff_lzw"), (None, "raw"), ("jpeg", "tiff_adobe_deflate")):
        _, result = through(saved(tmp_path, Image.fromarray(pixels()), "a.tif", compression=given))
        assert result.info["compression"] == kept


def test_a_tiff_without_a_resolution_gets_none(tmp_path):
    _, result = through(saved(tmp_path, Image.fromarray(pixels()), "a.tif"))
    assert not {282, 283, 296} & set(result.tag_v2)


def test_a_palette_becomes_colors(tmp_path):
    image = Image.fromarray(pixels()).quantize(8)
    image.info["transparency"] = 0
    read, result = through(saved(tmp_path, image, "a.gif", transparency=0), format="PNG")
    assert result.mode == "RGBA"
    assert np.array_equal(np.asarray(result)[..., :3], read.rgb)
    assert set(np.unique(read.alpha)) == {0, 255}


def test_16_bits_into_a_format_of_8():
    values = pixels(dtype=np.uint16)
    data = image_metadata.encode(values, image_metadata.ImageFile(rgb=values), format="BMP")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.rint(values / 257).astype(np.uint8))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(DataError, match=r"a\.png"):
        image_metadata.read(path)
