"""Videos: every frame once and in order; rate, audio and colors are kept; damage is reported."""

import pathlib
import subprocess

import numpy as np
import pytest

from hazeheal.errors import DataError
from hazeheal.inference import video
from hazeheal.inference.jobs import Job

FFMPEG = video.find_ffmpeg()
pytestmark = pytest.mark.skipif(FFMPEG is None, reason="needs ffmpeg, or the package imageio-ffmpeg")


class Darker:
    """A restorer that halves all values, three frames at a time."""

    def restore_all(self, images):
        held = []
        for image in images:
            held.append(image // 2)
            if len(held) == 3:
                yield from held
                held = []
        yield from held


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One second of moving patterns with a tone, at 30000/1001 frames per second."""
    path = tmp_path_factory.mktemp("film") / "-film.mp4"
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=30000/1001", "-f", "lavfi", "-i", "sine=440"]
    codecs = ["-t", "1", "-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv444p", "-c:a", "aac"]
    subprocess.run([FFMPEG, "-v", "error", *inputs, *codecs, f"file:{path}"], check=True)
    return path


def frames(path):
    stream, damage = video.probe(path, ffmpeg=FFMPEG), []
    with video._decoder(path, stream=stream, ffmpeg=FFMPEG, damage=damage) as decoded:
        clip = np.stack(list(decoded))
    assert damage == []
    return clip


def sound(path):
    command = [FFMPEG, "-v", "error", "-i", f"file:{path}", "-map", "0:a", "-c", "copy", "-f", "adts", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_frames_rate_and_audio(film, tmp_path):
    job = Job(film, tmp_path / "out/film.mp4", tmp_path / "out/film.compare.mp4")
    count = []
    done = video.restore_video(job, Darker(), ffmpeg=FFMPEG, on_frame=lambda: count.append(1))
    assert done == (30, "")
    assert len(count) == 30
    stream = video.probe(job.output, ffmpeg=FFMPEG)
    assert (stream.width, stream.height, stream.rate) == (96, 64, "30000/1001")
    assert stream.frames == pytest.approx(30, abs=1)
    hazy, restored, both = map(frames, (film, job.output, job.compare))
    assert len(hazy) == len(restored) == len(both) == 30
    wanted = blocks(hazy // 2)  # as colors have half the resolution
    apart = np.abs(blocks(restored)[:, None] - wanted).mean(axis=(2, 3, 4))
    assert apart.argmin(axis=1).tolist() == list(range(30)), (
        "every restored frame must be most similar to its own hazy frame"
    )
    assert np.diag(apart).max() < 1.5
    assert np.abs(blocks(both[:, :, :96]) - blocks(hazy)).mean() < 3
    assert np.abs(blocks(both[:, :, 96:]) - wanted).mean() < 3
    assert sound(job.output) == sound(film)
    assert len(sound(film)) > 1000
    assert sorted(p.name for p in job.output.parent.iterdir()) == ["film.compare.mp4", "film.mp4"]


def blocks(clip):
    return clip.astype(float).reshape(len(clip), 8, 8, -1, 8, 3).mean(axis=(2, 4))


def test_odd_sides_and_matroska(tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (7, 33, 21, 3)).astype(np.uint8)
    clip[:] = clip[:, :1, :1]  # of one color each
    source, stream = tmp_path / "a.mkv", video.Stream(21, 33, "25/1", None)
    # The sound comes from another file: here there is none.
    still = tmp_path / "still.ppm"
    still.write_bytes(b"P6 1 1 255\n...")
    with video._encoder(still, source, source, stream=stream, width=21, ffmpeg=FFMPEG) as take:
        for frame in clip:
            take(frame)
    assert np.abs(frames(source).astype(int) - clip).mean() < 4, "the colors must not change"
    job = Job(source, tmp_path / "out.mkv", None)
    assert video.restore_video(job, Darker(), ffmpeg=FFMPEG) == (7, "")
    assert np.abs(frames(job.output).astype(int) - clip // 2).mean() < 4


def test_damage_is_reported(film, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[:3000])
    job = Job(broken, tmp_path / "out/broken.mp4", None)
    with pytest.raises(DataError, match=r"broken\.mp4: not a video that ffmpeg can decode \(.*Invalid data"):
        video.restore_video(job, Darker(), ffmpeg=FFMPEG)
    matroska, cut = tmp_path / "a.mkv", tmp_path / "cut.mkv"
    subprocess.run([FFMPEG, "-v", "error", "-i", f"file:{film}", "-c", "copy", f"file:{matroska}"], check=True)
    cut.write_bytes(matroska.read_bytes()[: matroska.stat().st_size // 2])
    job = Job(cut, tmp_path / "out/cut.mkv", None)
    count, wrong = video.restore_video(job, Darker(), ffmpeg=FFMPEG)
    assert 3 < count < 30
    assert "ended prematurely" in wrong
    assert len(frames(job.output)) == count, "all decoded frames must be kept"


def test_a_failed_result_leaves_no_file(film, tmp_path):
    class Stops:
        def restore_all(self, images):
            yield next(iter(images))
            raise DataError("the restorer stopped")

    job = Job(film, tmp_path / "out/film.mp4", tmp_path / "out/both.mp4")
    with pytest.raises(DataError, match="the restorer stopped"):
        video.restore_video(job, Stops(), ffmpeg=FFMPEG)
    assert list(pathlib.Path(tmp_path / "out").iterdir()) == [], "no partial result may remain"


def test_ffmpegs_message_is_reported(film, tmp_path):
    (tmp_path / "out.mp4").mkdir()
    job = Job(film, tmp_path / "out.mp4/none.nothing", None)
    with pytest.raises(DataError, match=r"none\.nothing: ffmpeg cannot encode it \(.*"):
        video.restore_video(job, Darker(), ffmpeg=FFMPEG)


def test_nothing_is_overwritten(film, tmp_path):
    job = Job(film, tmp_path / "a.mp4", tmp_path / "b.mp4")
    job.output.write_bytes(b"mine")
    video.restore_video(job, Darker(), ffmpeg=FFMPEG)
    assert job.output.read_bytes() == b"mine"
    assert frames(job.compare).shape == (30, 64, 192, 3)
