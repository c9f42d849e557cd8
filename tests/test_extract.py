"""Extraction restores the files of a data set under their names, and only in the output directory."""

import contextlib
import os
import pathlib
import shutil
import signal
import sys

import numpy as np
import processes
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


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Killed(BaseException):
    """Ends a run at once, as SIGKILL does."""


@pytest.mark.parametrize("count", [0, 1, 7, 23])
@pytest.mark.parametrize("how", [Killed, KeyboardInterrupt, OSError])
def test_an_extraction_that_ends_early_resumes(converted, tmp_path, monkeypatch, capsys, count, how):
    output, real, made = tmp_path / "files", extract.atomic_path, []

    def end(path, **options):
        if len(made) == count:
            raise how("the end")
        made.append(path)
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(extract, "atomic_path", end)
        with contextlib.suppress(Killed):
            assert main(["extract", str(converted), f"--output_dir={output}"]) in (1, 130)
    found = files(output)
    assert len(found) == (count + 1 if count else 0)  # with the mark of an unfinished extraction
    if count:
        (output / "hazy/.12-0a1b2c.part.jpg").write_bytes(b"half an image")
    times = {path: path.stat().st_mtime_ns for path in made}
    assert main(["extract", str(converted), f"--output_dir={output}"]) == 0
    assert (f"after {count} file" in capsys.readouterr().out) == bool(count)
    assert {path: path.stat().st_mtime_ns for path in made} == times, "a finished file was written again"
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'expected'}"]) == 0
    assert files(output) == files(tmp_path / "expected")


def test_an_unfinished_extraction_of_other_data_is_refused(source, converted, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(extract, "progress_bar", lambda **_: contextlib.closing(None))
        with contextlib.suppress(AttributeError):
            main(["extract", str(converted), f"--output_dir={tmp_path / 'files'}"])
    assert (tmp_path / "files" / extract.STATE).exists()
    before = files(tmp_path / "files")
    assert convert(source, tmp_path / "other", "--seed=5") == 0
    for arguments in ([str(tmp_path / "other")], [str(converted), "--split=val"]):
        assert main(["extract", *arguments, f"--output_dir={tmp_path / 'files'}"]) == 2
        assert "an unfinished extraction of other data" in capsys.readouterr().err
    assert files(tmp_path / "files") == before
    (tmp_path / "files" / extract.STATE).write_text("{")
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'files'}"]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_leaves_whole_files_and_the_same_command_resumes(tmp_path, number, code):
    source = write_pairs(tmp_path / "in", scenes=100, versions=1, kind="bmp", height=80, width=120)
    assert convert(source, tmp_path / "out") == 0
    command = [sys.executable, "-m", "tfrecords_tools", "extract", str(tmp_path / "out")]
    process = processes.start(*command, f"--output_dir={tmp_path / 'files'}")
    processes.wait_for(lambda: len(list((tmp_path / "files").rglob("*.png"))) > 5, process)
    process.send_signal(number)
    assert process.wait(20) == code
    assert "Traceback" not in process.stderr.read()
    if number != signal.SIGKILL:
        assert not [path.name for path in (tmp_path / "files").rglob(".*") if path.name != extract.STATE]
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'expected'}"]) == 0
    expected = files(tmp_path / "expected")
    for name, data in files(tmp_path / "files").items():
        assert pathlib.Path(name).name.startswith(".") or data == expected[name]
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    assert files(tmp_path / "files") == expected


def test_records_that_are_repaired_are_extracted_later(converted, tmp_path, capsys):
    copy = pathlib.Path(shutil.copytree(converted, tmp_path / "copy"))
    shard = next(copy.glob("set-train.tfrecord-00000*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert main(["extract", str(copy), f"--output_dir={tmp_path / 'files'}"]) == 1
    assert "left out: damaged record" in capsys.readouterr().out
    shard.write_bytes(whole)
    assert main(["extract", str(copy), f"--output_dir={tmp_path / 'files'}"]) == 0
    assert main(["extract", str(copy), f"--output_dir={tmp_path / 'expected'}"]) == 0
    assert files(tmp_path / "files") == files(tmp_path / "expected")
