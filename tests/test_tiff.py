"""TIFFs of every layout are read right, or refused with what to do."""

import dataclasses
import importlib.util
import io

import numpy as np
import pytest
import tifffile
from image_files import saved
from PIL import Image
from refusals import refusal
from tiff_files import colors, extra_samples, to_uint8, written

from hazeheal.data.images import image_io, tiff, tiff_bands
from hazeheal.data.images.image_io import load_rgb
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.errors import DataError, OptionNeededError

NEEDS_CODECS = pytest.mark.skipif(
    importlib.util.find_spec("imagecodecs") is None, reason="needs the package imagecodecs, of the extra tiff"
)
NEEDS_RASTERIO = pytest.mark.skipif(
    importlib.util.find_spec("rasterio") is None, reason="needs the package rasterio, of the extra geo"
)
LAYOUTS = {
    "strips": {},
    "one strip": {"rowsperstrip": 50},
    "tiles": {"tile": (16, 32)},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "Deflate": {"compression": "zlib"},
    "Deflate, predictor, tiles, big-endian": {
        "compression": "zlib",
        "predictor": True,
        "tile": (32, 16),
        "byteorder": ">",
    },
    "PackBits": {"compression": "packbits"},
    "LZMA": {"compression": "lzma"},
}
WITH_CODECS = [
    pytest.param({"compression": "lzw", "predictor": True}, id="LZW", marks=NEEDS_CODECS),
    pytest.param({"compression": "zstd", "tile": (16, 16)}, id="Zstandard", marks=NEEDS_CODECS),
]


@pytest.mark.parametrize("options", [*(pytest.param(v, id=k) for k, v in LAYOUTS.items()), *WITH_CODECS])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_layout_of_the_samples_is_read(options, planar, dtype):
    if options.get("compression") == "packbits" and importlib.util.find_spec("imagecodecs") is None:
        pytest.skip("tifffile writes PackBits with imagecodecs only")
    samples = colors(dtype=dtype)
    image, passthrough = load_rgb(written(samples, planar=planar, **options))
    np.testing.assert_array_equal(image, to_uint8(samples, np.iinfo(dtype).max))
    assert (passthrough.reusable, passthrough.reason) == (False, "tiff, not JPEG or PNG")


@pytest.mark.parametrize("bits", ["uint8", "uint16"])
def test_0_is_white_in_miniswhite(bits):
    samples = colors(1, dtype=bits)
    image, _ = load_rgb(written(samples, photometric="miniswhite"))
    np.testing.assert_array_equal(image, 255 - to_uint8(samples, np.iinfo(bits).max))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "int32", "uint32"])
def test_types_without_a_known_white_need_the_flag(dtype):
    white = 1.0 if dtype.startswith("float") else 4000
    samples = colors(dtype=dtype, white=white)
    data = written(samples)
    message = refusal(OptionNeededError, load_rgb, data, name="a.tif")
    assert message.startswith("a.tif: ") and "--white=" in message and "damaged" not in message
    image, _ = load_rgb(data, options=PixelOptions(white=white))
    np.testing.assert_array_equal(image, to_uint8(samples, white))


def test_three_gray_bands_are_red_green_and_blue():
    samples = colors(3)
    data = written(samples, photometric="minisblack", **extra_samples(2))  # as GDAL writes three bands of 16 bits
    np.testing.assert_array_equal(load_rgb(data)[0], to_uint8(samples, 65535))


@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("bands", [2, 4, 8, 13])
def test_bands_without_a_meaning_need_the_flag(bands, planar):
    samples = colors(bands)
    data = written(samples, planar=planar, photometric="minisblack", **extra_samples(bands - 1))
    message = refusal(OptionNeededError, load_rgb, data, name="scene.tif")
    assert f"scene.tif: TIFF of {bands} bands of uint16, MINISBLACK" in message
    assert "--bands=4,3,2" in message and "--bands=1" in message and "damaged" not in message
    image, _ = load_rgb(data, options=PixelOptions(bands=(2,)))
    np.testing.assert_array_equal(image, to_uint8(samples[..., 1:2], 65535))
    if bands >= 4:
        image, _ = load_rgb(data, options=PixelOptions(bands=(4, 3, 2)))
        np.testing.assert_array_equal(image, to_uint8(samples[..., [3, 2, 1]], 65535))


def test_bands_apply_to_a_tiff_that_declares_colors_if_it_has_them():
    samples = colors(4, dtype="uint8")
    data = written(samples, **extra_samples(1))
    np.testing.assert_array_equal(load_rgb(data)[0], samples[..., :3])
    np.testing.assert_array_equal(load_rgb(data, options=PixelOptions(bands=(4, 1, 2)))[0], samples[..., [3, 0, 1]])
    rgb = colors(3, dtype="uint8")
    np.testing.assert_array_equal(load_rgb(written(rgb), options=PixelOptions(bands=(4, 3, 2)))[0], rgb)
    gray = written(colors(3), photometric="minisblack", **extra_samples(2))
    message = refusal(OptionNeededError, load_rgb, gray, options=PixelOptions(bands=(4, 3, 2)))
    assert "--bands=4,3,2 names a band that this TIFF of 3 bands" in message


def test_colors_that_gdal_names_are_used():
    samples = colors(4)
    names = "".join(
        f'<Item name="COLORINTERP" sample="{band}" role="colorinterp">{color}</Item>'
        for band, color in enumerate(("Blue", "Green", "Red"))
    )
    tags = [(42112, 2, 0, f"<GDALMetadata>{names}</GDALMetadata>", True)]
    data = written(samples, photometric="minisblack", extratags=tags, **extra_samples(3))
    np.testing.assert_array_equal(load_rgb(data)[0], to_uint8(samples[..., [2, 1, 0]], 65535))


def test_alpha_is_dropped_and_transparent_pixels_are_black():
    samples = np.dstack([colors(3), np.full((50, 70), 65535, np.uint16)])
    samples[10:20, :, 3] = 0
    expected = to_uint8(samples[..., :3], 65535)
    expected[10:20] = 0
    np.testing.assert_array_equal(load_rgb(written(samples, extrasamples=("unassalpha",)))[0], expected)
    partly = samples.copy()
    partly[..., 3] //= 2
    message = refusal(DataError, load_rgb, written(partly, extrasamples=("assocalpha",)))
    assert "multiplied by its alpha" in message


@pytest.mark.parametrize(
    ("dtype", "no_data"), [("uint16", 0), ("uint16", 65535), ("float32", "nan"), ("float32", -9999)]
)
def test_pixels_without_data_are_black_and_do_not_decide_white(dtype, no_data):
    white = 4000 if dtype == "uint16" else 0.5
    samples = colors(dtype=dtype, white=white)
    samples[:20] = no_data
    data = written(samples, extratags=[(42113, 2, 0, str(no_data), True)])
    if dtype == "uint16":
        assert "far below" in refusal(OptionNeededError, load_rgb, data)
    expected = to_uint8(np.nan_to_num(samples), white)
    expected[:20] = 0
    np.testing.assert_array_equal(load_rgb(data, options=PixelOptions(white=white))[0], expected)
    np.testing.assert_array_equal(load_rgb(data, options=PixelOptions(white="p100"))[0][20:].max(), 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(orientation):
    samples = colors(3)
    data = written(samples, extratags=[(274, 3, 1, orientation, True)])
    plain = load_rgb(saved(Image.fromarray(to_uint8(samples, 65535)), "TIFF", tiffinfo={274: orientation}))[0]
    np.testing.assert_array_equal(load_rgb(data)[0], plain)


def test_inks_of_16_bits_are_converted():
    inks = colors(4)
    image, _ = load_rgb(written(inks, photometric="separated"))
    eight_bits = np.floor(inks.astype(float) * 255 / 65535 + 0.5).astype(np.uint8)
    expected, _ = load_rgb(written(eight_bits, photometric="separated"))
    np.testing.assert_array_equal(image, expected)


def test_a_sparse_segment_has_no_data():
    samples = colors(3)
    data = bytearray(written(samples, tile=(32, 32)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        counts, offsets = file.pages[0].tags[325], file.pages[0].tags[324]
    for tag in (counts, offsets):
        data[tag.valueoffset : tag.valueoffset + tag.valuebytecount // tag.count] = bytes(
            tag.valuebytecount // tag.count
        )
    expected = to_uint8(samples, 65535)
    expected[:32, :32] = 0
    np.testing.assert_array_equal(load_rgb(bytes(data))[0], expected)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_truncated_file_is_damaged(compression):
    data = written(colors(3, height=200, width=200), compression=compression)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        end = max(np.add(file.pages[0].dataoffsets, file.pages[0].databytecounts))
    message = refusal(DataError, load_rgb, data[: end - 100], name="a.tif")
    assert message.startswith("a.tif: truncated or damaged")


def test_several_pages_and_raw_files_are_refused():
    samples = colors(3)
    two = io.BytesIO()
    with tifffile.TiffWriter(two) as file:
        for _ in range(2):
            file.write(samples, photometric="rgb", metadata=None)
    assert "2 frames" in refusal(DataError, load_rgb, two.getvalue())
    raw = written(samples, extratags=[(50706, 1, 4, b"\1\4\0\0", True)])
    assert "camera raw" in refusal(DataError, load_rgb, raw)


def test_a_reduced_copy_is_not_a_page():
    samples, buffer = colors(3), io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(samples, photometric="rgb", metadata=None)
        file.write(samples[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
    np.testing.assert_array_equal(load_rgb(buffer.getvalue())[0], to_uint8(samples, 65535))


def test_a_missing_codec_is_named_with_the_package(monkeypatch, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(written(colors(4), photometric="minisblack", compression="zlib", **extra_samples(3)))
    layout = tiff.read_layout(path)
    missing = dataclasses.replace(layout, can_decode=False, compression="LZW")
    monkeypatch.setattr(tiff, "read_layout", lambda source: missing)
    monkeypatch.setattr(tiff_bands, "_has_rasterio", lambda: False)
    options = PixelOptions(bands=(3, 2, 1))
    for read in (load_rgb, image_io.read_size):
        message = refusal(DataError, read, path, name="a.tif", options=options)
        assert message.startswith("a.tif: TIFF of 4 bands of uint16")
        assert "compression LZW needs the package imagecodecs; pip install 'hazeheal[tiff]'" in message


@NEEDS_RASTERIO
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("kind", ["interleaved", "planes", "miniswhite"])
def test_rasterio_reads_the_same_samples(tmp_path, kind):
    samples = colors(1 if kind == "miniswhite" else 5, white=4095)
    options = extra_samples(4) | {"photometric": "minisblack", "planar": kind == "planes"}
    if kind == "miniswhite":
        options = {"photometric": "miniswhite"}
    (tmp_path / "a.tif").write_bytes(written(samples, **options))
    layout = tiff.read_layout(tmp_path / "a.tif")
    bands = (0,) if kind == "miniswhite" else (3, 1, 0)
    expected = tiff_bands.read_bands(tmp_path / "a.tif", layout, bands)
    unreadable = dataclasses.replace(layout, can_decode=False)
    for source in (tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes()):
        np.testing.assert_array_equal(tiff_bands.read_bands(source, unreadable, bands), expected)


def test_sizes_are_read_from_the_header(tmp_path):
    (tmp_path / "a.tif").write_bytes(written(colors(3), extratags=[(274, 3, 1, 6, True)]))
    assert image_io.read_size(tmp_path / "a.tif") == (70, 50)
    (tmp_path / "b.tif").write_bytes(written(colors(13), photometric="minisblack", **extra_samples(12)))
    assert "--bands=" in refusal(OptionNeededError, image_io.read_size, tmp_path / "b.tif")
    assert image_io.read_size(tmp_path / "b.tif", options=PixelOptions(bands=(4, 3, 2))) == (50, 70)


def test_libraries_write_nothing_to_stderr(capfd):
    fax = bytearray(saved(Image.fromarray(colors(1, dtype="uint8")[..., 0] > 99), "TIFF", compression="group4"))
    for at in range(40, 80):
        fax[at] ^= 0x55
    lzw = bytearray(saved(Image.fromarray(colors(dtype="uint8")), "TIFF", compression="tiff_lzw"))
    for at in range(100, 140):
        lzw[at] ^= 0x55
    for data in (bytes(fax), bytes(lzw), written(colors(8), photometric="minisblack", **extra_samples(7))):
        with pytest.raises(DataError, match=r"^a\.tif: "):
            load_rgb(data, name="a.tif")
    assert capfd.readouterr().err == ""
