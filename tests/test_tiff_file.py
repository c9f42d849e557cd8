"""A restored TIFF has the layout, the samples and the tags of the hazy one."""

import importlib.util
import io

import numpy as np
import pytest
import tifffile
from image_files import saved
from PIL import Image
from refusals import refusal
from tiff_files import colors, extra_samples, written

from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions
from hazeheal.errors import DataError, OptionNeededError
from hazeheal.inference import encode_image, image_metadata

HAS_CODECS = importlib.util.find_spec("imagecodecs") is not None
ICC = b"\0\0\1\0none" + bytes(8) + b"RGB XYZ " + bytes(232)


def through(path, *, options=AS_STORED, change=lambda rgb: rgb):
    """Reads a file, changes the image of the network, and returns (what was read, the page that was written, its samples)."""
    read = image_metadata.read(path, options)
    data = encode_image.encode(change(read.for_network()), read, format="TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        samples = page.asarray()
    return read, page, np.moveaxis(samples, 0, 2) if page.planarconfig == 2 and samples.ndim == 3 else samples


def file(tmp_path, samples, **options):
    (tmp_path / "a.tif").write_bytes(written(samples, **options))
    return tmp_path / "a.tif"


@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_unchanged_image_is_written_as_it_was(tmp_path, dtype, planar):
    samples = colors(3, dtype=dtype)
    options = {"tile": (16, 32), "compression": "zlib", "predictor": True, "byteorder": ">", "iccprofile": ICC}
    tags = [(33550, 12, 3, (2.0, 2.0, 0.0), True), (270, 2, 0, "a scene", True), (42112, 2, 0, "<GDALMetadata/>", True)]
    path = file(tmp_path, samples, planar=planar, extratags=tags, resolution=(300, 300), **options)
    read, page, result = through(path)
    if planar or dtype == "uint16":
        assert read.tiff is not None
    np.testing.assert_array_equal(result, samples)
    assert result.dtype == samples.dtype
    assert page.tags[33550].value == (2.0, 2.0, 0.0) and page.tags[270].value == "a scene"
    if read.tiff is not None:
        original = tifffile.TiffFile(path).pages[0]
        for name in ("planarconfig", "photometric", "compression", "predictor", "is_tiled", "tile", "iccprofile"):
            assert getattr(page, name) == getattr(original, name), name
        assert page.parent.byteorder == ">"
        assert page.tags[42112].value == "<GDALMetadata/>"
        assert page.tags[282].value == (300, 1)
        assert 305 not in page.tags, "no name of a program that the original does not have"


def invert(rgb):
    return np.iinfo(rgb.dtype).max - rgb


def test_the_16_bits_are_restored(tmp_path):
    samples = colors(3)
    read, _, result = through(file(tmp_path, samples), change=invert)
    np.testing.assert_array_equal(read.rgb, samples)
    np.testing.assert_array_equal(result, 65535 - samples)


def test_fewer_bits_are_restored_between_0_and_their_white(tmp_path):
    samples = colors(3, white=4095)
    samples[3, 3] = 5000  # above white
    path = file(tmp_path, samples)
    assert "--white=" in refusal(OptionNeededError, image_metadata.read, path)
    options = PixelOptions(white=4095)
    np.testing.assert_array_equal(through(path, options=options)[2], samples)
    expected = 4095 - np.minimum(samples, 4095) + np.maximum(samples, 4095) - 4095  # keeps its distance from white
    np.testing.assert_array_equal(through(path, options=options, change=invert)[2], expected)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_float_and_signed_samples(tmp_path, dtype):
    white = 1.0 if dtype == "float32" else 4000
    samples = colors(3, dtype=dtype, white=white)
    samples[5, 5] = -white / 10
    _, _, same = through(file(tmp_path, samples), options=PixelOptions(white=white))
    np.testing.assert_allclose(same, samples, atol=white / 65535)
    assert same.dtype == samples.dtype
    _, _, inverted = through(file(tmp_path, samples), options=PixelOptions(white=white), change=invert)
    np.testing.assert_allclose(inverted[10:], white - samples[10:], atol=white / 65535)


def test_other_bands_are_passed_through(tmp_path):
    samples = colors(6)
    path = file(tmp_path, samples, planar=True, photometric="minisblack", **extra_samples(5))
    _, page, result = through(path, options=PixelOptions(bands=(4, 3, 1)), change=invert)
    expected = samples.copy()
    expected[..., [3, 2, 0]] = 65535 - samples[..., [3, 2, 0]]
    np.testing.assert_array_equal(result, expected)
    assert page.extrasamples == (0,) * 5 and page.photometric == 1


def test_an_unspecified_fourth_band_is_kept(tmp_path):
    samples = colors(4, dtype="uint8")
    _, page, result = through(file(tmp_path, samples, **extra_samples(1)), change=invert)
    np.testing.assert_array_equal(result, np.dstack([255 - samples[..., :3], samples[..., 3]]))
    assert page.extrasamples == (0,)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_inverted_gray_stays_inverted(tmp_path, dtype):
    samples = colors(1, dtype=dtype)
    white = np.iinfo(dtype).max
    read, page, result = through(file(tmp_path, samples, photometric="miniswhite"))
    np.testing.assert_array_equal(read.rgb[..., 0], white - samples[..., 0])
    if dtype == "uint16":
        assert page.photometric == 0
        np.testing.assert_array_equal(result, samples[..., 0])


def test_transparent_pixels_and_those_without_data_are_hidden_and_kept(tmp_path):
    samples = np.dstack([colors(3), np.full((50, 70), 65535, np.uint16)])
    samples[:, :30, 3] = 0
    samples[:, :30, :3] = 0
    path = file(tmp_path, samples, extrasamples=("unassalpha",))
    read, page, result = through(path, change=invert)
    assert read.for_network()[:, :30].min() > 2000, "the network does not see the black border"
    np.testing.assert_array_equal(read.for_network()[:, 30:], samples[:, 30:, :3])
    np.testing.assert_array_equal(result[:, :30], samples[:, :30])
    np.testing.assert_array_equal(result[:, 30:, :3], 65535 - samples[:, 30:, :3])
    np.testing.assert_array_equal(result[..., 3], samples[..., 3])
    assert page.extrasamples == (2,)
    samples = colors(3, dtype="uint8")
    samples[20:] = 9
    path = file(tmp_path, samples, extratags=[(42113, 2, 0, "9", True)])
    read, page, result = through(path, change=invert)
    np.testing.assert_array_equal(result, np.concatenate([255 - samples[:20], samples[20:]]))
    assert page.tags[42113].value == "9"


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_of_other_formats_are_hidden_and_kept(tmp_path, format):
    samples = np.dstack([colors(3, dtype="uint8"), np.full((50, 70), 255, np.uint8)])
    samples[:, :30] = 0
    (tmp_path / "a").write_bytes(
        saved(samples, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    )
    read = image_metadata.read(tmp_path / "a")
    assert read.for_network()[:, :30].min() > 8
    result = np.asarray(Image.open(io.BytesIO(encode_image.encode(invert(read.for_network()), read, format=format))))
    np.testing.assert_array_equal(result[:, :30], samples[:, :30])
    np.testing.assert_array_equal(result[:, 30:, :3], 255 - samples[:, 30:, :3])


def test_an_image_that_is_turned_upright_is_written_upright(tmp_path):
    samples = colors(5)
    options = extra_samples(4) | {"photometric": "minisblack", "extratags": [(274, 3, 1, 6, True)]}
    _, page, result = through(file(tmp_path, samples, **options), options=PixelOptions(bands=(3, 2, 1)))
    np.testing.assert_array_equal(result, np.rot90(samples, -1))
    assert 274 not in page.tags


def test_packed_samples_get_all_bits_of_their_type(tmp_path):
    values = colors(1, height=4, width=6, white=4095)[..., 0]
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.reshape(-1, 2).tolist())
    data = bytearray(written(np.zeros((4, 6, 1), np.uint8), photometric="minisblack", rowsperstrip=4))
    with tifffile.TiffFile(io.BytesIO(data)) as original:
        tags = original.pages[0].tags
        for code, value in ((258, 12), (279, len(packed)), (273, len(data))):
            tag = tags[code]
            data[tag.valueoffset : tag.valueoffset + tag.valuebytecount] = value.to_bytes(tag.valuebytecount, "little")
    (tmp_path / "a.tif").write_bytes(bytes(data) + packed)
    _, page, result = through(tmp_path / "a.tif")
    assert page.bitspersample == 16
    np.testing.assert_array_equal(result, np.rint(values * (65535 / 4095)).astype(np.uint16))


def test_a_compression_that_cannot_be_written_becomes_deflate(tmp_path, monkeypatch):
    if not HAS_CODECS:
        pytest.skip("tifffile reads LZW with imagecodecs only")
    samples = colors(3)
    path = file(tmp_path, samples, compression="lzw")
    assert through(path)[1].compression.name == "LZW"
    path = file(tmp_path, colors(3, dtype="uint8"), compression="jpeg", planar=True)
    assert through(path)[1].compression.name == "ADOBE_DEFLATE"


def test_a_mask_is_never_lost(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(colors(3, dtype="uint8"), photometric="rgb", metadata=None)
        writer.write(np.ones((50, 70), bool), photometric="mask", subfiletype=4, metadata=None)
    assert "hazeheal[geo]" in refusal(DataError, image_metadata.read, tmp_path / "a.tif")


def test_fewer_bits_of_a_png_stay_in_the_file(tmp_path):
    samples = colors(1, white=4095)
    (tmp_path / "a.png").write_bytes(saved(samples[..., 0], "PNG"))
    assert "--white=4095" in refusal(OptionNeededError, image_metadata.read, tmp_path / "a.png")
    read = image_metadata.read(tmp_path / "a.png", PixelOptions(white=4095))
    assert read.rgb.max() == 65535
    result = encode_image.encode(invert(read.rgb), read, format="PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(result))), 4095 - samples[..., 0])
