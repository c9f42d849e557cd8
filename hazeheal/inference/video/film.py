"""The film of a video file: its frames as upright RGB images, with their times.

The film is the first video stream that is not a cover image. Interlaced frames are deinterlaced and HDR is tone-mapped,
both by FFmpeg's filters. A damaged film yields the frames that can be decoded.
"""

import contextlib
import dataclasses
import fractions
import math
import pathlib
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from hazeheal.errors import DataError
from hazeheal.inference.video import tone_mapping
from hazeheal.inference.video.colors import CONVERSION, SDR, colors_of
from hazeheal.inference.video.filters import DEINTERLACE, Chain, orientation, tone_map
from hazeheal.utils.console import error_text, plural

if TYPE_CHECKING:
    import av

CLOCK_JUMP = 1  # seconds: the clock of a stream that goes back further has started again
# Dispositions of FFmpeg: attached_pic, timed_thumbnails, still_image.
_COVERS = (1 << 10) | (1 << 11) | (1 << 20)


@dataclasses.dataclass
class Frame:
    """One frame.

    Attributes:
        image: `[H, W, 3]` RGB, uint8, or uint16 for more than 8 bits.
        time: In units of the film's time base.
        duration: The same; 0 if unknown.
        decoded: PyAV's RGB frame if it has the size of `image`, else None. It carries closed captions.
    """

    image: np.ndarray
    time: int
    duration: int
    decoded: object


class Film:
    """The frames of one file. Use it as a context, and read `frames()` once.

    Attributes:
        stream: PyAV's stream.
        colors: Of the images, after tone mapping.
        height, width: Of the upright images.
        pixel_aspect: Width of a pixel in heights, or None.
        rate: Mean frames per second, or None.
        count: Estimated number of frames, or None.
        notes: What is converted, one line each.
        damage: What could not be decoded, or "". Complete after the last frame.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the file and decodes its first frame.

        Raises:
            DataError: The file has no film that can be decoded, or its colors cannot be read.
        """
        import av

        self.path, self.notes, self.damage = path, [], ""
        self._errors, self._corrupt, self._tone, self._resized = [], 0, None, False
        self._stack = contextlib.ExitStack()
        with self._stack:
            try:
                self._container = self._stack.enter_context(open_media(path))
                self.stream = find_film(self._container)
                if self.stream is None:
                    raise DataError(f"{path}: has no video stream")
                self.stream.thread_type = "AUTO"
                self._decoded = self._decode()
                first = next(self._decoded, None)
            except (av.FFmpegError, ValueError) as error:
                raise DataError(f"{path}: not a video that can be decoded ({_message(error)})") from error
            if first is None:
                reason = self._errors[0] if self._errors else "no frames"
                raise DataError(f"{path}: not a video that can be decoded ({reason})")
            self._describe(first)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _describe(self, first):
        """Sets the attributes from the first decoded frame, which `frames` yields again."""
        stream, self._first = self.stream, first
        self.time_base = stream.time_base
        self._source_colors = colors_of(first, path=self.path)
        self.colors = SDR if self._source_colors.hdr else self._source_colors
        self._turn, turned = orientation(first)
        self._size = first.width, first.height
        self.width, self.height = self._size[::-1] if turned else self._size
        aspect = stream.sample_aspect_ratio or None
        self.pixel_aspect = 1 / aspect if aspect and turned else aspect
        self.rate = stream.average_rate or stream.guessed_rate or None
        seconds = None
        if stream.duration:
            seconds = stream.duration * stream.time_base
        elif self._container.duration:
            seconds = fractions.Fraction(self._container.duration, 1_000_000)
        self._seconds = seconds
        self.count = stream.frames or (round(seconds * self.rate) if seconds and self.rate else None)
        if self._source_colors.hdr:
            self.notes.append(f"HDR ({self._source_colors.hdr}) is tone-mapped to SDR, BT.709 with 8 bits")
        if any(part.is_alpha for part in first.format.components) or stream.metadata.get("alpha_mode") == "1":
            self.notes.append("transparency is left out")
        kinds = {"SPHERICAL": "the 360-degree projection", "STEREO3D": "the stereo layout"}
        lost = [text for kind, text in kinds.items() if first.side_data.get(kind)]
        if lost:
            self.notes.append(f"{' and '.join(lost)} cannot be written; the frames are those of the file")

    def frames(self) -> Iterator[Frame]:
        """Yields every frame once, in the order of their times, which are strictly increasing."""
        last, count, shift = None, 0, 0
        step = max(1, round(1 / (self.rate * self.time_base))) if self.rate else 1
        tick = max(1, math.ceil(1 / (1000 * self.time_base)))  # what Matroska tells apart
        for frame in self._progressive(self._all_decoded()):
            time, duration = frame.pts, frame.duration or 0
            if frame.time_base and frame.time_base != self.time_base:  # of a filter
                scale = frame.time_base / self.time_base
                time, duration = (None if x is None else round(x * scale) for x in (time, duration))
            if time is None:
                time = (self.stream.start_time or 0) if last is None else last + step
            time += shift
            if last is not None and time <= last:  # no frame may be lost
                if (last - time) * self.time_base > CLOCK_JUMP:
                    shift += last + step - time
                    time = last + step
                else:
                    time = last + tick
            last, count = time, count + 1
            yield self._upright(frame, time, duration)
        self.damage = self._describe_damage(count, last)

    def _decode(self):
        """Yields PyAV's frames. Packets that cannot be decoded are counted."""
        import av

        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._errors.append(_message(error))
                packet = None
            if packet is not None and not packet.size and packet.dts is not None:
                continue  # AVI: the last frame is shown longer
            try:
                yield from self.stream.codec_context.decode(packet if packet is not None and packet.size else None)
            except av.EOFError:
                return
            except av.FFmpegError as error:
                self._errors.append(_message(error))
            if packet is None or not packet.size:
                return

    def _all_decoded(self):
        yield self._first
        self._first = None
        yield from self._decoded

    def _progressive(self, frames):
        """Deinterlaces from the first interlaced frame on; frames that are not interlaced pass unchanged."""
        chain = None
        for frame in frames:
            self._corrupt += bool(frame.is_corrupt)
            if chain is None and frame.interlaced_frame:
                chain = Chain(DEINTERLACE, time_base=self.time_base)
                self.notes.append("interlaced frames are deinterlaced (bwdif), one frame for two fields")
            if chain is None:
                yield frame
            else:
                yield from chain.push(frame)
        if chain is not None:
            yield from chain.flush()

    def _upright(self, frame, time, duration):
        wide = self.colors.bits > 8
        layout = "rgb48le" if wide else "rgb24"
        if not frame.format.is_rgb:
            frame.colorspace, frame.color_range = self._source_colors.matrix, self._source_colors.range
        if self._source_colors.hdr:
            frame = self._tone_mapped(frame)
        if (frame.width, frame.height) != self._size and not self._resized:
            self._resized = True
            self.notes.append(f"the size of the frames changes; all become {self._size[0]}x{self._size[1]}")
        width, height = self._size
        is_rgb = frame.format.name == layout
        rgb = frame.reformat(width=width, height=height, format=layout, interpolation=CONVERSION)
        image = rgb.to_ndarray().copy()  # `decoded` is overwritten with the result
        upright = self._turn(image)
        # The buffer of a frame that needed no conversion belongs to the decoder.
        decoded = rgb if upright is image and not is_rgb else None
        return Frame(np.ascontiguousarray(upright), time, duration, decoded)

    def _tone_mapped(self, frame):
        if self._tone is None:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory())
            table = pathlib.Path(folder, "sdr.cube")
            tone_mapping.write_table(table, transfer=self._source_colors.hdr)
            self._tone = Chain(tone_map(str(table)), time_base=self.time_base)
        (mapped,) = self._tone.push(frame)
        return mapped

    def _describe_damage(self, count, last):
        found = []
        if self._errors:
            found.append(f"{plural(len(self._errors), 'packet')} cannot be decoded: {self._errors[0]}")
        if self._corrupt:
            found.append(f"{plural(self._corrupt, 'frame')} with errors")
        expected = self.stream.frames
        if expected and count < expected:
            found.append(f"it ends after {count} of {expected} frames")
        elif not expected and self._seconds and self.rate:
            start = (self.stream.start_time or 0) * self.time_base
            end = last * self.time_base - start + 1 / self.rate
            if self._seconds - end > max(1, 3 / self.rate):
                found.append(f"it ends after {float(end):.1f} of {float(self._seconds):.1f} s")
        return "; ".join(found)


def find_film(container: "av.container.InputContainer") -> "av.VideoStream | None":
    """Returns the first video stream that is not a cover image, or None."""
    films = [stream for stream in container.streams.video if not stream.disposition & _COVERS]
    return films[0] if films else None


def open_media(path: pathlib.Path, mode: str = "r", **options: object) -> "av.container.Container":
    """Opens a file with PyAV. Metadata that is not UTF-8 keeps its bytes."""
    import av

    if int(av.__version__.split(".")[0]) < 19:  # where it is an error by default
        options["metadata_errors"] = "surrogateescape"
    return av.open(f"file:{path}", mode, **options)  # a name may start with a dash, or look like a URL


def _message(error):
    return getattr(error, "strerror", None) or error_text(error)
