"""The white level of samples with more than 8 bits: 65535, `--white`, or refused; for PNG, PNM, JPEG 2000 and TIFF."""

import argparse
import io

import numpy as np
import pytest
from image_files import exif, raw_png, saved
from PIL import Image
from refusals import refusal
from tiff_files import colors, to_uint8, written

from hazeheal.data.images.image_io import load_rgb
from hazeheal.data.images.pixel_options import PixelOptions, parse_bands, parse_white
from hazeheal.errors import OptionNeededError

PNG_COLORS = {1: 0, 2: 4, 3: 2, 4: 6}  # color type of a PNG by its number of channels


def png(samples, **options):
    return raw_png(samples, depth=16, color=PNG_COLORS[samples.shape[2]], **options)


def pnm(samples, maximum=65535):
    kind, (height, width) = {1: "P5", 3: "P6"}[samples.shape[2]], samples.shape[:2]
    return f"{kind} {width} {height} {maximum}\n".encode() + samples.astype(">u2").tobytes()


def tif(samples):
    return written(samples, photometric="rgb" if samples.shape[2] == 3 else "minisblack")


WRITERS = [(png, 1), (png, 3), (pnm, 1), (pnm, 3), (tif, 1), (tif, 3)]


@pytest.mark.parametrize(("write", "bands"), WRITERS)
def test_all_16_bits_count(write, bands):
    samples = colors(bands)
    np.testing.assert_array_equal(load_rgb(write(samples))[0], to_uint8(samples, 65535))


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize(("write", "bands"), WRITERS)
def test_fewer_bits_in_a_16_bit_file_need_the_flag(write, bands, bits):
    white = 2**bits - 1
    samples = colors(bands, white=white)
    message = refusal(OptionNeededError, load_rgb, write(samples), name="a")
    assert message.startswith("a: 16-bit samples far below the white level of 65535")
    assert f"to {white})" in message and f"--white={white}" in message and "--white=65535" in message
    expected = to_uint8(samples, white)
    np.testing.assert_array_equal(load_rgb(write(samples), options=PixelOptions(white=white))[0], expected)
    dark = load_rgb(write(samples), options=PixelOptions(white=65535))[0]
    np.testing.assert_array_equal(dark, to_uint8(samples, 65535))


def test_reflectance_with_clouds_needs_the_flag():
    samples = colors(3, white=3000)
    samples[:10] = 20000
    assert "far below" in refusal(OptionNeededError, load_rgb, tif(samples))


def test_single_bright_pixels_do_not_hide_a_dark_image():
    samples = colors(3, height=200, width=200, white=4095)
    samples[::70, ::70] = 65535
    assert "far below" in refusal(OptionNeededError, load_rgb, png(samples))


def test_a_dark_photograph_with_lamps_is_read():
    samples = colors(3, white=3000)
    samples[:5] = 60000
    np.testing.assert_array_equal(load_rgb(png(samples))[0], to_uint8(samples, 65535))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_of_a_16_bit_png(channels, interlaced):
    samples = colors(channels)
    samples[..., -1] = 65535
    samples[5:9, :, -1] = 0
    expected = to_uint8(samples[..., :-1], 65535)
    expected[5:9] = 0
    np.testing.assert_array_equal(load_rgb(png(samples, interlaced=interlaced))[0], expected)


def test_the_orientation_of_a_16_bit_png_is_applied():
    samples = colors(1)
    image = Image.fromarray(samples[..., 0])
    turned, _ = load_rgb(saved(image, "PNG", exif=exif(6)))
    np.testing.assert_array_equal(turned, np.rot90(to_uint8(samples, 65535), -1))


def test_the_maximum_that_a_pnm_declares_is_its_white():
    samples = colors(3, white=4095)
    np.testing.assert_array_equal(load_rgb(pnm(samples, 4095))[0], to_uint8(samples, 4095))


def test_a_percentile_is_the_white_of_the_image():
    samples = colors(3, white=4000)
    samples[0, :3] = 60000
    value = np.percentile(samples, 99, method="higher")
    image, _ = load_rgb(tif(samples), options=PixelOptions(white="p99"))
    np.testing.assert_array_equal(image, to_uint8(samples, value))
    black = np.zeros((8, 8, 3), np.uint16)
    assert "white must be positive" in refusal(
        OptionNeededError, load_rgb, tif(black), options=PixelOptions(white="p99")
    )


def test_a_white_that_does_not_fit_the_image_is_refused():
    full = colors(3)
    message = refusal(OptionNeededError, load_rgb, tif(full), options=PixelOptions(white=4095))
    assert "% of its samples are above --white=4095" in message
    dark = colors(3, white=30)
    message = refusal(OptionNeededError, load_rgb, tif(dark), options=PixelOptions(white=4095))
    assert "far below --white=4095" in message


def test_white_does_not_apply_to_8_bits():
    samples = colors(3, dtype="uint8")
    for data in (saved(samples, "PNG"), written(samples), written(samples, planar=True)):
        np.testing.assert_array_equal(load_rgb(data, options=PixelOptions(white=4095))[0], samples)
        np.testing.assert_array_equal(load_rgb(data, options=PixelOptions(white="p50"))[0], samples)


@pytest.mark.parametrize("bands", [1, 3])
def test_16_bit_jpeg_2000_far_below_white_is_refused(bands):
    samples = colors(bands, white=4095)
    if bands == 3:
        pytest.importorskip("imagecodecs", reason="Pillow writes no 16-bit colors")
        from imagecodecs import jpeg2k_encode

        data = jpeg2k_encode(samples, level=0)
    else:
        data = saved(Image.fromarray(samples[..., 0]), "JPEG2000")
    assert "far below" in refusal(OptionNeededError, load_rgb, data)
    assert load_rgb(data, options=PixelOptions(white=65535))[0].shape == (50, 70, 3)


@pytest.mark.parametrize("bits", [10, 12, 15])
def test_the_bits_that_a_jpeg_2000_declares_count(bits):
    encode = pytest.importorskip("imagecodecs", reason="Pillow writes 8 and 16 bits only").jpeg2k_encode
    samples = colors(1, white=2**bits - 1)
    image, _ = load_rgb(encode(samples[..., 0], level=0, bitspersample=bits))
    np.testing.assert_array_equal(image, to_uint8(samples, 2**bits - 1))
    dark = samples // 8  # as Sentinel-2, which declares 15 bits
    assert f"{bits}-bit samples far below" in refusal(
        OptionNeededError, load_rgb, encode(dark[..., 0], level=0, bitspersample=bits)
    )
    data = encode(dark[..., 0], level=0, bitspersample=bits)
    white = int(dark.max())
    np.testing.assert_array_equal(load_rgb(data, options=PixelOptions(white=white))[0], to_uint8(dark, white))


def test_float_pfm_needs_the_flag():
    samples = colors(1, dtype="float32", white=1.0)
    buffer = io.BytesIO()
    Image.fromarray(samples[..., 0]).save(buffer, "PPM")
    assert "float samples without a known white level" in refusal(OptionNeededError, load_rgb, buffer.getvalue())
    image, _ = load_rgb(buffer.getvalue(), options=PixelOptions(white=1))
    np.testing.assert_array_equal(image, to_uint8(samples, 1))


def test_flags_are_parsed():
    assert [parse_white(text) for text in ("4095", "1.0", "0.5", "p99.5", "p100")] == [4095, 1, 0.5, "p99.5", "p100"]
    assert [parse_bands(text) for text in ("4,3,2", "1")] == [(4, 3, 2), (1,)]
    for parse, texts in (
        (parse_white, ("0", "-1", "nan", "inf", "p", "p101", "p20", "white", "")),
        (parse_bands, ("", "0", "1,2", "a,b,c", "1,2,3,4", "-1", "１")),
    ):
        for text in texts:
            with pytest.raises(argparse.ArgumentTypeError, match="must be"):
                parse(text)
    assert PixelOptions(color="convert").described() == {}
    assert PixelOptions(0.5, (4, 3, 2)).flags() == " --white=0.5 --bands=4,3,2 --color=keep"
