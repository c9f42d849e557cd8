"""What a result takes from its source beside the film: sound, subtitles, data, covers, attachments, chapters, metadata.

Packets are copied where the container of the result can hold them. Sound that it cannot hold is encoded. What is left
out is named.
"""

import contextlib
import dataclasses
import fractions
import io
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from hazeheal.inference.video.film import CLOCK_JUMP, find_film, open_media

if TYPE_CHECKING:
    import av

_COVER = 1 << 10  # FFmpeg's disposition attached_pic
_AUDIO = {"webm": ("libopus", "Opus")}
_DEFAULT_AUDIO = ("aac", "AAC")
_BIT_RATE = 128_000  # per channel
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # of sound that does not name its channels
# Tags about the file rather than the film, and of mkvmerge, which counts the frames and bytes of the source.
_FILE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "alpha_mode"}
_STATISTICS = re.compile(r"(BPS|DURATION|NUMBER_OF_(FRAMES|BYTES)|_STATISTICS_.*)(-\w+)?$", re.IGNORECASE)
# Those that MP4 and MOV hold without the key `mdta`, which has no covers.
_PLAIN_TAGS = {
    *("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping"),
    *("lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc"),
    *("creation_time", "location", "timecode"),
}
_NAMES = {"audio": "sound", "subtitle": "a subtitle stream", "video": "another video", "attachment": "an attachment"}


@dataclasses.dataclass
class _Copied:
    """A stream of the source in the result: PyAV's streams, and whether it is encoded.

    `last` is the time of the last packet, `shift` what is added to times as the clock has started again.
    """

    source: "av.stream.Stream"
    stream: "av.stream.Stream"
    encoded: bool
    last: int | None = None
    shift: int = 0


class Passthrough:
    """The other streams of a file, in step with the film. Use it as a context.

    with Passthrough(path, container="mp4") as others:
        film = others.add_streams(output, add_film)
        others.copy_until(seconds)
        others.finish()

    Attributes:
        notes: What is encoded or left out, one line each.
    """

    def __init__(self, path: pathlib.Path, *, container: str) -> None:
        """Opens the file a second time, as the film is decoded at its own pace."""
        self.notes, self._container = [], container
        self._path, self._file = path, open_media(path)
        # The clock of MPEG streams starts anywhere; all others start where the film does.
        starts_anywhere = "mpeg" in self._file.format.name.split(",")[0]
        start = (self._file.start_time or 0) if starts_anywhere else 0
        self.start = fractions.Fraction(start, 1_000_000)
        self._copied, self._packets, self._pending, self._output = {}, iter(()), None, None

    def __enter__(self) -> "Passthrough":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add_streams(
        self, output: "av.container.OutputContainer", add_film: Callable[[], "av.VideoStream"]
    ) -> "av.VideoStream":
        """Adds all streams to a new file, in the order of the source, with chapters and metadata.

        Args:
            output: The file, to which nothing was written yet.
            add_film: Adds the film, and returns its stream.

        Returns:
            What `add_film` returned.
        """
        self._output, added = output, None
        film = find_film(self._file)
        chapters = self._file.chapters()
        for stream in self._file.streams:
            if stream.index == film.index:
                added = add_film()
                self._describe(stream, added)
            else:
                self._add(stream, chapters)
        if chapters:
            output.set_chapters(chapters)
        output.metadata.update(_tags(self._file.metadata))
        streams = [copied.source for copied in self._copied.values()]
        self._packets = self._file.demux(streams) if streams else iter(())
        return added

    def needs_mdta(self) -> bool:
        """Returns whether MP4 or MOV needs its fields `mdta`, for tags that it does not define.

        FFmpeg's muxer then writes no cover, which goes first.
        """
        others = sorted(key for key in _tags(self._file.metadata) if key.lower() not in _PLAIN_TAGS)
        if others and self._container == "mp4" and any(map(_is_cover, self._file.streams)):
            self.notes.append(f"metadata is left out, as mp4 cannot hold it beside a cover: {', '.join(others)}")
            return False
        return bool(others)

    def copy_until(self, seconds: float) -> None:
        """Copies the packets up to a time of the film."""
        while (packet := self._next()) is not None:
            if packet.dts * packet.time_base > seconds:
                return
            self._pending = None
            self._copy(packet)

    def finish(self) -> None:
        """Copies all remaining packets."""
        self.copy_until(float("inf"))
        for copied in self._copied.values():
            if copied.encoded:
                for frame in _decoded(copied.source, None):
                    self._output.mux(copied.stream.encode(frame))
                self._output.mux(copied.stream.encode(None))

    def _next(self):
        import av

        while self._pending is None:
            try:
                packet = next(self._packets, None)
            except av.FFmpegError:  # a damaged file; the film reports it
                packet = None
            if packet is None:
                self._packets = iter(())
                return None
            if packet.size:  # else it marks the end of a stream
                if packet.dts is None:  # of a cover
                    packet.dts = packet.pts or 0
                self._pending = packet
        return self._pending

    def _copy(self, packet):
        copied = self._copied[packet.stream_index]
        shift = copied.shift - round(self.start / packet.time_base)
        packet.pts = (packet.dts if packet.pts is None else packet.pts) + shift
        packet.dts += shift
        if copied.last is not None and packet.dts <= copied.last:  # which containers refuse
            more = copied.last + max(1, packet.duration or 1) - packet.dts
            if more * packet.time_base > CLOCK_JUMP:
                copied.shift += more
                packet.pts, packet.dts = packet.pts + more, packet.dts + more
            else:
                packet.dts = copied.last + 1
                packet.pts = max(packet.pts, packet.dts)
        copied.last = packet.dts
        if copied.encoded:
            for frame in _decoded(copied.source, packet):
                self._output.mux(copied.stream.encode(frame))
        else:
            packet.stream = copied.stream
            self._output.mux(packet)

    def _add(self, stream, chapters):
        is_cover = _is_cover(stream)
        if stream.type == "data" and ("timecode" in stream.metadata or (chapters and stream.frames == len(chapters))):
            return  # the muxer writes these from the film's metadata, and from the chapters
        if self._container == "matroska" and (is_cover or stream.type == "attachment"):
            self._attach(stream, is_cover)
        elif _is_held(stream, self._container) and not (is_cover and self._container == "mov"):
            added = self._output.add_stream_from_template(stream, opaque=True)
            self._describe(stream, added)
            self._copied[stream.index] = _Copied(stream, added, False)
            if stream.type == "video" and not is_cover:
                self.notes.append(f"{_name(stream)} is copied and not restored")
        elif stream.type == "audio" and stream.codec_context is not None:
            self._encode(stream)
        else:
            unknown = stream.type in ("audio", "video", "subtitle") and stream.codec_context is None
            reason = "FFmpeg does not know its codec" if unknown else f"{self._container} cannot hold it"
            self.notes.append(f"{_name(stream)} is left out, as {reason}")

    def _encode(self, stream):
        import av

        encoder, title = _AUDIO.get(self._container, _DEFAULT_AUDIO)
        channels = stream.layout.nb_channels
        layout = _LAYOUTS.get(channels, "") if stream.layout.name.endswith("channels") else stream.layout.name
        rate = stream.rate if stream.rate in av.codec.Codec(encoder, "w").audio_rates else 48000
        if not _can_encode(encoder, layout, rate):
            self.notes.append(f"{_name(stream)} is left out, as its {channels} channels cannot be encoded to {title}")
            return
        added = self._output.add_stream(encoder, rate=rate, layout=layout)
        added.bit_rate = _BIT_RATE * channels
        self._describe(stream, added)
        self._copied[stream.index] = _Copied(stream, added, True)
        self.notes.append(f"{_name(stream)} is encoded to {title}, as {self._container} cannot hold it")

    def _attach(self, stream, is_cover):
        data = self._cover(stream.index) if is_cover else stream.data
        metadata = stream.metadata
        kind = {"mjpeg": "jpeg"}.get(stream.name, stream.name) if is_cover else None
        mime = metadata.get("mimetype") or (f"image/{kind}" if kind else "application/octet-stream")
        default = f"cover.{'jpg' if kind == 'jpeg' else kind}" if kind else "attachment"
        self._output.add_attachment(metadata.get("filename") or default, mime, data)

    def _cover(self, index):

        with open_media(self._path) as file:
            return next(bytes(packet) for packet in file.demux(file.streams[index]) if packet.size)

    def _describe(self, source, added):
        added.metadata.update(_tags(source.metadata))
        added.disposition = source.disposition


def _is_cover(stream):
    return stream.type == "video" and bool(stream.disposition & _COVER)


def _is_held(stream, container):
    """Returns whether a container can hold a stream, by writing the header of such a file."""
    import av

    if container == "webm" and stream.type == "video":  # FFmpeg takes any there, also those that players refuse
        return stream.name in ("vp8", "vp9", "av1")
    with contextlib.suppress(av.FFmpegError, ValueError):
        file = av.open(io.BytesIO(), "w", format=container)
        with contextlib.suppress(av.FFmpegError, ValueError), file:
            file.add_stream_from_template(stream, opaque=True)
            file.start_encoding()
            return True
    return False


def _can_encode(encoder, layout, rate):
    import av

    try:
        context = av.CodecContext.create(encoder, "w")
        context.layout, context.sample_rate = layout, rate
        context.format = context.codec.audio_formats[0]
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _decoded(stream, packet):
    import av

    try:
        return stream.codec_context.decode(packet)
    except av.FFmpegError:  # a damaged packet, or the end
        return []


def _tags(metadata):
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _FILE_TAGS and not _STATISTICS.fullmatch(key)
    }


def _name(stream):
    kind = _NAMES.get(stream.type, f"a {stream.type} stream")
    language = stream.metadata.get("language")
    details = [getattr(stream, "name", None) or stream.metadata.get("handler_name") or "unknown codec"]
    details += [language] if language and language != "und" else []
    return f"{kind} (stream {stream.index}, {', '.join(details)})"
