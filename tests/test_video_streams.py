"""Videos: sound, subtitles, data, covers, attachments, chapters and metadata are kept, or named."""

import fractions
import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
from video_files import Same, av, facts, frames_of, job, moving, packets_of, times_of, write_film

from hazeheal.inference import video

CHAPTERS = [
    {"id": i + 1, "start": start, "end": end, "time_base": fractions.Fraction(1, 1000), "metadata": {"title": title}}
    for i, (start, end, title) in enumerate([(0, 300, "one"), (300, 480, "two")])
]
FULL = {
    ".mp4": {
        "sound": [{"codec": "aac", "language": "eng"}, {"codec": "ac3", "layout": "stereo", "language": "deu"}],
        "subtitles": ("mov_text", ["hello"]),
        "cover": 32,
        "second": True,
    },
    ".mov": {
        "sound": [{"codec": "pcm_s24le", "language": "eng"}],
        "subtitles": ("mov_text", ["hello"]),
        "film_metadata": {"timecode": "01:02:03:04"},
    },
    ".mkv": {
        "sound": [{"codec": "flac", "language": "eng"}, {"codec": "libopus", "language": "deu"}],
        "subtitles": ("subrip", ["hello"]),
        "attachment": ("font.ttf", "font/ttf", b"a font"),
    },
    ".webm": {
        "codec": "libvpx-vp9",
        "sound": [{"codec": "libopus", "layout": "stereo", "language": "eng"}],
        "subtitles": ("webvtt", ["hello"]),
    },
}


@pytest.fixture(scope="module", params=FULL)
def pair(request, tmp_path_factory):
    """A film with everything its container can hold, its result, and the report."""
    folder = tmp_path_factory.mktemp("full")
    metadata = {"title": "My film", "comment": "a comment"}
    source = write_film(
        folder / f"a{request.param}", moving(12), chapters=CHAPTERS, metadata=metadata, **FULL[request.param]
    )
    output = folder / f"out{request.param}"
    return source, output, video.restore_video(job(source, output), Same())


def without_time(stream):
    return {key: value for key, value in stream.items() if key not in ("time_base", "default")}


def test_every_stream_is_kept(pair):
    source, output, report = pair
    copied = [note for note in report.notes if "copied and not restored" not in note]
    assert copied == []
    streams, chapters, metadata = facts(source)
    kept, kept_chapters, kept_metadata = facts(output)
    assert list(map(without_time, kept)) == list(map(without_time, streams))
    assert kept_chapters == chapters and len(chapters) == 2
    file_only = {"encoder", "ENCODER"}
    assert {k: v for k, v in kept_metadata.items() if k not in file_only} == {
        k: v for k, v in metadata.items() if k not in file_only
    }
    assert times_of(output) == times_of(source)


def test_packets_are_copied(pair):
    source, output, _ = pair
    film = next(i for i, stream in enumerate(facts(source)[0]) if stream["type"] == "video" and not stream["cover"])
    checked = 0
    for index, stream in enumerate(facts(source)[0]):
        if index == film or stream["type"] in ("data", "attachment"):
            continue
        before, after = packets_of(source, index), packets_of(output, index)
        assert [data for _, data in after] == [data for _, data in before]
        assert np.allclose([time for time, _ in after], [time for time, _ in before], atol=1.5e-3)
        checked += 1
    assert checked >= 2


def test_ffprobe_sees_the_same(pair):
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        pytest.skip("needs ffprobe, which reads the files without PyAV")
    names = ("codec_type", "codec_name", "width", "height", "sample_aspect_ratio", "color_space", "color_range")
    names += ("color_transfer", "color_primaries", "r_frame_rate", "sample_rate", "channels")

    def probe(path):
        command = [ffprobe, "-v", "error", "-show_streams", "-show_chapters", "-show_format", "-of", "json", path]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        streams = [
            {name: s.get(name) for name in names}
            | {"language": s.get("tags", {}).get("language"), "cover": s["disposition"]["attached_pic"]}
            for s in found["streams"]
        ]
        tags = {key: found["format"].get("tags", {}).get(key) for key in ("title", "comment")}
        timecodes = [s["tags"]["timecode"] for s in found["streams"] if "timecode" in s.get("tags", {})]
        titles = [(c["start_time"], c["end_time"], c["tags"]["title"]) for c in found["chapters"]]
        return streams, tags, timecodes, titles

    source, output, _ = pair
    before, after = probe(source), probe(output)
    for stream in before[0] + after[0]:  # VP9 has a range always
        if stream["codec_name"] == "vp9":
            stream["color_range"] = None
    assert after == before


def cover_first(path):
    """Moves the metadata of an MP4 before its tracks, so that the cover becomes the first stream."""
    data = path.read_bytes()

    def boxes(data):
        position = 0
        while position < len(data):
            (size,) = struct.unpack_from(">I", data, position)
            yield data[position + 4 : position + 8], data[position : position + size]
            position += size

    parts = []
    for name, box in boxes(data):
        if name == b"moov":
            inner = sorted(
                boxes(box[8:]),
                key=lambda item: (b"mvhd", b"udta").index(item[0]) if item[0] in (b"mvhd", b"udta") else 2,
            )
            box = box[:8] + b"".join(content for _, content in inner)
        parts.append(box)
    assert parts[-1][4:8] == b"moov", "no offset may change"
    path.write_bytes(b"".join(parts))


def test_the_film_is_the_first_stream_that_is_no_cover(tmp_path):
    source = write_film(tmp_path / "a.mp4", moving(12), cover=32, sound={"codec": "aac"})
    cover_first(source)
    assert facts(source)[0][0]["cover"], "the input of the test"
    output = tmp_path / "out.mp4"
    report = video.restore_video(job(source, output), Same())
    assert (report.frames, report.height, report.width, report.notes) == (12, 64, 96, [])
    assert frames_of(output).shape == (12, 64, 96, 3)
    covers = [i for i, stream in enumerate(facts(output)[0]) if stream["cover"]]
    assert len(covers) == 1
    assert packets_of(output, covers[0])[0][1] == packets_of(source, 0)[0][1]


def test_a_cover_becomes_an_attachment_in_matroska(tmp_path):
    mp4 = write_film(tmp_path / "a.mp4", moving(12), cover=32)
    (tmp_path / "a.3gp").write_bytes(mp4.read_bytes())
    output = tmp_path / "a.3gp.mkv"
    assert video.restore_video(job(tmp_path / "a.3gp", output), Same()).notes == []
    streams = facts(output)[0]
    assert [stream["cover"] for stream in streams] == [False, True]
    assert packets_of(output, 1)[0][1] == packets_of(mp4, 1)[0][1]
    again = tmp_path / "again.mkv"
    assert video.restore_video(job(output, again), Same()).notes == []
    assert packets_of(again, 1)[0][1] == packets_of(mp4, 1)[0][1]


def test_metadata_of_cameras_is_kept(tmp_path):
    metadata = {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.location.ISO6709": "+48.1+011.5/"}
    path = tmp_path / "a.mov"
    plain = write_film(tmp_path / "b.mov", moving(12))
    with (
        av.open(str(plain)) as file,
        av.open(str(path), "w", container_options={"movflags": "use_metadata_tags"}) as out,
    ):
        out.metadata.update(metadata | {"title": "T"})
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    for name in ("out.mov", "out.mp4"):
        video.restore_video(job(path, tmp_path / name), Same())
        kept = facts(tmp_path / name)[2]
        assert {key: kept.get(key) for key in metadata} == metadata
        assert kept["title"] == "T"


def test_a_cover_goes_before_tags_that_mp4_does_not_define(tmp_path):
    mp4 = write_film(tmp_path / "a.mp4", moving(4), cover=32, metadata={"title": "T"})
    video.restore_video(job(mp4, tmp_path / "a.mkv"), Same())
    tagged = tmp_path / "b.mkv"
    with av.open(str(tmp_path / "a.mkv")) as file, av.open(str(tagged), "w") as out:
        out.metadata.update({"title": "T", "MY_TAG": "mine"})
        out.add_attachment("cover.jpg", "image/jpeg", packets_of(mp4, 1)[0][1])
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    for name, cover, words in (
        ("o.mp4", True, "beside a cover: MY_TAG"),
        ("o.mov", False, "mjpeg) is left out, as mov"),
    ):
        notes = video.restore_video(job(tagged, tmp_path / name), Same()).notes
        streams, _, metadata = facts(tmp_path / name)
        assert len(notes) == 1 and words in notes[0]
        assert any(stream["cover"] for stream in streams) is cover
        assert metadata["title"] == "T"
        assert ("MY_TAG" in metadata) is not cover


def test_broken_times_of_copied_packets_do_not_stop_a_video(tmp_path):
    source = write_film(tmp_path / "a.ts", moving(25), container="mpegts", start=5, sound={"codec": "mp2"})
    again = write_film(tmp_path / "b.ts", moving(25), container="mpegts", start=2, sound={"codec": "mp2"})
    both = tmp_path / "both.ts"
    both.write_bytes(source.read_bytes() + again.read_bytes())  # the clock jumps back
    report = video.restore_video(job(both, tmp_path / "out.mkv"), Same())
    assert report.frames >= 48
    assert len(packets_of(tmp_path / "out.mkv", 1)) == len(packets_of(both, 1))
    times = times_of(tmp_path / "out.mkv")
    assert times == sorted(set(times))


def test_closed_captions_stay_in_the_frames(tmp_path):
    source = tmp_path / "a.mp4"
    caption = b"\xfc\x94\x20\xfc\xc8\xe5"
    message = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | len(caption) // 3, 0xFF]) + caption + b"\xff"
    sei = bytes([6, 4, len(message)]) + message + b"\x80"  # registered by ITU-T T.35
    plain = write_film(tmp_path / "b.mp4", moving(12), options={"bf": "0"})
    with av.open(str(plain)) as file, av.open(str(source), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(0):
            if packet.size:
                unit = len(sei).to_bytes(4, "big") + sei
                captioned = av.Packet(unit + bytes(packet))
                captioned.pts, captioned.dts, captioned.duration = packet.pts, packet.dts, packet.duration
                captioned.time_base, captioned.is_keyframe, captioned.stream = (
                    packet.time_base,
                    packet.is_keyframe,
                    stream,
                )
                out.mux(captioned)

    def captions(path):
        with av.open(str(path)) as file:
            return [bytes(frame.side_data.get("A53_CC") or b"") for frame in file.decode(video=0)]

    assert captions(source) == [caption] * 12, "the input of the test"
    video.restore_video(job(source, tmp_path / "out.mp4"), Same())
    assert captions(tmp_path / "out.mp4") == [caption] * 12


def test_metadata_that_is_not_utf8_keeps_its_bytes(tmp_path):
    source = write_film(tmp_path / "a.mkv", moving(4), metadata={"title": "cafeQ"})
    data = source.read_bytes()
    assert data.count(b"cafeQ") == 1
    source.write_bytes(data.replace(b"cafeQ", b"caf\xe9\xff"))
    video.restore_video(job(source, tmp_path / "out.mkv"), Same())
    assert b"caf\xe9\xff" in (tmp_path / "out.mkv").read_bytes()
