"""HEIC and JPEG XL are read with their extras, and named with them if they are missing; raw files are named."""

import io
import sys

import numpy as np
import pytest
from converting import convert, write_pairs
from image_files import RGB, saved
from PIL import Image
from refusals import refusal

from hazeheal.data.images import image_io, plugins
from hazeheal.data.pairing.folders import list_images
from hazeheal.errors import DataError, UsageError
from hazeheal.inference import encode_image, image_metadata
from hazeheal.inference.jobs import find_jobs

HEADS = {
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
    "jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40),
}


@pytest.mark.parametrize("extra", HEADS)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, extra):
    for module in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    path = tmp_path / f"a.{extra}"
    path.write_bytes(HEADS[extra])
    for read in (image_io.load_rgb, image_io.read_size, image_metadata.read):
        assert f"pip install 'hazeheal[{extra}]'" in refusal(DataError, read, path)


def test_pairs_with_a_heic_image_are_not_left_out_silently(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    source = write_pairs(tmp_path / "in", scenes=3, versions=1, kind="png")
    (source / "hazy/0002_0.8_1.png").unlink()
    (source / "hazy/0002_0.8_1.heic").write_bytes(HEADS["heic"])
    assert convert(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "0002_0.8_1.heic: HEIC needs the package pillow-heif" in error and "--skip_bad" in error


def test_heic_is_read(tmp_path):
    pytest.importorskip("pillow_heif", reason="needs pillow-heif, of the extra heic").register_heif_opener()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    (tmp_path / "a.heic").write_bytes(saved(RGB, "HEIF", quality=-1, chroma=444, exif=exif))
    image, passthrough = image_io.load_rgb(tmp_path / "a.heic")
    assert np.abs(image.astype(int) - RGB).max() <= 3 and not passthrough.reusable
    assert image_io.read_size(tmp_path / "a.heic") == RGB.shape[:2]
    jobs = find_jobs([tmp_path / "a.heic"], output=tmp_path / "out").jobs
    assert [job.output.name for job in jobs] == ["a.heic.png"]
    read = image_metadata.read(tmp_path / "a.heic")
    result = Image.open(io.BytesIO(encode_image.encode(read.rgb, read, format="PNG")))
    assert np.array_equal(result, image) and result.getexif()[0x010F] == "Maker"


def test_jpeg_xl_is_read(tmp_path):
    pytest.importorskip("pillow_jxl", reason="needs pillow-jxl-plugin, of the extra jxl")
    (tmp_path / "a.jxl").write_bytes(saved(RGB, "JXL", lossless=True))
    np.testing.assert_array_equal(image_io.load_rgb(tmp_path / "a.jxl")[0], RGB)
    assert image_io.read_size(tmp_path / "a.jxl") == RGB.shape[:2]


def test_raw_files_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(RGB, "PNG"))
    (tmp_path / "a.DNG").write_bytes(b"II*\0")
    (tmp_path / "b.nef").write_bytes(b"II*\0")
    names, notes = list_images(tmp_path, "--hazy_dir")
    assert names == ["a.png"]
    assert any("left out 2 camera raw files (a.DNG, b.nef); develop them" in note for note in notes)
    found = find_jobs([tmp_path], output=tmp_path / "out")
    assert found.raw == [str(tmp_path / "a.DNG"), str(tmp_path / "b.nef")] and found.others == 2
    (tmp_path / "a.png").unlink()
    assert "(a.DNG, b.nef)" in refusal(DataError, list_images, tmp_path, "--hazy_dir")
    assert "b.nef); develop them" in refusal(UsageError, find_jobs, [tmp_path], output=tmp_path / "out")
    named = find_jobs([tmp_path / "a.DNG"], output=tmp_path / "out")
    assert len(named.jobs) == 1 and not named.raw, "reported as a file that cannot be restored"


def test_avif_needs_no_plugin():
    assert plugins.register(saved(RGB, "AVIF")[:64]) == ""
