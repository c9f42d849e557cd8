"""`hazeheal dehaze` with videos: results, messages and flags."""

import fractions
import pathlib
import sys

import checkpoints_made
import numpy as np
import pytest
from PIL import Image
from video_files import facts, frames_of, moving, write_film

from hazeheal import __main__ as program
from hazeheal.inference.gan import DehazeGAN


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's directory with a checkpoint."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return checkpoints_made.write_run(path, (5, 20.0))


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A film and an image in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_film("a.avi", moving(5, 32, 48), codec="mpeg4", time_base=fractions.Fraction(1, 25), sound={"codec": "mp2"})
    Image.fromarray(moving(1, 32, 48)[0]).save("still.png")


def dehaze(capsys, *argv):
    code = program.main(["dehaze", *map(str, argv)])
    return code, *capsys.readouterr()


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir() if not path.name.startswith(".hazeheal"))


def test_a_video_and_an_image(run, inputs, capsys):
    code, said, wrong = dehaze(capsys, "a.avi", "still.png", f"--model={run}", "--output=out", "--compare")
    assert (code, said) == (0, "restored 2 to out\n"), wrong
    assert names("out") == ["a.avi.compare.mkv", "a.avi.mkv", "still.compare.png", "still.png"]
    assert [stream["codec"] for stream in facts("out/a.avi.mkv")[0]] == ["h264", "mp2"]
    restored = frames_of("out/a.avi.mkv")
    assert restored.shape == (5, 32, 48, 3)
    expected = DehazeGAN.from_run(run).restore(frames_of("a.avi")[0])
    assert np.abs(restored[0].astype(float) - expected).mean() < 3


def test_what_is_converted_is_said(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_film("odd.mp4", moving(5, 33, 48), pixels="yuv444p")
    code, said, _ = dehaze(capsys, "odd.mp4", f"--model={run}", "--output=out")
    assert code == 0
    assert said == "odd.mp4: the last row is repeated once, as players need even sizes\nrestored 1 to out\n"


def test_a_damaged_video_is_restored_and_reported(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = write_film("whole.mkv", moving(100, 32, 48), options={"g": "10"})
    pathlib.Path("cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, said, wrong = dehaze(capsys, "cut.mkv", f"--model={run}", "--output=out")
    assert (code, said) == (1, "restored 1 to out\n")
    assert "cut.mkv: damaged; restored " in wrong and "of 4.0 s" in wrong
    assert names("out") == ["cut.mkv"]


def test_flags(run, inputs, capsys):
    flags = ["--codec=hevc", "--crf=30", "--preset=ultrafast"]
    code, _, wrong = dehaze(capsys, "a.avi", f"--model={run}", "--output=small", *flags)
    assert code == 1
    assert "a.avi: 48x32 is too small for libx265, which needs 64x64; use --codec=h264" in wrong
    write_film("a.avi", moving(5), codec="mpeg4", time_base=fractions.Fraction(1, 25))
    code, _, wrong = dehaze(capsys, "a.avi", f"--model={run}", "--output=out", *flags)
    assert code == 0, wrong
    assert facts("out/a.avi.mkv")[0][0]["codec"] == "hevc"


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--codec=theora", "--codec=theora: unknown; use one of h264"),
        ("--crf=99", "--crf=99: h264 needs 0 to 51"),
        ("--crf=fine", "argument --crf: invalid float value: 'fine'"),
        ("--preset=quick", "--preset=quick: h264 needs one of"),
    ],
)
def test_invalid_flags_are_refused_before_work_starts(run, inputs, capsys, flag, said):
    code, _, wrong = dehaze(capsys, "a.avi", "still.png", f"--model={run}", "--output=out", flag)
    assert code == 2
    assert said in wrong and wrong.count("\n") == 1
    assert not pathlib.Path("out").exists()


def test_a_codec_that_the_container_cannot_hold_is_refused(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_film("a.webm", moving(5), codec="libvpx-vp9")
    code, _, wrong = dehaze(capsys, "a.webm", f"--model={run}", "--output=out", "--codec=h264")
    assert code == 2
    assert "--codec=h264: a .webm file cannot hold it, but vp9, av1" in wrong


def test_without_the_library_images_are_restored(run, inputs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, wrong = dehaze(capsys, "a.avi", "still.png", f"--model={run}", "--output=out")
    assert code == 1
    assert "a.avi needs PyAV" in wrong and "pip install 'hazeheal[video]'" in wrong
    assert names("out") == ["still.png"]
