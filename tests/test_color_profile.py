"""Embedded color profiles are converted to sRGB by `color="convert"`, and ignored by default.

The profiles are made here, from the primaries and the curve of the color space. The expected values come from the same
numbers in NumPy.
"""

import struct

import numpy as np
import pytest
from image_files import RGB, saved
from PIL import Image, ImageCms
from tiff_files import written

from hazeheal.data.images.image_io import decode, load_rgb
from hazeheal.data.images.pixel_options import TO_SRGB

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Primaries to XYZ of D50, in columns red, green, blue.
TO_XYZ = {
    "Display P3": [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]],
    "Adobe RGB": [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]],
}
SRGB_TO_XYZ = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]


def profile(name, *, gamma=2.19921875, space=b"RGB "):
    """Returns an ICC profile of version 2 with a pure gamma."""
    fixed = [struct.pack(">i", round(value * 65536)) for value in np.array(TO_XYZ.get(name, np.eye(3))).T.ravel()]
    xyz = [b"XYZ \0\0\0\0" + b"".join(fixed[3 * i : 3 * i + 3]) for i in range(3)]
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", b"wtpt": white}
    tags |= {b"kTRC": curve} if space == b"GRAY" else dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz, strict=True))
    tags |= {} if space == b"GRAY" else dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, offset = b"", b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", offset + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + white[8:] + bytes(48)
    return header[:128] + struct.pack(">I", len(tags)) + table + body


def to_srgb(rgb, name, gamma=2.19921875):
    """Returns the sRGB values of `rgb`, uint8, in a color space; those out of its gamut are clipped."""
    linear = (rgb / 255) ** gamma @ np.array(TO_XYZ[name]).T @ np.linalg.inv(SRGB_TO_XYZ).T
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded)


CALM = (RGB // 3 + 80).astype(np.uint8)  # within the gamut of sRGB


@pytest.mark.parametrize("name", TO_XYZ)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_colors_are_converted_by_the_profile(name, format):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    data = saved(CALM, format, icc_profile=profile(name), **options)
    stored, passthrough = load_rgb(data)
    decoded = decode(data, options=TO_SRGB)
    converted = np.asarray(decoded.image)
    assert np.abs(converted - to_srgb(stored, name)).max() <= 1
    assert np.abs(converted.astype(int) - stored).max() > 8
    assert decoded.profile == name
    assert not decoded.passthrough.reusable
    if passthrough.reusable:
        assert decoded.passthrough.reason == "its colors were converted to sRGB"


def test_samples_of_16_bits_are_converted_too():
    wide = CALM.astype(np.uint16) * 257
    image = load_rgb(written(wide, planar=True, iccprofile=profile("Display P3")), options=TO_SRGB)[0]
    assert np.abs(image - to_srgb(CALM, "Display P3")).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "P", "L"])
def test_a_profile_applies_to_the_modes_of_its_space(mode):
    image = Image.fromarray(CALM).convert(mode)
    data = saved(image, "PNG", icc_profile=profile("Adobe RGB"))
    stored = load_rgb(data)[0]
    converted = load_rgb(data, options=TO_SRGB)[0]
    expected = stored if mode == "L" else to_srgb(stored, "Adobe RGB")
    assert np.abs(converted - expected).max() <= 1


def test_gray_is_converted_by_a_gray_profile():
    gray = np.arange(256, dtype=np.uint8)[None]
    data = saved(gray, "PNG", icc_profile=profile("Gray", gamma=1.0, space=b"GRAY"))
    converted = load_rgb(data, options=TO_SRGB)[0].astype(int)
    linear = gray / 255
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(converted - np.rint(255 * encoded)[..., None]).max() <= 2


@pytest.mark.parametrize("icc", [SRGB, b"damaged", profile("Adobe RGB")[:200]], ids=["sRGB", "damaged", "truncated"])
def test_srgb_and_damaged_profiles_change_nothing(icc):
    data = saved(RGB, "PNG", icc_profile=icc)
    image, passthrough = load_rgb(data, options=TO_SRGB)
    np.testing.assert_array_equal(image, RGB)
    assert passthrough.reusable
