"""Videos: sound that a container cannot hold is encoded, and what is left out is named."""

import numpy as np
import pytest
from video_files import Same, av, facts, job, moving, write_film

from hazeheal.inference import video


@pytest.mark.parametrize(
    ("source", "sound", "output", "codec", "title"),
    [
        ("a.mkv", {"codec": "pcm_s16le", "layout": "stereo", "rate": 44100}, "out.webm", "opus", "Opus"),
        ("a.mkv", {"codec": "wmav2", "layout": "stereo", "rate": 44100}, "out.mp4", "aac", "AAC"),
        ("a.mkv", {"codec": "wmav2", "layout": "mono", "rate": 32000}, "out.mkv", "aac", "AAC"),
    ],
)
def test_sound_that_the_container_cannot_hold_is_encoded(tmp_path, source, sound, output, codec, title):
    container = "asf" if sound["codec"] == "wmav2" else None
    film = write_film(
        tmp_path / source, moving(50), sound=sound | {"frequency": 1000}, container=container, codec="mpeg4"
    )
    report = video.restore_video(job(film, tmp_path / output), Same())
    assert len(report.notes) == 1
    assert f"sound (stream 1, {sound['codec']}) is encoded to {title}" in report.notes[0]
    streams = facts(tmp_path / output)[0]
    assert streams[1]["codec"] == codec
    assert streams[1]["channels"] == (2 if sound["layout"] == "stereo" else 1)
    assert abs(tone_of(tmp_path / output) - 1000) < 20, "the tone must stay"
    assert sum_of_samples(tmp_path / output) == pytest.approx(2.0, abs=0.15)


def waves(path):
    with av.open(str(path)) as file:
        rate = file.streams.audio[0].rate
        resampler = av.AudioResampler("flt", "mono", rate)
        parts = [out.to_ndarray() for frame in file.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate(parts, axis=1)[0], rate


def tone_of(path):
    wave, rate = waves(path)
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    return np.abs(np.fft.rfft(middle)).argmax() * rate / len(middle)


def sum_of_samples(path):
    wave, rate = waves(path)
    return len(wave) / rate


@pytest.mark.parametrize(
    ("parts", "output", "words"),
    [
        ({"subtitles": ("subrip", ["hello"])}, "out.mp4", "a subtitle stream (stream 1, srt, fra) is left out, as mp4"),
        (
            {"subtitles": ("subrip", ["hello"])},
            "out.webm",
            "a subtitle stream (stream 1, srt, fra) is left out, as webm",
        ),
        ({"attachment": ("a.bin", "application/x", b"abc")}, "out.mp4", "an attachment (stream 1, a.bin) is left out"),
    ],
)
def test_what_is_left_out_is_named(tmp_path, parts, output, words):
    source = write_film(tmp_path / "a.mkv", moving(12), **parts)
    report = video.restore_video(job(source, tmp_path / output), Same())
    assert len(report.notes) == 1
    assert words in report.notes[0]
    assert len(facts(tmp_path / output)[0]) == 1


def test_sound_of_an_unknown_codec_is_named(tmp_path):
    source = write_film(tmp_path / "a.mov", moving(12), sound=[{"codec": "aac"}, {"codec": "pcm_s16le"}])
    data = source.read_bytes()
    assert data.count(b"sowt") == 1
    source.write_bytes(data.replace(b"sowt", b"xyzw"))  # the iPhone's second track: `apac`
    report = video.restore_video(job(source, tmp_path / "out.mov"), Same())
    assert report.frames == 12
    assert (
        len(report.notes) == 1
        and "sound (stream 2, " in report.notes[0]
        and "is left out, as FFmpeg does not know" in report.notes[0]
    )
    assert [stream["codec"] for stream in facts(tmp_path / "out.mov")[0]] == ["h264", "aac"]
