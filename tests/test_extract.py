"""Extraction restores the files of a data set under their names, and only in the output directory."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from converting import convert, image, write_pairs
from PIL import Image

from hazeheal.errors import HazeHealError
from tfrecords_tools import extract
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import pair_records, plan


def test_two_sources_with_the_same_new_name_get_different_names(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=2, versions=1, kind="png")
    (source / "hazy/0001_0.8_1.png").unlink()
    for seed, kind in ((7, "bmp"), (8, "tif")):
        Image.fromarray(image(seed)).save(source / f"hazy/0001_0.8_1.{kind}")
    assert convert(source, tmp_path / "out", "--val_fraction=0") == 0
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    for seed, name in ((7, "0001_0.8_1.png"), (8, "0001_0.8_1.tif.png")):
        np.testing.assert_array_equal(Image.open(tmp_path / "files/hazy" / name), image(seed))


def test_extract_restores_the_folders(source, converted, tmp_path, capsys):
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'all'}"]) == 0
    for folder in ("hazy", "GT"):
        expected = {path.name: path.read_bytes() for path in (source / folder).iterdir()}
        assert {path.name: path.read_bytes() for path in (tmp_path / "all" / folder).iterdir()} == expected
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'val'}", "--split=val"]) == 0
    assert len(list((tmp_path / "val/hazy").iterdir())) == 4 and len(list((tmp_path / "val/GT").iterdir())) == 2
    capsys.readouterr()
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'all'}"]) == 2
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'x'}", "--split=test"]) == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/../../b.png", "..\\a.png", "C:a.png", "a//b", ""])
def test_names_that_lead_out_of_the_folder_are_refused(name, source, tmp_path, monkeypatch):
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    options = pair_records.RecordOptions()
    record = next(pair_records.make_records(pairs[0], options))
    monkeypatch.setattr(extract, "WINDOWS", "\\" in name or ":" in name)  # elsewhere these are plain file names
    writer = extract._Writer(tmp_path / "a" / "b", tiled=False)
    with pytest.raises(HazeHealError, match="out of the folder"):
        writer.write(record.pair.hazy, key=record.pair.key, source=name, source_sha256=record.source["hazy_sha256"])
    assert not list(tmp_path.rglob("*.png"))


def test_images_that_would_get_the_same_name_get_different_names(tmp_path):
    source = tmp_path / "in"
    names = ("1.bmp", "1.png", "2.bmp", "2.png/3.png")  # 2.png is a folder
    for number, name in enumerate(names):
        (source / "hazy" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(number)).save(source / "hazy" / name)
    (source / "GT").mkdir()
    for name in ("1.png", "2.png", "3.png"):
        Image.fromarray(image(9)).save(source / "GT" / name)
    assert convert(source, tmp_path / "out", "--val_fraction=0", "--pairing=same_name") == 0
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    extracted = [np.asarray(Image.open(path)) for path in (tmp_path / "files/hazy").rglob("*.png") if path.is_file()]
    assert len(extracted) == len(names)
    for number in range(len(names)):
        assert any(np.array_equal(pixels, image(number)) for pixels in extracted)


def test_names_that_a_suffix_makes_too_long_are_shortened(tmp_path):
    source = tmp_path / "in"
    for folder, seed in (("hazy", 1), ("GT", 2)):
        (source / folder).mkdir(parents=True)
        Image.fromarray(image(seed)).save(source / folder / f"{'é' * 125}.png")
    assert convert(source, tmp_path / "out", "--val_fraction=0", "--tile_size=30") == 0
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    names = [path.name for path in (tmp_path / "files/hazy").iterdir()]
    assert len(names) == 4 and all(len(name.encode()) <= 255 and name.endswith(".png") for name in names)


def test_extract_into_existing_directories(converted, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    (tmp_path / "target/.7-0a1b2c.part").mkdir(parents=True)  # left by a killed run
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path / "here")
    for output in (".", "../link"):
        assert main(["extract", str(converted), f"--output_dir={output}"]) == 0
        assert sorted(os.listdir(output)) == ["GT", "hazy"]
        assert len(os.listdir(f"{output}/hazy")) == 16
    for output in ("", ".", "../dangling"):
        assert main(["extract", str(converted), f"--output_dir={output}"]) == 2
    assert "--output_dir is empty" in capsys.readouterr().err

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extract._Writer, "write", full)
    assert main(["extract", str(converted), "--output_dir=new/deep/er"]) == 1
    assert os.listdir("new/deep/er") == []


ODD = "a\nb\t\x1b[31m\u2028\x85\\C:é"


def test_control_characters_in_names_are_escaped_in_messages_and_kept_in_file_names(tmp_path, capsys):
    source = tmp_path / "in \n\x1b"
    for folder, names in (("hazy", (ODD, f"bad {ODD}", f"alone {ODD}")), ("GT", (ODD, f"bad {ODD}"))):
        (source / folder).mkdir(parents=True)
        for number, name in enumerate(names):
            Image.fromarray(image(number)).save(source / folder / f"{name}.png")
    (source / f"hazy/bad {ODD}.png").write_bytes(b"not an image")
    (source / f"hazy/x.{ODD}").write_bytes(b"")
    flags = ("--val_fraction=0", "--pairing=same_name")
    assert convert(source, tmp_path / "out", *flags) == 1
    shown = r"a\nb\t\x1b[31m\u2028\x85\C:é"
    lines = capsys.readouterr().err.split("\n")
    assert lines[:2] == ["hazy images without a clear image: 1", f"  alone {shown}.png"]
    assert lines[3].startswith(f"  bad {shown}.png: not an image")
    assert len(lines) == 6 and lines[-1] == ""
    assert convert(source, tmp_path / "out", *flags, "--allow_orphans", "--skip_bad") == 0
    _, row, end = (tmp_path / "out/skipped.txt").read_text().split("\n")
    assert row.split("\t")[:3] == [f"bad {shown}", f"bad {shown}.png", f"bad {shown}.png"] and end == ""
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    path = tmp_path / f"files/hazy/{ODD}.png"
    assert path.read_bytes() == (source / f"hazy/{ODD}.png").read_bytes()
    copy = str(shutil.copytree(tmp_path / "out", f"{tmp_path}/caf\udce9 \n"))  # not UTF-8, with a line break
    capsys.readouterr()
    for command in (["verify", "--workers=1"], ["info"], ["extract", f"--output_dir={tmp_path}/\udcff"]):
        assert main([*command, copy]) == 0
    damaged = pathlib.Path(copy, "set-train.tfrecord-00000-of-00001")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    assert main(["verify", copy, "--workers=1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
