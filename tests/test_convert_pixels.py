"""`hazeheal-tfrecords convert` and `hazeheal evaluate`: white level, bands, color profiles, sizes, and the check of pairs."""

import io
import json

import numpy as np
import pytest
from converting import all_records, contents, convert, hazed, image
from image_files import saved
from PIL import Image
from refusals import refusal
from test_color_profile import profile, to_srgb
from tiff_files import extra_samples, to_uint8, written

from hazeheal.data import records
from hazeheal.data.images.pixel_options import TO_SRGB, PixelOptions
from hazeheal.errors import DataError, OptionNeededError
from hazeheal.evaluation import pairs
from tfrecords_tools.__main__ import main

ONE = "--val_fraction=0"


def write(folder, **files):
    """Writes {`hazy/NAME` or `GT/NAME`: bytes}, given as hazy_NAME=..., GT_NAME=...; `_` is the suffix's dot."""
    for name, data in files.items():
        side, stem, suffix = name.split("_")
        path = folder / side / f"{stem}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def decoded(directory, split="train"):
    """{key: (hazy, clear)} of a data set, as arrays."""
    found = {}
    for pair, _ in all_records(directory, split):
        found[pair.key] = tuple(np.asarray(Image.open(io.BytesIO(data))) for data in (pair.hazy, pair.clear))
    return found


def wide(pixels, white=4095):
    return np.floor(pixels.astype(float) * white / 255 + 0.5).astype(np.uint16)


CLEAR = image(1)
HAZY = hazed(CLEAR, 0.6)


def test_white_holds_for_both_images_and_is_in_the_manifest(tmp_path, capsys):
    source = write(tmp_path / "in", hazy_a_tif=written(wide(HAZY)), GT_a_tif=written(wide(CLEAR), planar=True))
    assert convert(source, tmp_path / "out", ONE) == 1
    error = capsys.readouterr().err
    assert "a.tif: 16-bit samples far below the white level" in error and "--white=4095" in error
    assert convert(source, tmp_path / "set", ONE, "--white=4095") == 0
    hazy, clear = decoded(tmp_path / "set")["a"]
    np.testing.assert_array_equal(hazy, HAZY)
    np.testing.assert_array_equal(clear, CLEAR)
    assert records.load_manifest(tmp_path / "set")["options"]["white"] == 4095
    assert main(["verify", str(tmp_path / "set")]) == 0
    assert convert(source, tmp_path / "set", ONE, "--white=4095") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert convert(source, tmp_path / "set", ONE, "--white=5000") == 2
    assert "white=4095 there, 5000 now" in capsys.readouterr().err


def test_a_percentile_of_the_hazy_image_holds_for_both_and_is_with_the_sources(tmp_path):
    hazy = wide(HAZY, 3000)
    hazy[0, :3] = 50000
    source = write(tmp_path / "in", hazy_a_tif=written(hazy), GT_a_tif=written(wide(CLEAR, 3000)))
    assert convert(source, tmp_path / "set", ONE, "--white=p99.5") == 0
    white = int(np.percentile(hazy, 99.5, method="higher"))
    stored = decoded(tmp_path / "set")["a"]
    np.testing.assert_array_equal(stored[0], to_uint8(hazy, white))
    np.testing.assert_array_equal(stored[1], to_uint8(wide(CLEAR, 3000), white))
    assert records.load_manifest(tmp_path / "set")["options"]["white"] == "p99.5"
    (line,) = (tmp_path / "set/set-train.sources.jsonl").read_text().splitlines()
    assert json.loads(line)["white"] == white


def test_white_beside_8_bits_and_of_different_types(tmp_path, capsys):
    source = write(tmp_path / "in", hazy_a_png=saved(HAZY, "PNG"), GT_a_tif=written(wide(CLEAR)))
    assert convert(source, tmp_path / "set", ONE, "--white=4095") == 0
    for stored, expected in zip(decoded(tmp_path / "set")["a"], (HAZY, CLEAR), strict=True):
        np.testing.assert_array_equal(stored, expected)
    floats = (HAZY / 255).astype(np.float32)
    source = write(tmp_path / "mixed", hazy_a_tif=written(floats), GT_a_tif=written(wide(CLEAR)))
    assert convert(source, tmp_path / "out", ONE, "--white=p99") == 1
    assert "100 % of its samples are above --white=0." in capsys.readouterr().err


def test_bands_are_refused_before_anything_is_written(tmp_path, capsys):
    bands = np.dstack([HAZY[..., ::-1], CLEAR])  # blue, green, red, and others
    hazy = written(bands, photometric="minisblack", **extra_samples(5))
    source = write(tmp_path / "in", hazy_a_tif=hazy, GT_a_png=saved(CLEAR, "PNG"))
    assert convert(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "a.tif: TIFF of 6 bands of uint8, MINISBLACK" in error and "--bands=4,3,2" in error
    assert not (tmp_path / "out").exists()
    assert convert(source, tmp_path / "set", ONE, "--bands=3,2,1") == 0
    for stored, expected in zip(decoded(tmp_path / "set")["a"], (HAZY, CLEAR), strict=True):
        np.testing.assert_array_equal(stored, expected)
    assert records.load_manifest(tmp_path / "set")["options"]["bands"] == [3, 2, 1]


def test_color_profiles_are_converted_and_counted(tmp_path, capsys):
    calm = (HAZY // 3 + 80).astype(np.uint8)
    hazy = saved(calm, "PNG", icc_profile=profile("Display P3"))
    source = write(tmp_path / "in", hazy_a_png=hazy, GT_a_png=saved(CLEAR, "PNG"))
    assert convert(source, tmp_path / "set", ONE) == 0
    said = capsys.readouterr().out
    assert "1 images stored byte for byte, 1 re-encoded" in said
    assert "1 image converted to sRGB from the color profile Display P3" in said
    assert np.abs(decoded(tmp_path / "set")["a"][0] - to_srgb(calm, "Display P3")).max() <= 1
    manifest = records.load_manifest(tmp_path / "set")
    assert manifest["converted_to_srgb"] == {"Display P3": 1} and "color" not in manifest["options"]
    assert convert(source, tmp_path / "kept", ONE, "--color=keep") == 0
    assert "sRGB" not in capsys.readouterr().out
    ((pair, _),) = all_records(tmp_path / "kept", "train")
    assert pair.hazy == hazy
    assert records.load_manifest(tmp_path / "kept")["options"]["color"] == "keep"


def test_ordinary_images_have_the_options_and_fingerprint_of_earlier_versions(tmp_path):
    source = write(tmp_path / "in", hazy_a_png=saved(HAZY, "PNG"), GT_a_png=saved(CLEAR, "PNG"))
    assert convert(source, tmp_path / "set", ONE) == 0
    manifest = records.load_manifest(tmp_path / "set")
    assert not {"white", "bands", "color", "pixels"} & manifest["options"].keys()
    assert "converted_to_srgb" not in manifest


@pytest.mark.parametrize(
    ("mode", "size", "said"),
    [
        ("resize", (56, 40), "resize would change the aspect ratio by 96 %"),
        ("resize", (40, 54), "resize would change the aspect ratio by 4 %"),
        ("center_crop", (80, 112), "center_crop would cut off 50 % of a side"),
        ("center_crop", (40, 63), "center_crop would cut off 11 % of a side"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, capsys, mode, size, said):
    files = {"hazy_a_png": HAZY, "GT_a_png": image(1, *size), "hazy_b_png": HAZY, "GT_b_png": CLEAR}
    source = write(tmp_path / "in", **{name: saved(pixels, "PNG") for name, pixels in files.items()})
    assert convert(source, tmp_path / "out", f"--size_mismatch={mode}") == 1
    error = capsys.readouterr().err
    assert said in error and "1 pairs of different sizes (--skip_bad to continue)" in error
    assert not (tmp_path / "out").exists()
    assert convert(source, tmp_path / "set", f"--size_mismatch={mode}", "--skip_bad", ONE) == 0
    assert list(decoded(tmp_path / "set")) == ["b"]
    assert said in (tmp_path / "set/skipped.txt").read_text()
    if mode == "center_crop":
        with pytest.raises(DataError, match=said):
            pairs.from_folders(source / "hazy", source / "GT", size_mismatch=mode)


@pytest.mark.parametrize(("mode", "size"), [("resize", (20, 28)), ("resize", (40, 57)), ("center_crop", (44, 62))])
def test_images_that_nearly_fit_get_one_size(tmp_path, mode, size):
    source = write(tmp_path / "in", hazy_a_png=saved(HAZY, "PNG"), GT_a_png=saved(image(1, *size), "PNG"))
    assert convert(source, tmp_path / "set", f"--size_mismatch={mode}", ONE) == 0
    assert [part.shape for part in decoded(tmp_path / "set")["a"]] == [(40, 56, 3)] * 2


def summary(source, tmp_path, capsys):
    assert convert(source, tmp_path / "set", ONE) == 0
    return capsys.readouterr().out.partition("wrote ")[2]


def test_the_summary_has_the_psnr_of_the_pairs(tmp_path, capsys):
    files = {}
    for seed, t in enumerate((0.5, 0.8)):
        files |= {f"hazy_{seed}_png": saved(hazed(image(seed), t), "PNG"), f"GT_{seed}_png": saved(image(seed), "PNG")}
    said = summary(write(tmp_path / "in", **files), tmp_path, capsys)
    psnr = [row["psnr"] for _, row in all_records(tmp_path / "set", "train")]
    text = f"PSNR of the hazy images: mean {np.mean(psnr):.2f} dB ({min(psnr):.2f} to {max(psnr):.2f})"
    assert text in said and "warning" not in said
    assert main(["info", str(tmp_path / "set")]) == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("hazy", "clear", "said"),
    [
        (CLEAR, CLEAR, "warning: 1 pair of two equal images"),
        (CLEAR ^ 1, CLEAR, "warning: 1 pair above 45 dB"),
        (np.full_like(CLEAR, 255), np.zeros_like(CLEAR), "warning: 1 pair below 5 dB"),
        (CLEAR, hazed(CLEAR, 0.3), "warning: 1 of 1 hazy images are darker than their clear images"),
    ],
    ids=["equal", "nearly equal", "unrelated", "exchanged"],
)
def test_suspicious_pairs_are_named(tmp_path, capsys, hazy, clear, said):
    source = write(tmp_path / "in", hazy_a_png=saved(hazy, "PNG"), GT_a_png=saved(clear, "PNG"))
    text = summary(source, tmp_path, capsys)
    assert said in text and text.count("warning") == 1
    assert "(a)" in text or "exchanged" in text


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path):
    files = {}
    for seed in range(4):
        files |= {
            f"hazy_{seed}_tif": written(wide(hazed(image(seed), 0.5))),
            f"GT_{seed}_tif": written(wide(image(seed))),
        }
    source = write(tmp_path / "in", **files)
    flags = ("--white=p99.5", "--num_shards=2", ONE)
    assert convert(source, tmp_path / "one", *flags) == convert(source, tmp_path / "two", *flags, workers=2) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_synthesize_and_convert_agree_on_the_samples(tmp_path, capsys):
    """The hazy images of `synthesize` have 8 bits in sRGB, and their clear images are copied."""
    clear = written(wide(CLEAR), iccprofile=profile("Display P3"))
    write(tmp_path, clear_a_tif=clear)
    flags = [f"--clear_dir={tmp_path / 'clear'}", f"--output_dir={tmp_path / 'pairs'}", "--workers=1"]
    assert main(["synthesize", *flags]) == 1
    assert "--white=4095" in capsys.readouterr().err
    assert main(["synthesize", *flags, "--white=4095", "--beta=0"]) == 0
    assert capsys.readouterr().out.endswith("--output_dir=RECORDS --white=4095\n")
    assert (tmp_path / "pairs/GT/a.tif").read_bytes() == clear
    assert convert(tmp_path / "pairs", tmp_path / "set", ONE, "--white=4095") == 0
    hazy, stored = decoded(tmp_path / "set")["a"]
    np.testing.assert_array_equal(hazy, stored)


def test_an_evaluation_reads_the_same_samples(tmp_path):
    hazy = written(wide(HAZY), iccprofile=profile("Display P3"))
    source = write(tmp_path / "in", hazy_a_tif=hazy, GT_a_png=saved(CLEAR, "PNG"))
    assert convert(source, tmp_path / "set", ONE, "--white=4095") == 0
    options = PixelOptions(white=4095, color="convert")
    found = pairs.from_folders(source / "hazy", source / "GT", pixels=options)
    for loaded, stored in zip(found.pairs[0].load(), decoded(tmp_path / "set")["a"], strict=True):
        np.testing.assert_array_equal(loaded, stored)
    assert found.description["white"] == 4095
    plain = pairs.from_folders(source / "hazy", source / "GT", pixels=TO_SRGB)
    assert "--white=" in refusal(OptionNeededError, plain.pairs[0].load)
