"""Restores a video: ffmpeg decodes it into a pipe and encodes the restored frames from one; the audio is copied.

All frames have the same size and are cut into the same tiles, so the borders of tiles do not flicker. Frames have the
constant rate that ffmpeg reports: a video with a variable frame rate becomes one with a constant rate. Only the
frames that are being processed are held in memory.
"""

import contextlib
import dataclasses
import fractions
import importlib.util
import itertools
import math
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from hazeheal.errors import DataError
from hazeheal.inference.jobs import Job
from hazeheal.inference.results_record import ResultsRecord, recorded
from hazeheal.utils.atomic import atomic_path

if TYPE_CHECKING:
    from hazeheal.inference.restorer import Restorer

# Converts to BT.709 and tags the video as BT.709. By default ffmpeg converts with the matrix of SD video and writes
# no tag, and players assume BT.709 for HD video: the colors would shift.
_COLOR_OPTIONS = (
    "-vf scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
_ENCODERS = {".webm": "-c:v libvpx-vp9 -crf 20 -b:v 0 -row-mt 1"}
_DEFAULT_ENCODER = "-c:v libx264 -crf 16 -preset medium"


@dataclasses.dataclass(frozen=True)
class Stream:
    """The first video stream of a file: size of the upright frames, rate (`30000/1001` per second), duration."""

    width: int
    height: int
    rate: str
    seconds: float | None

    @property
    def frames(self) -> int | None:
        """Estimated number of frames, or None if the duration is unknown."""
        return None if self.seconds is None else round(self.seconds * fractions.Fraction(self.rate))


def find_ffmpeg() -> str | None:
    """Returns the path of ffmpeg: on PATH, or in the package imageio-ffmpeg; None if neither exists."""
    path = shutil.which("ffmpeg")
    if path is None and importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        with contextlib.suppress(RuntimeError):
            path = imageio_ffmpeg.get_ffmpeg_exe()
    return path


def probe(path: pathlib.Path, *, ffmpeg: str) -> Stream:
    """Reads the properties of a video by decoding one frame with the program `ffmpeg`.

    Raises:
        DataError: ffmpeg finds no frames in the file.
    """
    # The header of this format has the exact size and rate. Not every ffmpeg comes with ffprobe.
    one_frame = ["-map", "0:v:0", "-frames:v", "1", "-pix_fmt", "yuv444p", "-f", "yuv4mpegpipe", "-"]
    command = [ffmpeg, "-hide_banner", "-nostdin", "-i", _file_url(path), *one_frame]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    header = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+) ", result.stdout)
    log = result.stderr.decode(errors="replace")
    if header is None:
        raise DataError(f"{path}: not a video that ffmpeg can decode ({_last_line(log)})")
    width, height, numerator, denominator = map(int, header.groups())
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", log)
    total_seconds = None
    if duration:
        hours, minutes, seconds = map(float, duration.groups())
        total_seconds = hours * 3600 + minutes * 60 + seconds
    return Stream(width, height, f"{numerator}/{denominator}", total_seconds)


def restore_video(
    job: Job,
    restorer: "Restorer",
    *,
    ffmpeg: str,
    overwrite: bool = False,
    record: ResultsRecord | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Restores one video. A damaged video is restored up to the last frame that can be decoded.

    Outputs that exist are left as they are, unless `overwrite` is set. `on_frame` is called after every frame.

    Returns:
        The number of frames, and the message of ffmpeg about damage, or "".

    Raises:
        DataError: The video cannot be decoded, or ffmpeg cannot encode the result.
        OutputError: The result cannot be written.
    """
    stream = probe(job.source, ffmpeg=ffmpeg)
    count, damage = 0, []
    with contextlib.ExitStack() as stack:
        encoders = []
        for path in job.outputs:
            if overwrite or not path.exists():
                stack.enter_context(recorded(record, path))
                temporary = stack.enter_context(atomic_path(path, overwrite=overwrite))
                width = stream.width * (2 if path == job.compare else 1)
                encode = stack.enter_context(
                    _encoder(job.source, path, temporary, stream=stream, width=width, ffmpeg=ffmpeg)
                )
                encoders.append((path, encode))
        frames = stack.enter_context(_decoder(job.source, stream=stream, ffmpeg=ffmpeg, damage=damage))
        originals, frames = itertools.tee(frames)
        for restored, hazy in zip(restorer.restore_all(frames), originals, strict=False):
            for path, encode in encoders:
                encode(np.concatenate([hazy, restored], axis=1) if path == job.compare else restored)
            count += 1
            on_frame()
    return count, "".join(damage)


@contextlib.contextmanager
def _decoder(path, *, stream, ffmpeg, damage) -> Iterator[Iterator[np.ndarray]]:
    """Yields an iterator of frames, `[H, W, 3]` uint8. At its end, a message about damage is appended to `damage`."""
    options = f"-map 0:v:0 -r {stream.rate} -f rawvideo -pix_fmt rgb24 -".split()
    command = [ffmpeg, "-v", "error", "-nostdin", "-i", _file_url(path), *options]
    shape = (stream.height, stream.width, 3)
    with _process(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as (process, log):

        def frames():
            size, count = math.prod(shape), 0
            while len(data := process.stdout.read(size)) == size:
                count += 1
                yield np.frombuffer(data, np.uint8).reshape(shape)
            if process.wait() or data or not count:
                raise DataError(f"{path}: cannot be decoded after {count} frames ({_last_log_line(log)})")
            if message := _last_log_line(log):
                damage.append(message)

        yield frames()


@contextlib.contextmanager
def _encoder(source, path, temporary, *, stream, width, ffmpeg) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields a function that encodes one frame, `[H, width, 3]` uint8, into the file `temporary`.

    The suffix of `path`, its later name, selects the encoder. Audio and metadata are copied from the hazy video
    `source`. The file is complete at the end.
    """
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{stream.height} -framerate {stream.rate} -i -".split()
    # Half the resolution for colors needs even sides.
    pixel_format = "-pix_fmt yuv444p" if width % 2 or stream.height % 2 else "-pix_fmt yuv420p"
    encoder = _ENCODERS.get(path.suffix.lower(), _DEFAULT_ENCODER)
    encode = f"{_COLOR_OPTIONS} {encoder} {pixel_format}".split()
    audio = ["-map", "0:v", "-map", "1:a?", "-c:a", "copy", "-map_metadata", "1"]
    command = [ffmpeg, "-v", "error", "-nostdin", "-y", *raw, "-i", _file_url(source)]
    command += [*audio, *encode, _file_url(temporary)]
    with _process(command, stdin=subprocess.PIPE) as (process, log):

        def feed(action, *args):
            try:
                action(*args)
            except OSError as error:  # ffmpeg has ended
                process.wait()
                raise DataError(f"{path}: ffmpeg cannot encode it ({_last_log_line(log) or error})") from error

        yield lambda frame: feed(process.stdin.write, np.ascontiguousarray(frame))
        feed(process.stdin.close)
        if process.wait():
            raise DataError(f"{path}: ffmpeg cannot encode it ({_last_log_line(log)})")


@contextlib.contextmanager
def _process(command, **pipes) -> Iterator[tuple[subprocess.Popen, BinaryIO]]:
    """Yields a process, which is killed at the end if it still runs, and the file of its error messages."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stderr=log, **pipes)
        try:
            yield process, log
        finally:
            process.kill()
            process.communicate()  # closes the pipes


def _file_url(path):
    return f"file:{path}"  # a name may start with a dash, or look like a URL


def _last_log_line(log):
    log.seek(0)
    return _last_line(log.read().decode(errors="replace"))


def _last_line(text):
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
