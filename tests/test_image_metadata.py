"""The metadata of an image file are kept: format, alpha, 16 bits, EXIF, profile, resolution, TIFF tags."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin

from hazeheal.data.images import image_io, jpeg_2000
from hazeheal.errors import DataError
from hazeheal.inference import encode_image, image_metadata, png_chunks, text_metadata

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(channels=3, *, height=20, width=31, dtype=np.uint8):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def through(path, *, format=None, change=lambda rgb: rgb):
    """Reads a file, changes its pixels, and returns the file and the result as Pillow opens it."""
    read = image_metadata.read(path)
    data = encode_image.encode(change(read.rgb), read, format=format or Image.open(path).format)
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
    data = encode_image.encode(read.rgb, read, format="PNG")
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
    assert result.text == {"Author": "someone", "XML:com.adobe.xmp": "<x tiff:Orientation='1'/>"}


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
    data = encode_image.encode(values, image_metadata.ImageFile(rgb=values), format="BMP")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.rint(values / 257).astype(np.uint8))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(DataError, match=r"a\.png"):
        image_metadata.read(path)


XMP = (
    b"<x:xmpmeta><rdf:Description tiff:Orientation=\"6\" dc:title='Stra\xc3\x9fe'><tiff:Orientation>8</tiff:Orientation>"
    b"<xmp:Thumbnails><rdf:li>haze</rdf:li></xmp:Thumbnails></rdf:Description></x:xmpmeta>"
)
UPRIGHT = (
    XMP.replace(b'"6"', b'"1"').replace(b">8<", b">1<").replace(XMP[XMP.index(b"<xmp:") : XMP.index(b"</rdf:D")], b"")
)


def resource(number, content, name=b""):
    name = bytes([len(name)]) + name + b"\0" * (1 - len(name) % 2)
    return (
        b"8BIM"
        + struct.pack(">H", number)
        + name
        + struct.pack(">I", len(content))
        + content
        + b"\0" * (len(content) % 2)
    )


CAPTION = b"\x1c\x02\x78\x00\x05Stra\xdf"
IPTC = resource(1028, CAPTION)
RESOURCES = IPTC + resource(1036, b"preview of the haze", b"odd") + resource(1061, b"16 bytes of MD5.")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_and_iptc_are_kept_in_every_format(tmp_path, format):
    Image.init()
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow has no {format}")
    image, path = Image.fromarray(pixels(height=24)), tmp_path / "a.jpg"
    image.save(path, quality=95)
    path.write_bytes(text_metadata.add_to_jpeg(path.read_bytes(), xmp=XMP, photoshop=RESOURCES))
    assert Image.open(path).info["photoshop"][1028] == CAPTION and Image.open(path).info["xmp"] == XMP
    kept = IPTC + resource(1061, b"16 bytes of MD5.")
    read, result = through(path, format=format)
    assert read.photoshop == kept
    if format == "TIFF":
        assert (bytes(result.tag_v2[700]), bytes(result.tag_v2[34377])) == (UPRIGHT, kept)
        (tmp_path / "b.tif").write_bytes(encode_image.encode(read.rgb, read, format="TIFF"))
        read, result = through(tmp_path / "b.tif", format="JPEG")
    found = result.info["xmp"]
    assert (found.encode() if isinstance(found, str) else found) == UPRIGHT
    if format in ("JPEG", "TIFF"):
        assert result.info["photoshop"] == {1028: CAPTION, 1061: b"16 bytes of MD5."}
        assert np.asarray(result).shape == (31, 24, 3), "turned, by the orientation of XMP"


def test_damaged_resources_stay_as_they_are():
    for damaged in (b"8BIM", b"no resource at all", IPTC + b"8BIM\4", IPTC[:-3]):
        assert text_metadata.without_previews(damaged) in (damaged, IPTC + b"8BIM\4")
    long = b"x" * 70000
    data = text_metadata.add_to_jpeg(b"\xff\xd8\xff\xdb", xmp=long, photoshop=long)
    assert data.count(b"x") == len(long), "the packet is left out, the resources take two segments"


@pytest.mark.parametrize("text", ["Straße", "Dvořák", "東京"])
def test_texts_of_a_tiff_keep_their_bytes(tmp_path, text):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[315] = text.encode(), b"\xdf\xe4"
    tags[ExifTags.IFD.Exif] = {ExifTags.Base.LensModel: text.encode()}
    path = saved(tmp_path, Image.fromarray(pixels()), "a.tif", tiffinfo=tags)
    data = encode_image.encode(pixels(), image_metadata.read(path), format="TIFF")
    assert path.read_bytes().count(text.encode()) == data.count(text.encode()) == 2
    assert b"\xdf\xe4\0" in data


@pytest.mark.parametrize("resolution", [-0.5, "abc", 0.0, float("inf")])
def test_a_tiff_with_an_odd_resolution_is_restored_without_it(tmp_path, resolution):
    kind = {str: 2, float: 11}[type(resolution)]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[282], tags[282] = kind, resolution
    path = saved(tmp_path, Image.fromarray(pixels()), "a.tif", tiffinfo=tags)
    assert 282 in Image.open(path).tag_v2
    _, result = through(path)
    assert np.array_equal(np.asarray(result), pixels()) and 282 not in result.tag_v2


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_jpeg_2000_keeps_its_bits(tmp_path, bits, alpha):
    pytest.importorskip("imagecodecs")
    samples = pixels(3 + alpha, dtype=np.uint16) >> (16 - bits)
    samples[0, 0] = 2**bits - 1
    (tmp_path / "a.jp2").write_bytes(jpeg_2000.encode(samples, bits=bits))
    read = image_metadata.read(tmp_path / "a.jp2")
    assert read.rgb.dtype == np.uint16 and read.rgb.max() == 65535
    data = encode_image.encode(read.rgb, read, format="JPEG2000")
    assert jpeg_2000.bits_per_sample(data) == bits
    visible = samples[..., 3] > 0 if alpha else np.ones(samples.shape[:2], bool)
    assert np.array_equal(jpeg_2000.decode(data)[visible], samples[visible])
    assert Image.open(io.BytesIO(data)).size == (31, 20)


def test_jpeg_2000_of_16_bits_needs_imagecodecs(tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs")
    (tmp_path / "a.jp2").write_bytes(jpeg_2000.encode(pixels(dtype=np.uint16), bits=16))
    monkeypatch.setattr(jpeg_2000, "is_installed", lambda: False)
    with pytest.raises(DataError, match=r"a.jp2: JPEG 2000 of 16 bits .* pip install 'hazeheal\[tiff\]'"):
        image_metadata.read(tmp_path / "a.jp2")


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG2000", "JPEG"])
def test_16_bits_in_another_format(tmp_path, format):
    values = pixels(4, dtype=np.uint16)
    values[:5, :, 3] = 0
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(values).numpy())
    read = image_metadata.read(tmp_path / "a.png")
    data = encode_image.encode(65535 - read.rgb, read, format=format)
    (tmp_path / "b").write_bytes(data)
    if format == "JPEG":
        assert Image.open(tmp_path / "b").mode == "RGB"
        return
    again = image_metadata.read(tmp_path / "b")
    assert np.array_equal(again.alpha, values[..., 3])
    assert np.array_equal(again.rgb[5:], 65535 - values[5:, :, :3])
    assert np.array_equal(again.rgb[:5], values[:5, :, :3]), "transparent pixels stay as they are"


def test_the_comment_of_a_jpeg_is_kept(tmp_path):
    path = saved(tmp_path, Image.fromarray(pixels()), "a.jpg", comment="Straße".encode())
    assert through(path)[1].info["comment"] == "Straße".encode()


def test_quality(tmp_path):
    path = saved(tmp_path, Image.fromarray(pixels(height=200, width=200)), "a.jpg", quality=95)
    read = image_metadata.read(path)
    sizes = [len(encode_image.encode(read.rgb, read, format="JPEG", quality=q)) for q in (30, 80, None, 100)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
