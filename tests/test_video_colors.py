"""Videos: colors, bits, pixel aspect, orientation, fields and sizes come out as they went in, or the report says so."""

import fractions

import numpy as np
import pytest
from video_files import Darker, Same, av, facts, film_of, frames_of, job, moving, write_film

from hazeheal.errors import DataError
from hazeheal.inference import video
from hazeheal.inference.video import tone_mapping

RED = (198, 29, 30)
BT709, SD, PAL = 1, 6, 5
LIMITED, FULL = 1, 2


def plain(color, height=64, width=96, count=3, dtype=np.uint8):
    clip = np.empty((count, height, width, 3), dtype)
    clip[:] = color
    return clip


def planes(path):
    """The middle values of Y, Cb and Cr in the first frame, as stored."""
    with av.open(str(path)) as file:
        frame = next(file.decode(film_of(file)))
        dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
        return [int(np.frombuffer(plane, dtype)[len(bytes(plane)) // dtype().itemsize // 2]) for plane in frame.planes]


def expected_planes(color, matrix, range_, bits=8):
    """Y, Cb and Cr by the formulas of BT.709 and BT.601."""
    red, green, blue = (value / 255 for value in color)
    kr, kb = {BT709: (0.2126, 0.0722), SD: (0.299, 0.114), PAL: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / 2 / (1 - kb), (red - y) / 2 / (1 - kr)
    scale = 2 ** (bits - 8)
    if range_ == LIMITED:
        return [scale * (16 + 219 * y), scale * (128 + 224 * cb), scale * (128 + 224 * cr)]
    top = 2**bits - 1
    return [top * y, 128 * scale + top * cb, 128 * scale + top * cr]


@pytest.mark.parametrize(
    ("size", "tags", "convert"),
    [
        ((720, 1280), (2, 2, 2, 0), (BT709, LIMITED)),  # untagged HD
        ((64, 96), (2, 2, 2, 0), (SD, LIMITED)),  # untagged SD
        ((576, 1024), (2, 2, 2, 0), (SD, LIMITED)),
        ((64, 1026), (2, 2, 2, 0), (BT709, LIMITED)),
        ((578, 96), (2, 2, 2, 0), (BT709, LIMITED)),
        ((64, 96), (BT709, 1, 1, LIMITED), (BT709, LIMITED)),
        ((720, 1280), (PAL, 5, 6, LIMITED), (PAL, LIMITED)),
        ((64, 96), (SD, 6, 6, FULL), (SD, FULL)),
        ((64, 96), (BT709, 1, 13, FULL), (BT709, FULL)),
        ((64, 96), (9, 9, 14, LIMITED), (9, LIMITED)),
        ((64, 96), (2, 2, 2, FULL), (SD, FULL)),
    ],
)
def test_matrix_range_and_tags(tmp_path, size, tags, convert):
    source = write_film(tmp_path / "a.mp4", plain(RED, *size), tags=tags, convert=convert)
    wanted = expected_planes(RED, *convert)
    assert np.abs(np.subtract(planes(source), wanted)).max() <= 1.5, "the input of the test"
    output = tmp_path / "out.mp4"
    received = []

    class Looks(Same):
        def restore_all(self, images):
            for image in images:
                received.append(image[20, 20].tolist())
                yield image.copy()

    report = video.restore_video(job(source, output), Looks())
    assert report.notes == []
    assert np.abs(np.subtract(received, RED)).max() <= 2, "the network must get the colors that players show"
    assert np.abs(np.subtract(planes(output), wanted)).max() <= 2.5
    assert facts(output)[0][0]["tags"] == facts(source)[0][0]["tags"]


def test_a_comparison_of_sd_is_tagged_as_players_would_take_it_for_hd(tmp_path):
    source = write_film(tmp_path / "a.mp4", plain(RED, 64, 640))
    wanted = job(source, tmp_path / "out.mp4", tmp_path / "both.mp4")
    video.restore_video(wanted, Same())
    assert facts(wanted.output)[0][0]["tags"][0] == 2
    assert facts(wanted.compare)[0][0]["tags"][0] == SD
    assert np.abs(frames_of(wanted.compare)[0, 20, 20].astype(int) - RED).max() <= 2


@pytest.mark.parametrize(
    ("codec", "pixels", "result", "bits"),
    [
        ("libx264", "yuv420p10le", "yuv420p10le", 10),
        ("libx264", "yuv422p10le", "yuv422p10le", 10),
        ("libx264", "yuv422p", "yuv420p", 8),
        ("libx264", "yuv444p", "yuv420p", 8),
        ("ffv1", "gray", "yuvj420p", 8),
        ("ffv1", "yuv420p16le", "yuv420p10le", 10),
    ],
)
def test_bits_and_subsampling(tmp_path, codec, pixels, result, bits):
    dtype = np.uint8 if bits == 8 else np.uint16
    clip = moving(4, dtype=dtype)
    if pixels == "gray":
        clip[:] = clip.mean(axis=-1, keepdims=True)
    convert = (SD, FULL) if pixels == "gray" else None
    source = write_film(tmp_path / "a.mkv", clip, codec=codec, pixels=pixels, convert=convert)
    received = []

    class Looks(Darker):
        def restore_all(self, images):
            for image in images:
                received.append(image)
                yield image // 2

    video.restore_video(job(source, tmp_path / "out.mkv"), Looks())
    assert facts(tmp_path / "out.mkv")[0][0]["pixels"] == result
    assert received[0].dtype == dtype
    white = np.iinfo(dtype).max
    apart = np.abs(received[0].astype(float) - clip[0])[:, 40:] / white * 255
    assert apart.mean() < 1.2
    if bits == 10 and pixels.startswith("yuv42"):
        assert len(np.unique(received[0])) > 256, "more values than 8 bits have"


def test_rgb_becomes_yuv_with_a_tag(tmp_path):
    source = write_film(tmp_path / "a.mkv", plain(RED), codec="ffv1", pixels="bgr0", tags=(0, 1, 13, 2))
    video.restore_video(job(source, tmp_path / "out.mkv"), Same())
    assert facts(tmp_path / "out.mkv")[0][0]["tags"] == (SD, 1, 13, LIMITED)
    assert np.abs(np.subtract(planes(tmp_path / "out.mkv"), expected_planes(RED, SD, LIMITED))).max() <= 2


@pytest.mark.parametrize(("matrix", "pixels"), [(8, "yuv420p"), (10, "yuv420p"), (14, "yuv420p10le"), (0, "yuv420p")])
def test_a_matrix_that_cannot_be_read_is_refused(tmp_path, matrix, pixels):
    source = write_film(tmp_path / "a.mkv", moving(3), codec="ffv1", pixels=pixels, convert=(SD, LIMITED))
    data = source.read_bytes()
    tagged = write_film(
        tmp_path / "b.mkv", moving(3), codec="ffv1", pixels=pixels, tags=(matrix, 2, 2, 0), convert=(SD, LIMITED)
    )
    assert tagged.read_bytes() != data
    with pytest.raises(DataError, match=rf"matrix {matrix} of ITU-T H\.273"):
        video.restore_video(job(tagged, tmp_path / "out.mkv"), Same())
    assert not (tmp_path / "out.mkv").exists()


def pq(nits):
    power = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


@pytest.mark.parametrize(
    ("transfer", "value", "low", "high"),
    [
        (16, pq(0), 0, 0),
        (16, pq(1), 26, 30),  # 255 (1 / 203)^(1 / 2.4) = 27.9: what is dark does not change
        (16, pq(50), 140, 144),  # 142.2
        (16, pq(203), 228, 233),  # reference white; the curve of BT.2390 by hand: 231
        (16, pq(1000), 254, 255),
        (16, pq(10000), 254, 255),
        (18, 0.0, 0, 0),
        (18, 0.75, 228, 233),  # reference white of HLG
        (18, 1.0, 254, 255),
    ],
)
def test_hdr_is_tone_mapped(tmp_path, transfer, value, low, high):
    gray = plain(round(65535 * value), dtype=np.uint16)
    tags = (9, 9, transfer, LIMITED)
    options = {"x265-params": "log-level=none:lossless=1"}
    source = write_film(tmp_path / "a.mp4", gray, codec="libx265", pixels="yuv420p10le", tags=tags, options=options)
    report = video.restore_video(job(source, tmp_path / "out.mp4"), Same())
    name = {16: "PQ", 18: "HLG"}[transfer]
    assert report.notes == [f"HDR ({name}) is tone-mapped to SDR, BT.709 with 8 bits"]
    stream = facts(tmp_path / "out.mp4")[0][0]
    assert (stream["tags"], stream["pixels"]) == ((1, 1, 1, LIMITED), "yuv420p")
    shown = frames_of(tmp_path / "out.mp4")[1, 20, 20]
    assert low <= shown.min() and shown.max() <= high, shown


def test_the_colors_of_hdr():
    # Reference white in BT.2020 stays white; a red of BT.709 stays that red.
    for transfer, code in (("PQ", pq(100.0)), ("HLG", 0.6)):
        gray = tone_mapping.to_sdr(np.full(3, code), transfer=transfer)
        assert np.ptp(gray) < 1e-3
    red = np.array([0.6274, 0.0691, 0.0164]) * 100  # 100 cd/m2 of BT.709's red in BT.2020
    sdr = tone_mapping.to_sdr(pq(red), transfer="PQ")
    assert sdr[0] == pytest.approx((100 / 203) ** (1 / 2.4), abs=0.01)
    assert sdr[1:].max() < 0.1
    steps = tone_mapping.to_sdr(np.repeat(np.linspace(0, 0.74, 200)[:, None], 3, 1), transfer="PQ")[:, 0]
    assert (np.diff(steps) > 0).all()


@pytest.mark.parametrize(
    ("size", "result", "words"),
    [
        ((65, 97), (66, 98), "the last row and the last column are"),
        ((64, 97), (64, 98), "the last column is"),
        ((65, 96), (66, 96), "the last row is"),
    ],
)
def test_odd_sizes_are_padded(tmp_path, size, result, words):
    clip = moving(4, *size)
    source = write_film(tmp_path / "a.mp4", clip, pixels="yuv444p")
    output = tmp_path / "out.mp4"
    report = video.restore_video(job(source, output), Same())
    assert report.notes == [f"{words} repeated once, as players need even sizes"]
    stream = facts(output)[0][0]
    assert (stream["size"][::-1], stream["pixels"]) == (result, "yuv420p")
    restored = frames_of(output).astype(int)
    apart = np.abs(restored[:, : size[0], : size[1]] - clip).mean()
    assert apart < 3, "nothing moves"
    assert np.abs(restored[:, -1, :, :] - restored[:, -2, :, :]).mean() < 3
    # An encoder with colors of full resolution needs no padding.
    kept = tmp_path / "out.mkv"
    assert video.restore_video(job(source, kept), Same(), options=video.VideoOptions(codec="ffv1")).notes == []
    assert facts(kept)[0][0]["size"][::-1] == size


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_the_pixel_aspect_is_kept(tmp_path, name):
    source = write_film(tmp_path / "a.mp4", moving(4), aspect=fractions.Fraction(32, 27))
    video.restore_video(job(source, tmp_path / name), Same())
    assert facts(tmp_path / name)[0][0]["aspect"] == fractions.Fraction(32, 27)


@pytest.mark.parametrize("flips", [{}, {"hflip": True}, {"vflip": True}])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_the_orientation_is_applied(tmp_path, degrees, flips):
    clip = plain(0, 64, 96, 2)
    clip[:, 8:24, 8:40] = (250, 20, 20)
    clip[:, 40:56, 56:88] = (20, 20, 250)
    source = write_film(
        tmp_path / "a.mp4", clip, rotation={"degrees": degrees, **flips}, aspect=fractions.Fraction(4, 3)
    )
    video.restore_video(job(source, tmp_path / "out.mp4"), Same())
    upright = np.rot90(clip[0], k=degrees // 90)  # both count counterclockwise
    if flips.get("hflip"):
        upright = upright[:, ::-1]
    if flips.get("vflip"):
        upright = upright[::-1]
    restored = frames_of(tmp_path / "out.mp4")[0].astype(int)
    assert restored.shape == upright.shape
    assert np.abs(restored - upright).mean() < 4
    stream = facts(tmp_path / "out.mp4")[0][0]
    assert stream["aspect"] == (fractions.Fraction(3, 4) if degrees in (90, 270) else fractions.Fraction(4, 3))
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert next(file.decode(video=0)).rotation == 0


def test_interlaced_frames_are_deinterlaced(tmp_path):
    # Two fields of a moving square: in a frame of both, its edges are combs.
    fields = moving(24, 64, 96)
    clip = fields[1::2].copy()
    clip[:, 1::2] = fields[::2, 1::2]  # the bottom field is first
    source = write_film(tmp_path / "a.mp4", clip, interlaced=True)
    report = video.restore_video(job(source, tmp_path / "out.mp4"), Same())
    assert report.frames == 12
    assert report.notes == ["interlaced frames are deinterlaced (bwdif), one frame for two fields"]

    def combs(frames):
        frames = frames.astype(float).mean(-1)
        return np.abs(frames[:, 1:-1] - (frames[:, :-2] + frames[:, 2:]) / 2).mean()

    restored = frames_of(tmp_path / "out.mp4")
    assert combs(frames_of(source)) > 2 * combs(restored)
    apart = [np.abs(restored[2:-2, 1::2].astype(int) - fields[4 + i : 20 + i : 2, 1::2]).mean() for i in (0, 1)]
    assert apart[0] < apart[1] * 0.6, "the first field stays"
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert not any(frame.interlaced_frame for frame in file.decode(video=0))
