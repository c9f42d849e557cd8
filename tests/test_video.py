"""Videos: every frame once, in order and at its time; damage is reported; nothing is lost or overwritten."""

import fractions
import pathlib
import signal
import sys

import numpy as np
import pytest
from video_files import Darker, Same, facts, frames_of, job, moving, packets_of, times_of, write_film

from hazeheal.errors import DataError, OutputError
from hazeheal.inference import video


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Thirty frames with a tone, at 30000/1001 frames per second, under a name that starts with a dash."""
    path = tmp_path_factory.mktemp("film") / "-film.mp4"
    rate = fractions.Fraction(30000, 1001)
    return write_film(path, moving(30), rate=rate, time_base=1 / rate / 1001, sound={"codec": "aac"})


def test_frames_times_and_sound(film, tmp_path):
    wanted = job(film, tmp_path / "out/film.mp4", tmp_path / "out/film.compare.mp4")
    counts = []
    report = video.restore_video(wanted, Darker(), on_frame=counts.append)
    assert (report.frames, report.damage, report.notes) == (30, "", [])
    assert (report.height, report.width) == (64, 96)
    assert counts == [30] * 30
    hazy, restored, both = map(frames_of, (film, wanted.output, wanted.compare))
    assert len(hazy) == len(restored) == len(both) == 30
    expected = blocks(hazy // 2)  # as colors have half the resolution
    apart = np.abs(blocks(restored)[:, None] - expected).mean(axis=(2, 3, 4))
    assert apart.argmin(axis=1).tolist() == list(range(30)), "every frame must be most similar to its own"
    assert np.diag(apart).max() < 1.5
    assert np.abs(blocks(both[:, :, :96]) - blocks(hazy)).mean() < 2
    assert np.abs(blocks(both[:, :, 96:]) - expected).mean() < 2
    for path in (wanted.output, wanted.compare):
        assert times_of(path) == times_of(film)
        assert packets_of(path, 1) == packets_of(film, 1)
    assert len(packets_of(film, 1)) > 40
    assert sorted(p.name for p in wanted.output.parent.iterdir()) == ["film.compare.mp4", "film.mp4"]


def blocks(clip):
    return clip.astype(float).reshape(len(clip), 8, 8, -1, 8, 3).mean(axis=(2, 4))


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.mkv", "libx264"), ("a.mp4", "libx264")])
def test_a_variable_rate_is_kept(tmp_path, name, codec):
    # As a browser records: milliseconds at uneven distances, and no useful rate.
    times = np.cumsum([0, 33, 34, 17, 250, 33, 1, 40, 33, 999, 33, 34]).tolist()
    base = fractions.Fraction(1, 1000)
    source = write_film(tmp_path / name, moving(12), codec=codec, times=times, time_base=base, rate=1000)
    report = video.restore_video(job(source, tmp_path / "out" / name), Same())
    assert report.frames == 12
    assert times_of(tmp_path / "out" / name) == times_of(source) == [time * base for time in times]


def test_the_time_base_of_the_source_is_kept(tmp_path):
    base = fractions.Fraction(1, 600)  # QuickTime's
    source = write_film(tmp_path / "a.mov", moving(6), time_base=base, rate=24)
    video.restore_video(job(source, tmp_path / "out.mov"), Same())
    assert facts(source)[0][0]["time_base"] == facts(tmp_path / "out.mov")[0][0]["time_base"]
    assert times_of(tmp_path / "out.mov") == times_of(source) == [i * fractions.Fraction(1, 24) for i in range(6)]


def test_a_transport_stream_keeps_sound_and_image_together(tmp_path):
    source = write_film(tmp_path / "a.ts", moving(25), container="mpegts", start=5, sound={"codec": "aac"})
    start = min(times_of(source)[0], packets_of(source, 1)[0][0])
    assert start > 1, "its clock does not start at 0"
    output = tmp_path / "a.ts.mkv"
    assert video.restore_video(job(source, output), Same()).frames == 25
    shift = float(times_of(source)[0] - times_of(output)[0])
    assert shift == pytest.approx(start, abs=0.05)
    assert np.allclose([float(t) + shift for t in times_of(output)], [float(t) for t in times_of(source)], atol=1e-3)
    assert packets_of(output, 1)[0][0] + shift == pytest.approx(packets_of(source, 1)[0][0], abs=2e-3)
    assert len(packets_of(output, 1)) == len(packets_of(source, 1))


def test_damage_is_reported(film, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"broken\.mp4: not a video that can be decoded \(.*Invalid data"):
        video.restore_video(job(broken, tmp_path / "out/broken.mp4"), Darker())
    assert not (tmp_path / "out").exists()
    empty = tmp_path / "empty.mkv"
    empty.touch()
    with pytest.raises(DataError, match="not a video that can be decoded"):
        video.restore_video(job(empty, tmp_path / "out/empty.mkv"), Darker())


def test_a_truncated_video_is_restored_up_to_its_end(tmp_path):
    whole = write_film(tmp_path / "whole.mkv", moving(100), rate=25, options={"g": "10"}, sound={"codec": "aac"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report = video.restore_video(job(cut, tmp_path / "out/cut.mkv"), Darker())
    assert 10 < report.frames < 90
    assert "of 4.0 s" in report.damage
    restored = frames_of(tmp_path / "out/cut.mkv")
    assert len(restored) == report.frames, "all decoded frames must be kept"
    clean = moving(100)[: report.frames] // 2
    assert np.abs(blocks(restored)[:-3] - blocks(clean)[:-3]).mean() < 2
    assert len(packets_of(tmp_path / "out/cut.mkv", 1)) == len(packets_of(cut, 1))


def test_damage_in_the_middle_loses_only_what_cannot_be_decoded(tmp_path):
    whole = write_film(tmp_path / "whole.mp4", moving(60), options={"g": "10", "bf": "0"})
    data = bytearray(whole.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(data)
    report = video.restore_video(job(bad, tmp_path / "out.mp4"), Darker())
    assert 40 <= report.frames <= 60
    assert "cannot be decoded" in report.damage or "with errors" in report.damage
    last = frames_of(tmp_path / "out.mp4")[-1]
    assert np.abs(blocks(last[None]) - blocks(moving(60)[-1:] // 2)).mean() < 2, "it goes on behind the damage"


def test_a_failed_result_leaves_no_file(film, tmp_path):
    class Stops(Same):
        def restore_all(self, images):
            yield next(iter(images))
            raise DataError("the restorer stopped")

    with pytest.raises(DataError, match="the restorer stopped"):
        video.restore_video(job(film, tmp_path / "out/film.mp4", tmp_path / "out/both.mp4"), Stops())
    assert list(pathlib.Path(tmp_path / "out").iterdir()) == [], "no partial result may remain"


def test_a_result_that_cannot_be_written(film, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        video.restore_video(job(film, tmp_path / "file/film.mp4"), Same())


def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path):
    rough = np.random.default_rng(0).integers(0, 256, (40, 128, 192, 3)).astype(np.uint8)
    source = write_film(tmp_path / "a.mkv", rough, codec="ffv1", pixels="yuv444p")
    resource = pytest.importorskip("resource")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        with pytest.raises(OutputError, match=r"out\.mp4 cannot be written: File too large"):
            video.restore_video(job(source, tmp_path / "out/out.mp4"), Same())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_overwritten(film, tmp_path):
    wanted = job(film, tmp_path / "a.mp4", tmp_path / "b.mp4")
    wanted.output.write_bytes(b"mine")
    video.restore_video(wanted, Darker())
    assert wanted.output.read_bytes() == b"mine"
    assert frames_of(wanted.compare).shape == (30, 64, 192, 3)
    video.restore_video(wanted, Darker(), overwrite=True)
    assert len(frames_of(wanted.output)) == 30


def test_a_missing_library_is_named(film, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"PyAV.*pip install 'hazeheal\[video\]'"):
        video.restore_video(job(film, tmp_path / "film.mp4"), Same())


def test_sizes_that_change_become_the_first(tmp_path):
    parts = [write_film(tmp_path / f"{i}.ts", moving(5, 64 - 16 * i), container="mpegts") for i in (0, 1)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    report = video.restore_video(job(both, tmp_path / "out.mkv"), Same())
    assert "all become 96x64" in " ".join(report.notes)
    assert frames_of(tmp_path / "out.mkv").shape[1:] == (64, 96, 3)
    assert report.frames >= 9
