"""The file of a restored video: frames are encoded, everything else comes from the source."""

import contextlib
import fractions
import pathlib

import numpy as np

from hazeheal.errors import DataError
from hazeheal.inference.video.colors import CONVERSION
from hazeheal.inference.video.encoders import CONTAINERS, Encoder, VideoOptions
from hazeheal.inference.video.film import Film, Frame, open_media
from hazeheal.inference.video.passthrough import Passthrough

_HEVC_TAG = {"mp4", "mov"}  # where Apple's players need the tag hvc1
_FRAME_DURATION = 1 << 8  # FFmpeg's flag: packets get the duration of their frames


class Result:
    """One file to write. Use it as a context; the file is complete after `finish`.

    Attributes:
        notes: What is converted or left out, one line each.
    """

    def __init__(
        self,
        path: pathlib.Path,
        temporary: pathlib.Path,
        film: Film,
        *,
        encoder: Encoder,
        options: VideoOptions,
        copies: int = 1,
    ) -> None:
        """Opens the file.

        Args:
            path: Its later name.
            temporary: Its name for now.
            film: The source.
            encoder: Of `choose_encoder`.
            options: Quality and speed.
            copies: Width of the frames in widths of the film.

        Raises:
            DataError: It cannot be encoded.
        """
        if min(film.height, film.width) < encoder.smallest:
            raise DataError(
                f"{film.path}: {film.width}x{film.height} is too small for {encoder.name}, which needs "
                f"{encoder.smallest}x{encoder.smallest}; use --codec=h264"
            )
        self.path, self._film = path, film
        container = CONTAINERS[path.suffix.lower()]
        self._others = Passthrough(film.path, container=container)
        muxing = {}
        if container in ("mp4", "mov"):
            if film.time_base.numerator == 1:
                muxing["video_track_timescale"] = str(film.time_base.denominator)
            if self._others.needs_mdta():
                muxing["movflags"] = "use_metadata_tags"
        self._output = open_media(temporary, "w", format=container, container_options=muxing)
        self._pixels = encoder.pixel_format(film.colors.bits, film.colors.chroma)
        self._padded = self._padding(film.height, film.width * copies)
        self._stream = self._checked(
            lambda: self._others.add_streams(self._output, lambda: self._add_film(encoder, options, container))
        )
        self._checked(self._output.start_encoding)

    @property
    def notes(self) -> list[str]:
        """What is converted or left out, one line each."""
        notes = list(self._others.notes)
        names = [f"the last {name}" for name, lines in zip(("row", "column"), self._padded, strict=True) if lines]
        if names:
            verb = "is" if len(names) == 1 else "are"
            notes.append(f"{' and '.join(names)} {verb} repeated once, as players need even sizes")
        if self._film.colors.bits > 8 and "10" not in self._pixels:
            notes.append("its more than 8 bits become 8, as the encoder has no more")
        return notes

    def add(self, frame: Frame, image: np.ndarray) -> None:
        """Encodes one restored frame.

        Args:
            frame: The frame of the source, for its times.
            image: `[H, W, 3]`, uint8 or uint16.

        Raises:
            DataError: It cannot be encoded.
        """
        import av

        encoded = self._to_av(frame, image)
        matrix, primaries, transfer, _ = self._tags
        encoded.colorspace, encoded.color_range = self._film.colors.matrix, self._film.colors.range
        encoded = encoded.reformat(format=self._pixels, interpolation=CONVERSION)
        encoded.colorspace, encoded.color_primaries, encoded.color_trc = matrix, primaries, transfer
        encoded.pict_type = av.video.frame.PictureType.NONE  # else the encoder repeats the choice of the source
        seconds = self._film.time_base * frame.time
        encoded.pts = frame.time - round(self._others.start / self._film.time_base)
        encoded.time_base, encoded.duration = self._film.time_base, frame.duration
        self._checked(lambda: self._output.mux(self._stream.encode(encoded)))
        self._checked(lambda: self._others.copy_until(seconds))

    def finish(self) -> None:
        """Completes the file.

        Raises:
            DataError: It cannot be encoded.
        """
        self._checked(lambda: self._output.mux(self._stream.encode(None)))
        self._checked(self._others.finish)
        self._checked(self._output.close)

    def __enter__(self) -> "Result":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        import av

        self._others.__exit__()
        with contextlib.suppress(av.FFmpegError, ValueError):
            self._output.close()

    def _add_film(self, encoder, options, container):
        film = self._film
        rate = film.rate or fractions.Fraction(25)
        stream = self._output.add_stream(encoder.name, rate=rate, options=encoder.settings(options))
        height, width = film.height + self._padded[0], self._width
        stream.height, stream.width, stream.pix_fmt = height, width, self._pixels
        context = stream.codec_context
        context.time_base = film.time_base
        if encoder.codec == "mpeg4" and film.time_base.denominator > 65535:  # its largest
            context.time_base = fractions.Fraction(1, 60000)
        stream.time_base = film.time_base
        context.flags |= _FRAME_DURATION
        if film.pixel_aspect:
            context.sample_aspect_ratio = film.pixel_aspect
        self._tags = film.colors.written(width, height)
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = self._tags
        if encoder.codec == "hevc" and container in _HEVC_TAG:
            context.codec_tag = "hvc1"
        return stream

    def _padding(self, height, width):
        import av

        pixels = av.VideoFormat(self._pixels, 16, 16)
        across, down = 16 // pixels.chroma_width(16), 16 // pixels.chroma_height(16)
        rows, columns = -height % down, -width % across
        self._width = width + columns
        return rows, columns

    def _to_av(self, frame, image):
        import av

        rows, columns = self._padded
        layout = "rgb48le" if image.dtype == np.uint16 else "rgb24"
        if frame.decoded is not None and image.shape == frame.image.shape and not (rows or columns):
            # The frame of the source keeps what belongs to it, such as closed captions.
            plane = frame.decoded.planes[0]
            pixels = np.frombuffer(plane, image.dtype).reshape(image.shape[0], -1)
            pixels[:, : image.shape[1] * 3] = image.reshape(image.shape[0], -1)
            return frame.decoded
        if rows or columns:
            image = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)

    def _checked(self, action):
        import av

        try:
            return action()
        except OSError:
            raise  # of the disk: `atomic_path` reports it
        except (av.FFmpegError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be encoded ({' '.join(str(error).split())})") from error
