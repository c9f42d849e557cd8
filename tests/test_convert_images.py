"""Conversion of images that are re-encoded, cut into tiles, resized or skipped."""

import io
import itertools
import os

import numpy as np
import pytest
from converting import all_records, contents, convert, image, write_pairs
from PIL import Image

from hazeheal.data import records
from hazeheal.data.images import image_io
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import pair_records, plan


def test_images_other_than_plain_rgb_are_reencoded_and_counted(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=5, versions=1, kind="png")
    clear = image(1)
    alpha = np.dstack([clear, np.full(clear.shape[:2], 200, np.uint8)])
    Image.fromarray(alpha).save(source / "GT/0001.png")
    Image.fromarray(clear[..., 0]).save(source / "GT/0002.png")
    turned = Image.fromarray(np.rot90(clear).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise: undoes the rotation above
    turned.save(source / "GT/0003.jpg", exif=exif, quality=100, subsampling=0)
    (source / "GT/0003.png").unlink()
    Image.fromarray(clear).save(source / "GT/0004.bmp")
    (source / "GT/0004.png").unlink()
    assert convert(source, tmp_path / "out", "--val_fraction=0") == 0
    assert "7 images stored byte for byte, 3 re-encoded" in capsys.readouterr().out
    reasons = records.load_manifest(tmp_path / "out")["reencoded"]
    assert reasons == {  # part of the fingerprint: another wording would change it
        "PNG with alpha": 1,
        "bmp, not JPEG or PNG": 1,
        "its EXIF orientation had to be applied": 1,
    }
    made = {pair.clear_source: pair.clear for pair, _ in all_records(tmp_path / "out", "train")}
    np.testing.assert_array_equal(Image.open(io.BytesIO(made["0001.png"])), clear)
    assert made["0002.png"] == (source / "GT/0002.png").read_bytes()  # gray is stored byte for byte
    np.testing.assert_array_equal(Image.open(io.BytesIO(made["0004.bmp"])), clear)
    upright = np.asarray(Image.open(io.BytesIO(made["0003.jpg"])), int)
    assert np.abs(upright - clear).mean() < 6
    assert made["0003.jpg"].startswith(b"\x89PNG")
    # Extracted, the other images have the suffix of their new format.
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "files/GT").iterdir()) == [f"000{n}.png" for n in range(1, 6)]
    for name in ("GT/0002.png", "GT/0005.png", "hazy/0001_0.8_1.png"):
        assert (tmp_path / "files" / name).read_bytes() == (source / name).read_bytes()


def test_tiles_cover_the_image_and_contain_its_pixels(source, tmp_path, capsys):
    assert convert(source, tmp_path / "out", "--tile_size=24", "--tile_overlap=6", "--val_fraction=0") == 0
    assert "encoding: png" in capsys.readouterr().out
    covered = {}
    for pair, _ in all_records(tmp_path / "out", "train"):
        key, place = pair.key.split("@")
        top, left = map(int, place.split("_"))
        whole = image_io.load_rgb(source / "hazy" / pair.hazy_source)[0]
        tile = np.asarray(Image.open(io.BytesIO(pair.hazy)))
        assert tile.shape == (24, 24, 3) == (pair.height, pair.width, 3)
        np.testing.assert_array_equal(tile, whole[top : top + 24, left : left + 24])
        mask = covered.setdefault(key, np.zeros(whole.shape[:2], int))
        mask[top : top + 24, left : left + 24] += 1
    assert len(covered) == 16 and all(mask.min() >= 1 for mask in covered.values())
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    assert (tmp_path / "files/GT/0001_0.8_1@00016_00032.png").is_file()
    for length in range(1, 80):
        for tile, overlap in ((1, 0), (7, 3), (24, 6), (80, 79)):
            starts = pair_records.tile_starts(length, tile, overlap)
            assert starts == sorted(set(starts)) and starts[0] == 0
            assert max(starts) + tile == length or (length < tile and starts == [0])
            assert all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))


def test_resizing(source, tmp_path):
    assert convert(source, tmp_path / "square", "--image_size=32") == 0
    pair, row = all_records(tmp_path / "square", "train")[0]
    assert (row["height"], row["width"]) == (32, 32) == Image.open(io.BytesIO(pair.clear)).size
    assert convert(source, tmp_path / "side", "--max_side=28", "--encoding=jpeg", "--quality=90") == 0
    pair, row = all_records(tmp_path / "side", "train")[0]
    assert (row["height"], row["width"]) == (20, 28) and pair.hazy.startswith(b"\xff\xd8")
    small = np.asarray(Image.open(io.BytesIO(pair.hazy)), float)
    whole = image_io.load_rgb(source / "hazy" / pair.hazy_source)[0].astype(float)
    mean = whole.reshape(20, 2, 28, 2, 3).mean((1, 3))  # half the size, computed independently
    assert np.abs(small - mean).mean() < 4
    hazy, clear = (np.asarray(Image.open(io.BytesIO(data)), float) for data in (pair.hazy, pair.clear))
    assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean((hazy - clear) ** 2)), abs=1e-3)
    options = pair_records.RecordOptions(max_side=100)
    assert pair_records.output_size(60, 100, options) == (60, 100)
    assert pair_records.output_size(1000, 1, options) == (100, 1)


def test_size_mismatch(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=4, versions=1, kind="png")
    large = image(2, 42, 58)
    Image.fromarray(large).save(source / "GT/0002.png")
    assert convert(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "0002_0.8_1.png is 56x40, 0002.png is 58x42" in error and "--size_mismatch" in error
    assert convert(source, tmp_path / "crop", "--size_mismatch=center_crop", "--val_fraction=0") == 0
    pair = {p.clear_source: p for p, _ in all_records(tmp_path / "crop", "train")}["0002.png"]
    np.testing.assert_array_equal(Image.open(io.BytesIO(pair.clear)), large[1:41, 1:57])
    assert pair.hazy == (source / "hazy/0002_0.8_1.png").read_bytes()
    assert convert(source, tmp_path / "resize", "--size_mismatch=resize", "--val_fraction=0") == 0
    pair = {p.clear_source: p for p, _ in all_records(tmp_path / "resize", "train")}["0002.png"]
    assert Image.open(io.BytesIO(pair.clear)).size == (56, 40)


def test_one_report_lists_orphans_and_all_other_problems(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=4, versions=1, kind="png")
    (source / "GT/0001.png").unlink()
    Image.fromarray(image(9)).save(source / "GT/0099.png")
    Image.fromarray(image(2, 42, 58)).save(source / "GT/0002.png")
    (source / "hazy/0003_0.8_1.png").write_bytes(b"")
    assert convert(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    for name in (
        "0001_0.8_1.png",
        "0099.png",
        "0002.png is 58x42",
        "0003_0.8_1.png",
        "--allow_orphans",
        "--skip_bad",
    ):
        assert name in error, name
    more = ("--allow_orphans", "--skip_bad", "--size_mismatch=resize", "--val_fraction=0")
    assert convert(source, tmp_path / "out", *more) == 0
    assert [pair.key for pair, _ in all_records(tmp_path / "out", "train")] == ["0002_0.8_1", "0004_0.8_1"]


def damage(source):
    """Damages five images in five ways. Two of them can only be detected by decoding."""
    hazy = sorted((source / "hazy").iterdir())
    hazy[0].write_bytes(b"")
    hazy[1].write_bytes(b"this is not an image")
    hazy[2].write_bytes(hazy[2].read_bytes()[:-300])
    data = bytearray(hazy[3].read_bytes())
    data[len(data) // 2] ^= 255
    hazy[3].write_bytes(data)
    frames = [Image.fromarray(image(n)) for n in range(3)]
    frames[0].save(hazy[4], format="PNG", save_all=True, append_images=frames[1:])
    return [path.stem for path in hazy[:5]]


def test_bad_images_stop_the_conversion_or_are_skipped(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=12, versions=1, kind="png")
    bad = damage(source)
    assert convert(source, tmp_path / "out", "--num_shards=2") == 1
    error = capsys.readouterr().err
    assert bad[0] in error and bad[1] in error and "--skip_bad" in error
    assert convert(source, tmp_path / "out", "--num_shards=2", "--skip_bad") == 0
    error = capsys.readouterr().err
    lines = (tmp_path / "out/skipped.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == bad
    assert "empty" in lines[1] and "truncated" in lines[3] and "CRC" in lines[4] and "animated" in lines[5]
    pairs = all_records(tmp_path / "out", "train") + all_records(tmp_path / "out", "val")
    assert len(pairs) == 7
    for pair, _ in pairs:
        assert pair.hazy == (source / "hazy" / pair.hazy_source).read_bytes()
    assert convert(source, tmp_path / "pool", "--num_shards=2", "--skip_bad", workers=2) == 0
    assert contents(tmp_path / "pool") == contents(tmp_path / "out")


def test_a_bad_image_stops_the_conversion_early(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=8, versions=1, kind="png")
    first = min((source / "hazy").iterdir())
    first.write_bytes(first.read_bytes()[:-40])
    assert convert(source, tmp_path / "out", "--num_shards=4", "--val_fraction=0") == 1
    assert [path.name[-14:] for path in (tmp_path / "out").glob("*tfrecord*[0-9]")] == ["00000-of-00004"]


def test_nothing_left_to_train_on(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=2, versions=1, kind="png")
    (source / "hazy/0001_0.8_1.png").write_bytes(b"")
    (tmp_path / "keys").write_text("0002.png\n")
    flags = (f"--val_keys={tmp_path / 'keys'}", "--skip_bad", "--num_shards=1")
    assert convert(source, tmp_path / "out", *flags) == 1
    assert "nothing is left to train on" in capsys.readouterr().err
    assert plan.auto_shards(2, num_bytes=2**40) == 2  # at most one for each pair


def test_a_file_much_larger_than_its_image_is_a_bad_image(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=3, versions=1, kind="png")
    os.truncate(source / "hazy/0002_0.8_1.png", 2**32)  # sparse: zeros after the image
    assert convert(source, tmp_path / "out", "--skip_bad", "--val_fraction=0") == 0
    assert "4,294,967,296 bytes are too many for 2,240 pixels" in capsys.readouterr().err


def test_images_too_long_for_jpeg_are_bad_images(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=2, versions=1, kind="png")
    for name in ("hazy/0001_0.8_1.png", "GT/0001.png"):
        Image.fromarray(np.zeros((1, 65501, 3), np.uint8)).save(source / name)
    flags = ("--encoding=jpeg", "--val_fraction=0")
    assert convert(source, tmp_path / "out", *flags) == 1
    assert "bad: 0001_0.8_1: 65501x1: a JPEG has at most 65500 pixels" in capsys.readouterr().err
    assert convert(source, tmp_path / "out", *flags, "--skip_bad") == 0
