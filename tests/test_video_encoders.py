"""Videos: codecs, their quality and speed, and which containers hold them."""

import numpy as np
import pytest
from video_files import Same, av, facts, frames_of, job, moving, times_of, write_film

from hazeheal.doctor import checks
from hazeheal.errors import UsageError
from hazeheal.inference import video
from hazeheal.inference.video import encoders
from hazeheal.inference.video.encoders import VideoOptions, choose_encoder

HELD = {
    ".mp4": ("h264", "hevc", "vp9", "av1", "ffv1", "mpeg4"),
    ".m4v": ("h264", "hevc", "vp9", "av1", "ffv1", "mpeg4"),
    ".mov": ("h264", "hevc", "prores", "mpeg4"),
    ".mkv": ("h264", "hevc", "vp9", "av1", "prores", "ffv1", "mpeg4"),
    ".webm": ("vp9", "av1"),
}
PIXELS = {"prores": "yuv422p10le", "ffv1": "yuv444p"}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Frames at uneven times, with a tone."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    times = (512 * np.cumsum([0, 1, 1, 2, 3, 1, 1, 5, 1, 1, 1, 1])).tolist()
    return write_film(path, moving(12), times=times, sound={"codec": "aac"}, tags=(1, 1, 1, 1))


@pytest.mark.parametrize(("suffix", "codec"), [(s, c) for s, names in HELD.items() for c in names])
def test_every_codec_in_every_container(film, tmp_path, suffix, codec):
    output = tmp_path / f"out{suffix}"
    report = video.restore_video(job(film, output), Same(), options=VideoOptions(codec=codec))
    assert report.frames == 12
    before, after = facts(film)[0], facts(output)[0]
    names = {"prores": "prores", "av1": ("libdav1d", "av1")}.get(codec, codec)
    assert after[0]["codec"] in (names if isinstance(names, tuple) else (names,))
    for name in ("size", "aspect"):
        assert after[0][name] == before[0][name], name
    # QuickTime's tags have no range, and MPEG-4 has none of its own: limited without a tag.
    assert after[0]["tags"] == ((1, 1, 1, 0) if (suffix, codec) == (".mov", "mpeg4") else before[0]["tags"])
    assert after[0]["pixels"] == PIXELS.get(codec, "yuv420p")
    if suffix not in (".mkv", ".webm"):
        assert after[0]["time_base"] == before[0]["time_base"]
    # Matroska has no negative times: all streams move by the delay of AAC.
    shift = times_of(output)[0] if suffix == ".mkv" else 0
    assert shift < 0.03
    assert [time - shift for time in times_of(output)] == times_of(film)
    apart = np.abs(frames_of(output).astype(int) - frames_of(film))
    assert apart.mean() < 3
    assert after[1]["codec"] == ("opus" if suffix == ".webm" else "aac")
    assert after[1]["channels"] == 1


@pytest.mark.parametrize(
    ("suffix", "codec"), [(s, c) for s, names in HELD.items() for c in encoders.ENCODERS if c not in names]
)
def test_a_codec_that_the_container_cannot_hold_is_refused(suffix, codec):
    with pytest.raises(UsageError, match=rf"--codec={codec}: a {suffix} file cannot hold it, but {HELD[suffix][0]}"):
        choose_encoder(suffix, VideoOptions(codec=codec))


@pytest.mark.parametrize(
    ("suffix", "options", "message"),
    [
        (".mp4", {"codec": "theora"}, "--codec=theora: unknown; use one of h264, hevc, vp9"),
        (".mp4", {"crf": 60}, "--crf=60: h264 needs 0 to 51"),
        (".mp4", {"crf": -1}, "--crf=-1: h264 needs 0 to 51"),
        (".mp4", {"crf": float("nan")}, "--crf=nan: h264 needs 0 to 51"),
        (".mkv", {"codec": "ffv1", "crf": 3}, "--crf=3: ffv1 has no such quality"),
        (".mp4", {"preset": "quick"}, "--preset=quick: h264 needs one of ultrafast"),
        (".webm", {"preset": "slow"}, "--preset=slow: vp9 has no presets"),
        (".mp4", {"codec": "av1", "preset": "slow"}, "--preset=slow: av1 needs one of 0, 1"),
    ],
)
def test_options_are_refused(suffix, options, message):
    with pytest.raises(UsageError) as caught:
        choose_encoder(suffix, VideoOptions(**options))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "codec"), [("libx265", "hevc"), ("H265", "hevc"), ("avc", "h264"), ("ProRes", "prores")]
)
def test_codecs_have_several_names(name, codec):
    assert choose_encoder(".mkv", VideoOptions(codec=name)).codec == codec


def test_crf_and_preset_matter(tmp_path):
    rough = np.random.default_rng(0).integers(0, 256, (12, 64, 96, 3)).astype(np.uint8)
    source = write_film(tmp_path / "a.mkv", rough, codec="ffv1", pixels="yuv444p")
    sizes = []
    for options in ({"crf": 0}, {}, {"crf": 40}, {"preset": "ultrafast"}):
        output = tmp_path / "out.mp4"
        video.restore_video(job(source, output), Same(), options=VideoOptions(**options), overwrite=True)
        sizes.append(output.stat().st_size)
    assert sizes[0] > sizes[1] > 2 * sizes[2]
    assert abs(sizes[3] - sizes[1]) > 0.03 * sizes[1]
    encoder = choose_encoder(".mp4", VideoOptions())
    assert encoder.settings(VideoOptions()) == {"crf": "17", "preset": "medium"}
    assert encoder.settings(VideoOptions(crf=20.5, preset="slow")) == {"crf": "20.5", "preset": "slow"}


def test_the_default_is_visually_lossless(tmp_path):
    source = write_film(tmp_path / "a.mkv", moving(12), codec="ffv1", pixels="yuv420p")
    for name in ("out.mp4", "out.mov", "out.mkv", "out.webm"):
        video.restore_video(job(source, tmp_path / name), Same())
        apart = frames_of(tmp_path / name).astype(float) - frames_of(source)
        assert 10 * np.log10(255**2 / (apart**2).mean()) > 42, name


def test_the_next_encoder_is_used(film, tmp_path, monkeypatch):
    real = av.codecs_available
    for missing, codec in (({"libx264"}, "hevc"), ({"libx264", "libx265"}, "mpeg4")):
        monkeypatch.setattr(av, "codecs_available", real - missing)
        output = tmp_path / f"{codec}.mp4"
        video.restore_video(job(film, output), Same())
        assert facts(output)[0][0]["codec"] == codec
        assert times_of(output) == times_of(film)
        finding = checks.check_ffmpeg()
        assert finding.state == checks.NOTE
        assert finding.text.endswith(f"no libx264: MP4, MOV and MKV files get {encoders.ENCODERS[codec].name}")
    with pytest.raises(UsageError, match="--codec=h264: PyAV has no encoder for it, only vp9"):
        choose_encoder(".mp4", VideoOptions(codec="h264"))
    monkeypatch.setattr(av, "codecs_available", real - {"libvpx-vp9"})
    assert choose_encoder(".webm", VideoOptions()).codec == "av1"
    monkeypatch.setattr(av, "codecs_available", real - {encoder.name for encoder in encoders.ENCODERS.values()})
    with pytest.raises(UsageError, match="PyAV has no encoder"):
        choose_encoder(".mkv", VideoOptions())
    assert "videos cannot be restored" in checks.check_ffmpeg().text


def test_doctor_names_the_encoders(monkeypatch):
    finding = checks.check_ffmpeg()
    assert finding.state == checks.OK
    assert f"PyAV {av.__version__}" in finding.text and "libx264" in finding.text
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    missing = checks.check_ffmpeg()
    assert missing.state == checks.NOTE
    assert missing.advice == "run `pip install 'hazeheal[video]'`"
