"""A video through a Restorer: ffmpeg decodes into a pipe, and encodes out of one; the sound is copied.

Every frame of a video has one size, so that all are cut alike and nothing flickers at the edges of tiles. Frames are
taken at the rate that ffmpeg finds: a video of varying rate comes out with a constant one. Nothing of it lies in memory
or on the disk but the frames at work.
"""

import collections
import contextlib
import dataclasses
import importlib.util
import re
import shutil
import subprocess
import tempfile

import numpy as np

from hazeheal.errors import DataError
from hazeheal.utils.atomic import atomic_path

# What is told to players beside the pixels is what they were made with; by itself ffmpeg would make them with the
# matrix of SD television and say nothing, and players take HD for BT.709: a shift of colors.
_COLOURS = (
    "-vf scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
_ENCODERS = {".webm": "-c:v libvpx-vp9 -crf 20 -b:v 0 -row-mt 1"}
_ENCODER = "-c:v libx264 -crf 16 -preset medium"


@dataclasses.dataclass(frozen=True)
class Stream:
    """Of a video's first stream of images: upright size, frames a second as ffmpeg writes it, seconds (or None)."""

    width: int
    height: int
    rate: str
    seconds: float | None

    @property
    def frames(self) -> int | None:
        """About how many there are."""
        above, _, below = self.rate.partition("/")
        return None if self.seconds is None else round(self.seconds * int(above) / int(below or 1))


def find_ffmpeg() -> str | None:
    """The ffmpeg of this machine, or that of the package imageio-ffmpeg; None where there is neither."""
    found = shutil.which("ffmpeg")
    if found is None and importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        with contextlib.suppress(RuntimeError):
            found = imageio_ffmpeg.get_ffmpeg_exe()
    return found


def probe(path, *, ffmpeg) -> Stream:
    """Looks at a video; decodes one frame.

    Raises:
        DataError: ffmpeg finds no images in it.
    """
    # The header of this format tells size and rate exactly; ffprobe does not come with every ffmpeg.
    one_frame = ["-map", "0:v:0", "-frames:v", "1", "-pix_fmt", "yuv444p", "-f", "yuv4mpegpipe", "-"]
    command = [ffmpeg, "-hide_banner", "-nostdin", "-i", _file(path), *one_frame]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    head = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+) ", done.stdout)
    said = done.stderr.decode(errors="replace")
    if head is None:
        raise DataError(f"{path}: no video that ffmpeg can decode ({_last_line(said)})")
    width, height, above, below = map(int, head.groups())
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    seconds = None
    if duration:
        hours, minutes, rest = map(float, duration.groups())
        seconds = hours * 3600 + minutes * 60 + rest
    return Stream(width, height, f"{above}/{below}", seconds)


def restore_video(job, restorer, *, ffmpeg, overwrite=False, advance=lambda: None) -> tuple[int, str]:
    """Restores one video, as far as it can be decoded.

    Args:
        job: A `files.Job`. Of its outputs those that exist stay as they are.
        restorer: A `Restorer`.
        ffmpeg: The program, as `find_ffmpeg` found it.
        overwrite: Write them anew instead.
        advance: Called after every frame.

    Returns:
        Its number of frames, and what ffmpeg found wrong with it on the way: "" if nothing.

    Raises:
        DataError: The video cannot be decoded, or ffmpeg cannot encode it.
        OutputError: The result cannot be written.
    """
    stream = probe(job.source, ffmpeg=ffmpeg)
    hazy, count, wrong = collections.deque(), 0, []

    def kept(frames):
        for frame in frames:
            if job.compare:
                hazy.append(frame)
            yield frame

    with contextlib.ExitStack() as stack:
        sinks = []
        for path in job.outputs:
            if overwrite or not path.exists():
                aside = stack.enter_context(atomic_path(path, overwrite=overwrite))
                width = stream.width * (2 if path == job.compare else 1)
                sink = stack.enter_context(
                    _encoder(job.source, path, aside, stream=stream, width=width, ffmpeg=ffmpeg)
                )
                sinks.append((path, sink))
        frames = stack.enter_context(_decoder(job.source, stream=stream, ffmpeg=ffmpeg, wrong=wrong))
        for restored in restorer.restore_all(kept(frames)):
            before = hazy.popleft() if job.compare else None
            for path, sink in sinks:
                sink(restored if path != job.compare else np.concatenate([before, restored], axis=1))
            count += 1
            advance()
    return count, "".join(wrong)


@contextlib.contextmanager
def _decoder(path, *, stream, ffmpeg, wrong):
    """Gives an iterator of uint8 [H, W, 3]; at its end what ffmpeg has found damaged, and passed over, is in `wrong`."""
    options = f"-map 0:v:0 -r {stream.rate} -f rawvideo -pix_fmt rgb24 -".split()
    command = [ffmpeg, "-v", "error", "-nostdin", "-i", _file(path), *options]
    shape = (stream.height, stream.width, 3)
    with tempfile.TemporaryFile() as log, _process(command, stderr=log, stdout=subprocess.PIPE) as process:

        def frames():
            size, count = int(np.prod(shape)), 0
            while len(data := process.stdout.read(size)) == size:
                count += 1
                yield np.frombuffer(data, np.uint8).reshape(shape)
            if process.wait() or data or not count:
                raise DataError(f"{path}: cannot be decoded after {count} frames ({_logged(log)})")
            wrong.extend(filter(None, [_logged(log)]))

        yield frames()


@contextlib.contextmanager
def _encoder(source, path, aside, *, stream, width, ffmpeg):
    """Gives a function that takes frames, uint8 [H, width, 3]; the file is whole when the context ends."""
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{stream.height} -framerate {stream.rate} -i -".split()
    # Half the resolution for colors needs even sides.
    shape = "-pix_fmt yuv444p" if width % 2 or stream.height % 2 else "-pix_fmt yuv420p"
    encode = f"{_COLOURS} {_ENCODERS.get(path.suffix.lower(), _ENCODER)} {shape}".split()
    sound = ["-map", "0:v", "-map", "1:a?", "-c:a", "copy", "-map_metadata", "1"]
    command = [
        ffmpeg,
        "-v",
        "error",
        "-nostdin",
        "-y",
        *raw,
        "-i",
        _file(source),
        *sound,
        *encode,
        _file(aside),
    ]
    with tempfile.TemporaryFile() as log, _process(command, stderr=log, stdin=subprocess.PIPE) as process:

        def failed(error=None):
            process.wait()
            return DataError(f"{path}: ffmpeg cannot encode it ({_logged(log) or error})")

        def take(frame):
            try:
                process.stdin.write(np.ascontiguousarray(frame))
            except OSError as error:
                raise failed(error) from error

        yield take
        try:
            process.stdin.close()
        except OSError as error:
            raise failed(error) from error
        if process.wait():
            raise failed()


@contextlib.contextmanager
def _process(command, **pipes):
    """A process that does not outlive its context."""
    process = subprocess.Popen(command, **({"stdin": subprocess.DEVNULL} | pipes))
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def _file(path) -> str:
    return f"file:{path}"  # a name may begin with a dash, or look like an address


def _logged(log) -> str:
    log.seek(0)
    return _last_line(log.read().decode(errors="replace"))


def _last_line(text) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
