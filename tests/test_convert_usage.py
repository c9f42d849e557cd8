"""Usage errors of `hazeheal-tfrecords convert`, which are one line and write nothing; help; imports."""

import os
import shutil
import subprocess
import sys

import processes
import pytest
from converting import arguments, contents, convert
from places import ROOT

from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import command as conversion
from tfrecords_tools.convert.options import default_name


def test_a_disk_without_enough_space_is_refused(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert convert(source, tmp_path / "out") == 1
    assert "free" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out") == []


def test_an_output_directory_with_other_contents_is_refused(source, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.tex").write_text("x")
    assert convert(source, output) == 2
    assert "thesis.tex" in capsys.readouterr().err
    (output / "thesis.tex").unlink()
    assert convert(source, output) == 0
    before = contents(output)
    assert convert(source, output) == 0
    assert "complete" in capsys.readouterr().out
    for path in (source / "hazy").iterdir():  # newer files with the same contents
        os.utime(path)
    assert convert(source, output, "--workers=2") == 0
    assert "complete" in capsys.readouterr().out
    assert convert(source, output, "--encoding=png") == 2
    assert "encoding=keep there, png now" in capsys.readouterr().err
    other = shutil.copytree(source, tmp_path / "other")
    data = bytearray((other / "GT/0004.jpg").read_bytes())
    data[-20] ^= 1  # the size stays the same
    (other / "GT/0004.jpg").write_bytes(data)
    assert convert(other, output) == 2
    assert "0004.jpg" in capsys.readouterr().err
    (other / "GT/0004.jpg").unlink()
    assert convert(other, output, "--allow_orphans") == 2
    assert contents(output) == before
    (output / "set-val.tfrecord-00000-of-00001").unlink()
    assert convert(source, output) == 1
    assert "missing" in capsys.readouterr().err


def test_no_directory_is_left_if_nothing_was_written(source, tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    for output in ("new/deep/er", "loop", "loop/er", "n" * 256):
        assert main(arguments(source, tmp_path / output, "--num_shards=99")) == 2
        assert "hazeheal-tfrecords: error: " in capsys.readouterr().err
        assert os.listdir(tmp_path) == ["loop"]
    assert default_name(tmp_path / "loop") == "loop"  # before Python 3.13 pathlib raises there
    assert default_name("n" * 255) == "n" * 150


def test_other_files_are_neither_removed_nor_ignored(source, tmp_path, capsys):
    output = tmp_path / "out"
    (output / ".mine.tmp-old").mkdir(parents=True)
    (output / "x.tmp-1.png").touch()
    (output / ".12-0a1b2c.part.npy").touch()  # left by a killed conversion
    assert convert(source, output) == 2
    assert "other files (.mine.tmp-old, x.tmp-1.png)" in capsys.readouterr().err
    assert len(os.listdir(output)) == 3


def test_an_out_of_memory_error_is_one_line(source, tmp_path, capsys, monkeypatch):
    def starve(*_, **__):
        raise MemoryError

    monkeypatch.setattr(conversion, "write_shard", starve)
    assert convert(source, tmp_path / "out") == 1
    assert "error: not enough memory; use fewer --workers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, word",
    [
        (["--encoding=keep", "--image_size=64"], "--encoding=keep"),
        (["--encoding=keep", "--tile_size=64"], "--encoding=keep"),
        (["--image_size=64", "--max_side=64"], "--max_side"),
        (["--tile_overlap=3"], "--tile_size"),
        (["--tile_size=8", "--tile_overlap=8"], "less than"),
        (["--image_size=0"], "--image_size=0"),
        (["--num_shards=x"], "--num_shards"),
        (["--num_shards=1000"], "--num_shards=1000"),
        (["--val_fraction=1.5"], "1.5"),
        (["--val_fraction=nan"], "nan"),
        (["--val_fraction=0.1", "--val_keys=x"], "--val_keys"),
        (["--val_keys=/nowhere"], "/nowhere"),
        (["--quality=80"], "--encoding=jpeg"),
        (["--quality=0", "--encoding=jpeg"], "--quality=0"),
        (["--workers=0"], "--workers=0"),
        (["--name=a-b"], "--name=a-b"),
        (["--pairing=("], "("),
        (["--hazy_dir=/nowhere"], "/nowhere"),
        (["--output_dir=gs://b/c"], "gs://b/c"),
        (["--output_dir="], "--output_dir is empty"),
        (["--output_dir=\udcff"], "\\udcff is not valid UTF-8"),
        (["--num_shards=" + "9" * 400], "9 is more than the "),
        (["--image_size=100000"], "--image_size=100000 makes images of more than 300,000,000 pixels"),
        (["--name=" + "n" * 151], "at most 150 in all"),
        (["--pairing=(?L)(a)"], "(?L)(a)"),
        (["--pairing=(a{99999999999})"], "repetition number is too large"),
        (["--nothing=a\nb\x1b"], "--nothing=a\\nb\\x1b"),
        (["--encoding=webp"], "webp"),
        (["--imagesize=3"], "--imagesize"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(flags, word, source, tmp_path, capsys):
    assert convert(source, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("hazeheal-tfrecords: error: ") and word in error[-1]
    assert not [line for line in error if "Traceback" in line]
    assert not (tmp_path / "out").exists()


COMMANDS = ("synthesize", "convert", "verify", "info", "extract")


def test_help_and_no_command(capsys):
    for argv in ([], *([name] for name in COMMANDS)):
        assert main([*argv, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("usage: hazeheal-tfrecords")
        assert main(["help", *argv]) == 0
        assert capsys.readouterr().out == text
    assert main([]) == 2
    assert main(["help", "nothing"]) == 2
    assert main(["info", "/nowhere"]) == 1
    assert "hazeheal-tfrecords: error:" in capsys.readouterr().err


def test_help_into_a_closed_pipe_ends_without_a_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "tfrecords_tools", "convert", "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode in (0, 1)  # argparse ignores the error if the stream is unbuffered


def test_help_does_not_import_tensorflow():
    code = "import sys; from tfrecords_tools.__main__ import main; main(['convert', '--help']); sys.exit('tensorflow' in sys.modules)"
    assert processes.run_python(code)[0] == 0
