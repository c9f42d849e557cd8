"""Videos for tests, written with PyAV, and what a file contains."""

import fractions
import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from hazeheal.inference.jobs import Job

av = pytest.importorskip("av", reason="needs av (pip install 'hazeheal[video]')")

TIME_BASE = fractions.Fraction(1, 12800)


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


class Same:
    """A restorer that changes nothing."""

    def restore_all(self, images):
        yield from (image.copy() for image in images)


def job(source, output, compare=None):
    return Job(pathlib.Path(source), pathlib.Path(output), compare)


def moving(count=12, height=64, width=96, *, dtype=np.uint8):
    """Frames `[count, height, width, 3]` of smooth colors in which a bright square moves."""
    white = np.iinfo(dtype).max
    rows, columns = np.mgrid[:height, :width]
    clip = np.empty((count, height, width, 3), dtype)
    for i, frame in enumerate(clip):
        for channel in range(3):
            wave = np.sin(rows / 17 + channel) * np.cos(columns / 23 - channel) / 4 + 0.4
            frame[..., channel] = np.rint(white * wave)
        left = (width - 16) * i // max(1, count - 1)
        frame[height // 4 : height // 4 + 16, left : left + 16] = (white, white * 3 // 4, white // 2)
    return clip


def write_film(
    path,
    clip,
    *,
    codec="libx264",
    pixels="yuv420p",
    times=None,
    start=0,
    time_base=TIME_BASE,
    rate=25,
    tags=(2, 2, 2, 0),
    convert=None,
    aspect=None,
    rotation=None,
    options=None,
    interlaced=False,
    container=None,
    sound=None,
    subtitles=None,
    cover=None,
    cover_first=False,
    attachment=None,
    chapters=None,
    metadata=None,
    film_metadata=None,
    second=False,
):
    """Writes a film.

    Args:
        clip: `[N, H, W, 3]` uint8 or uint16.
        times: Of the frames, in units of time_base; None: `rate` per second.
        start: Seconds to add to the times of frames and sound.
        tags: (matrix, primaries, transfer, range) in the file.
        convert: (matrix, range) of the values; None: those of the tags.
        sound: {"codec", "layout", "language"} of a tone, one or a list.
        subtitles: (codec, [text]) each for half a second.
        cover: Size of a cover image.
        second: Whether the file has a second video.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = av.open(f"file:{path}", "w", format=container)
    with file:
        file.metadata.update(metadata or {})
        covers = [_cover(file, cover)] if cover and cover_first else []
        film = _film_stream(file, codec, clip, pixels, time_base, rate, tags, aspect, options)
        film.metadata.update(film_metadata or {})
        if rotation:
            film.set_display_rotation(**rotation)
        if interlaced:
            film.codec_context.flags |= av.codec.context.Flags.interlaced_dct
        tracks = [(_sound_stream(file, **track), track) for track in _list(sound)]
        texts = _text_stream(file, subtitles) if subtitles else None
        other = _film_stream(file, codec, clip, pixels, time_base, rate, tags, None, options) if second else None
        if attachment:
            file.add_attachment(*attachment)
        if cover and not cover_first:
            covers = [_cover(file, cover)]
        if chapters:
            file.set_chapters(chapters)
        for stream, data in covers:
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, fractions.Fraction(1, 90000)
            file.mux(packet)
        step = round(1 / (fractions.Fraction(rate) * time_base))
        times = [step * i for i in range(len(clip))] if times is None else times
        times = [time + round(start / time_base) for time in times]
        for image, time in zip(clip, times, strict=True):
            for stream in [film] + ([other] if other else []):
                file.mux(stream.encode(_frame(image, time, time_base, pixels, convert or (tags[0], tags[3] or 1))))
        for stream in [film] + ([other] if other else []):
            file.mux(stream.encode(None))
        seconds = float((times[-1] + step) * time_base) - start
        for stream, track in tracks:
            _tone(file, stream, seconds, track.get("frequency", 440), start)
        for i, text in enumerate(subtitles[1] if subtitles else ()):
            packet = av.Packet(_text(subtitles[0], text))
            packet.stream, packet.time_base = texts, fractions.Fraction(1, 1000)
            packet.pts = packet.dts = 500 * i
            packet.duration = 500
            file.mux(packet)
    return path


def _list(value):
    return value if isinstance(value, list) else [value] if value else []


def _film_stream(file, codec, clip, pixels, time_base, rate, tags, aspect, options):
    quality = {"crf": "4"} if codec in ("libx264", "libx265") else {}
    quality |= {"x265-params": "log-level=none"} if codec == "libx265" else {}
    stream = file.add_stream(codec, rate=rate, options=quality | (options or {}))
    stream.height, stream.width, stream.pix_fmt = clip.shape[1], clip.shape[2], pixels
    context = stream.codec_context
    context.time_base = stream.time_base = time_base
    context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
    if aspect:
        context.sample_aspect_ratio = aspect
    if codec in ("mpeg4", "mjpeg"):
        context.bit_rate = 20_000_000
    return stream


def _frame(image, time, time_base, pixels, convert):
    frame = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(image), format="rgb24" if image.dtype == np.uint8 else "rgb48le"
    )
    frame.colorspace, frame.color_range = convert
    if convert[0] == 2:
        frame.colorspace = 6
    # Exact rounding, colors at full resolution.
    frame = frame.reformat(format=pixels, interpolation=4 | 0x2000 | 0x4000 | 0x40000)
    frame.pts, frame.time_base = time, time_base
    return frame


def _sound_stream(file, codec="aac", layout="mono", language=None, rate=48000, frequency=440):
    stream = file.add_stream(codec, rate=rate, layout=layout)
    if codec.startswith("wma"):
        stream.bit_rate = 128_000
    if language:
        stream.metadata["language"] = language
    return stream


def _tone(file, stream, seconds, frequency, begin):
    rate, count = stream.rate, 1000
    layout = stream.layout.name
    for start in range(0, int(seconds * rate), count):
        wave = np.sin(2 * np.pi * frequency * np.arange(start, start + count) / rate) * 8000
        samples = np.repeat(wave.astype(np.int16)[:, None], stream.layout.nb_channels, axis=1)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start + begin * rate, fractions.Fraction(1, rate)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def _text_stream(file, subtitles):
    stream = file.add_mux_stream(subtitles[0])
    stream.time_base = fractions.Fraction(1, 1000)
    stream.metadata["language"] = "fra"
    return stream


def _text(codec, text):
    data = text.encode()
    return len(data).to_bytes(2, "big") + data if codec == "mov_text" else data


def _cover(file, size):
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (10, 200, 30)).save(buffer, "JPEG")
    stream = file.add_mux_stream("mjpeg", width=size, height=size)
    stream.disposition = 1 << 10
    return stream, buffer.getvalue()


def frames_of(path):
    """All frames of the film, `[N, H, W, 3]` uint8, by the tags of the file, or as players guess without tags."""
    with av.open(f"file:{path}") as file:
        film = film_of(file)
        return np.stack([_rgb(frame) for frame in file.decode(film)])


def _rgb(frame):
    if frame.colorspace == 2:
        frame.colorspace = 1 if frame.height > 576 or frame.width > 1024 else 6
    return frame.reformat(format="rgb24", interpolation=4 | 0x2000 | 0x4000 | 0x40000).to_ndarray().copy()


def film_of(file):
    return next(stream for stream in file.streams.video if not stream.disposition & (1 << 10))


def times_of(path):
    """The times of all frames in seconds, as fractions."""
    with av.open(f"file:{path}") as file:
        return [frame.pts * frame.time_base for frame in file.decode(film_of(file))]


def packets_of(path, index):
    """The packets of one stream: (time in seconds, bytes)."""
    with av.open(f"file:{path}") as file:
        packets = file.demux(file.streams[index])
        return [(float((packet.pts or 0) * packet.time_base), bytes(packet)) for packet in packets if packet.size]


def facts(path):
    """What `ffprobe` shows of a file: a list of streams, chapters, metadata."""
    with av.open(f"file:{path}") as file:
        streams = []
        for stream in file.streams:
            about = {"type": stream.type, "codec": getattr(stream, "name", None), "language": stream.language}
            about["cover"] = bool(stream.type == "video" and stream.disposition & (1 << 10))
            about["default"] = bool(stream.disposition & 1)
            if stream.type == "video":
                context = stream.codec_context
                about["size"] = (context.width, context.height)
                about["aspect"] = stream.sample_aspect_ratio or fractions.Fraction(1)
                about["pixels"] = context.pix_fmt
                about["tags"] = tuple(
                    int(getattr(context, name))
                    for name in ("colorspace", "color_primaries", "color_trc", "color_range")
                )
                about["time_base"] = stream.time_base
            if stream.type == "audio" and stream.codec_context:
                about["rate"], about["channels"] = stream.rate, stream.layout.nb_channels
            streams.append(about)
        chapters = [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"].get("title"))
            for c in file.chapters()
        ]
        return streams, chapters, dict(file.metadata)
